package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Bounds from DESIGN.md, "Budgets".
const (
	maxFileLines = 400
	maxFuncLines = 60
	maxMainLines = 10
)

// root is the project folder, seen from this package.
const root = "../../.."

// source is one parsed Go file.
type source struct {
	path string // relative to root, slash-separated
	file *ast.File
	set  *token.FileSet
}

// sources parses every Go file of the project.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, top := range []string{"builder", "payload"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, path)
			all = append(all, source{filepath.ToSlash(rel), file, set})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(all) < 50 {
		t.Fatalf("only %d Go files found; is the root right?", len(all))
	}
	return all
}

// isTest tells whether the file is a test.
func (s source) isTest() bool { return strings.HasSuffix(s.path, "_test.go") }

// lines returns how many lines a node covers.
func (s source) lines(n ast.Node) int {
	return s.set.Position(n.End()).Line - s.set.Position(n.Pos()).Line + 1
}

// TestImportsRunFromBuilderToPayload holds the arrow that the trust in the
// agent rests on: what runs on the machine never depends on what runs at the
// desk.
func TestImportsRunFromBuilderToPayload(t *testing.T) {
	for _, s := range sources(t) {
		if !strings.HasPrefix(s.path, "payload/") {
			continue
		}
		for _, imp := range s.file.Imports {
			if strings.Contains(imp.Path.Value, "farboot/builder") {
				t.Errorf("%s imports %s; imports run from builder to payload, never back", s.path, imp.Path.Value)
			}
		}
	}
}

// TestEveryPackageIsDocumented wants one package comment in each package.
func TestEveryPackageIsDocumented(t *testing.T) {
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		dir := filepath.Dir(s.path)
		documented[dir] = documented[dir] || len(s.file.Doc.Text()) > 80
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment that says what the package is for, its main call, its promise and its limits", dir)
		}
	}
}

// TestSizes keeps files and functions short enough to read.
func TestSizes(t *testing.T) {
	for _, s := range sources(t) {
		if n := s.lines(s.file); n > maxFileLines {
			t.Errorf("%s: %d lines, at most %d", s.path, n, maxFileLines)
		}
		for _, decl := range s.file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok || s.isTest() {
				continue
			}
			if n := s.lines(f); n > maxFuncLines || f.Name.Name == "main" && n > maxMainLines {
				t.Errorf("%s: func %s has %d lines", s.path, f.Name.Name, n)
			}
		}
	}
}

// TestNoMagic refuses init functions, packages called util, and exits outside
// of main.
func TestNoMagic(t *testing.T) {
	exits := regexp.MustCompile(`^(log\.Fatal.*|os\.Exit)$`)
	for _, s := range sources(t) {
		if name := s.file.Name.Name; strings.Contains(name, "util") || name == "common" || name == "helpers" {
			t.Errorf("%s: package %s: name it by what it is for", s.path, name)
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if n.Name.Name == "init" && n.Recv == nil {
					t.Errorf("%s: func init", s.path)
				}
				return n.Name.Name != "main" && n.Name.Name != "TestMain"
			case *ast.SelectorExpr:
				if x, ok := n.X.(*ast.Ident); ok && exits.MatchString(x.Name+"."+n.Sel.Name) {
					t.Errorf("%s: %s.%s outside of main", s.path, x.Name, n.Sel.Name)
				}
			}
			return true
		})
	}
}

// TestThreatsNameTheirTests follows every test that THREATS.md names to a test
// that exists.
func TestThreatsNameTheirTests(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "THREATS.md"))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, s := range sources(t) {
		for _, decl := range s.file.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && s.isTest() {
				have[filepath.Dir(s.path)+"."+f.Name.Name] = true
			}
		}
	}
	named := regexp.MustCompile("`((?:builder|payload)/[a-z0-9/]+\\.(?:Test|Fuzz)[A-Za-z0-9_]+)`").FindAllStringSubmatch(string(text), -1)
	if len(named) < 20 {
		t.Errorf("THREATS.md names %d tests; each row names at least one", len(named))
	}
	for _, m := range named {
		if !have[m[1]] {
			t.Errorf("THREATS.md names %s, which does not exist", m[1])
		}
	}
}

// TestNothingOfThisDeskIsCommitted looks for what ties the code to one machine:
// registry hosts are the machine's or the recipe's to name.
func TestNothingOfThisDeskIsCommitted(t *testing.T) {
	hosts := regexp.MustCompile(`(deb|security|snapshot|archive)\.(debian|ubuntu)\.(org|com)|proxy\.golang\.|registry\.npm`)
	for _, s := range sources(t) {
		text, err := os.ReadFile(filepath.Join(root, s.path))
		if err != nil {
			t.Fatal(err)
		}
		if m := hosts.Find(text); m != nil && !strings.HasSuffix(s.path, "house_test.go") {
			t.Errorf("%s names %s", s.path, m)
		}
	}
}
