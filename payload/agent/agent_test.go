package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// maxSize is the budget for /init, in bytes.
const maxSize = 12_000_000

// forbidden is what must not run between power-on and kexec, by import path or
// its beginning, and why.
var forbidden = map[string]string{
	"os/exec":                             "there is no program on the medium that the agent should start",
	"plugin":                              "code is what was burned",
	"runtime/cgo":                         "the binary is static",
	"text/template":                       "reflection over outside data; fmt does",
	"html/template":                       "see text/template",
	"gopkg.in/yaml":                       "YAML is for people; the agent reads strict JSON",
	"go.yaml.in/":                         "see gopkg.in/yaml",
	"github.com/spf13/":                   "the agent takes no arguments",
	"golang.org/x/crypto/openpgp":         "unsafe by design (GO-2026-5932)",
	"net/http/httptest":                   "for tests",
	"testing":                             "for tests",
	"github.com/farboot/farboot/builder/": "imports run from builder to payload, never back",
}

// env is how the builder builds the agent.
func env() []string { return append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0") }

// deps lists the agent's packages; standard tells whether with those of Go.
func deps(t *testing.T, standard bool) []string {
	t.Helper()
	format := "{{if not .Standard}}{{.ImportPath}}{{end}}"
	if standard {
		format = "{{.ImportPath}}"
	}
	cmd := exec.Command("go", "list", "-deps", "-f", format, ".")
	cmd.Env, cmd.Stderr = env(), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Fields(string(out))
	slices.Sort(list)
	return list
}

// The list of what the agent is made of is a file that is reviewed. When this
// test fails for a good reason, write what it says into deps.txt.
func TestDeps(t *testing.T) {
	want, err := os.ReadFile("deps.txt")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), deps(t, false)); diff != "" {
		t.Errorf("deps.txt is not what the agent imports:\n%s", diff)
	}
}

func TestForbiddenImports(t *testing.T) {
	for _, pkg := range deps(t, true) {
		for prefix, why := range forbidden {
			if pkg == prefix || strings.HasPrefix(pkg, strings.TrimSuffix(prefix, "/")+"/") || strings.HasPrefix(pkg, prefix+".") {
				t.Errorf("the agent imports %s: %s", pkg, why)
			}
		}
	}
}

// The binary fits its budget and is static.
func TestSize(t *testing.T) {
	name := filepath.Join(t.TempDir(), "init")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w -buildid=", "-gcflags=all=-l", "-o", name, ".")
	cmd.Env, cmd.Stderr = env(), os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > maxSize {
		t.Errorf("/init has %d bytes, at most %d fit", len(data), maxSize)
	}
	if bytes.Contains(data, []byte("/lib64/ld-linux-x86-64.so.2")) {
		t.Error("/init is not static")
	}
}

// Started by hand, the agent must not touch the machine.
func TestRefusesToBeACommand(t *testing.T) {
	err := run(t.Context(), nil, nil, nil, nil)
	if err == nil || !strings.Contains(err.Error(), "PID 1") {
		t.Errorf("run as PID %d: %v", os.Getpid(), err)
	}
}
