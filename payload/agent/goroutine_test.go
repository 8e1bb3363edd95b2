package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// guardPackage is the only one of ours that starts goroutines.
const guardPackage = "github.com/farboot/farboot/payload/guard"

// folders lists where the agent's own packages lie.
func folders(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-f", "{{if .Module}}{{if .Module.Main}}{{.ImportPath}} {{.Dir}}{{end}}{{end}}", ".")
	cmd.Env, cmd.Stderr = env(), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var dirs []string
	for line := range strings.Lines(string(out)) {
		pkg, dir, ok := strings.Cut(strings.TrimSpace(line), " ")
		if ok && pkg != guardPackage {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) < 20 {
		t.Fatalf("only %d packages found", len(dirs))
	}
	return dirs
}

// starts tells whether n starts a goroutine that package guard knows nothing of:
// a go statement, the Go of a WaitGroup and its like, or a timer.
func starts(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.GoStmt:
		return true
	case *ast.CallExpr:
		f, ok := n.Fun.(*ast.SelectorExpr)
		if !ok || f.Sel.Name != "Go" && f.Sel.Name != "AfterFunc" {
			return false
		}
		of, ok := f.X.(*ast.Ident)
		return (!ok || of.Name != "guard") && !harmless(n.Args[len(n.Args)-1])
	}
	return false
}

// harmless tells whether f is a function that does nothing but to end what
// somebody waits for: "func() { conn.Close() }".
func harmless(f ast.Expr) bool {
	literal, ok := f.(*ast.FuncLit)
	if !ok || len(literal.Body.List) != 1 {
		return false
	}
	var does ast.Expr
	switch statement := literal.Body.List[0].(type) {
	case *ast.ExprStmt:
		does = statement.X
	case *ast.AssignStmt:
		does = statement.Rhs[0]
	}
	call, ok := does.(*ast.CallExpr)
	if !ok {
		return false
	}
	name := ""
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		name = fun.Name
	case *ast.SelectorExpr:
		name = fun.Sel.Name
	}
	return slices.Contains([]string{"Close", "cancel", "SetDeadline", "SetReadDeadline", "SetWriteDeadline"}, name)
}

// A panic in a goroutine that nobody watches ends PID 1, and with it the machine.
func TestGoroutinesAreGuarded(t *testing.T) {
	for _, dir := range folders(t) {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, name, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if n != nil && starts(n) {
					t.Errorf("%s: a goroutine of its own; use payload/guard, so that a panic in it does not end PID 1", set.Position(n.Pos()))
				}
				return true
			})
		}
	}
}

// The test above sees what it is made to see.
func TestStarts(t *testing.T) {
	for code, want := range map[string]bool{
		"go f()": true, "go func() {}()": true, "var g sync.WaitGroup; g.Go(f)": true, "x.group.Go(f)": true, "time.AfterFunc(d, f)": true,
		"time.AfterFunc(d, func() { f() })": true, "context.AfterFunc(ctx, func() { c.Close(); f() })": true,
		"context.AfterFunc(ctx, func() { c.Close() })": false, "time.AfterFunc(d, func() { cancel(e) })": false, "context.AfterFunc(ctx, func() { _ = c.Close() })": false,
		"guard.Go(w, f, d)": false, "guard.AfterFunc(d, w, f, e)": false, "f()": false, "g.Wait()": false,
	} {
		file, err := parser.ParseFile(token.NewFileSet(), "", "package p; func _() {"+code+"}", 0)
		if err != nil {
			t.Fatal(err)
		}
		found := false
		ast.Inspect(file, func(n ast.Node) bool { found = found || n != nil && starts(n); return true })
		if found != want {
			t.Errorf("%s: %t, want %t", code, found, want)
		}
	}
}
