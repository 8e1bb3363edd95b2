package reports

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestEveryCodeIsExplained holds docs/troubleshooting.md against the agent's own
// list: each code has its section there, and each section its code.
func TestEveryCodeIsExplained(t *testing.T) {
	page, err := os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	for _, m := range regexp.MustCompile("(?m)^### `(.*)`\n(.*)$").FindAllStringSubmatch(string(page), -1) {
		if len(m[2]) < 20 {
			t.Errorf("%s: nothing stands below it", m[1])
		}
		explained = append(explained, m[1])
	}
	codes := reasonCodes(t)
	if len(codes) < 20 {
		t.Fatalf("reason.go has %q; is it read rightly?", codes)
	}
	slices.Sort(explained)
	if diff := cmp.Diff(codes, explained); diff != "" {
		t.Errorf("reason.go (-) and the page (+):\n%s", diff)
	}
	for _, m := range regexp.MustCompile(`\[([a-z-]+)\]`).FindAllStringSubmatch(string(page), -1) {
		if !slices.Contains(codes, m[1]) && m[1] != "site" {
			t.Errorf("the page shows [%s], which is no code", m[1])
		}
	}
}

// reasonCodes returns the codes of package boot: the strings in its list of
// reasons, and those that Reason returns.
func reasonCodes(t *testing.T) []string {
	file, err := parser.ParseFile(token.NewFileSet(), "../../payload/agent/boot/reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	add := func(e ast.Expr) {
		if lit, ok := e.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			code, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, code)
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CompositeLit:
			if len(n.Elts) == 2 {
				add(n.Elts[1])
			}
		case *ast.ReturnStmt:
			for _, e := range n.Results {
				add(e)
			}
		}
		return true
	})
	slices.Sort(codes)
	return slices.Compact(codes)
}
