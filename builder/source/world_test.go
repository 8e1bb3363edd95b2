package source

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source/aptsim"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/object"
)

// world is a project on a machine with mirrors.
type world struct {
	t       *testing.T
	mirrors []*aptsim.Mirror
	options Options
	project string
}

// text is the recipe of most tests.
const text = `kind: medium
name: demo
kernel: {deb: linux-image-amd64}
trust: keys
site: [http://10.0.2.2/]
menu:
  - {title: Agent, agent: {}}
  - title: Tool
    linux:
      kernel: {deb: tool, file: usr/lib/tool/kernel}
      initrd: [{deb: tool, file: usr/lib/tool/initrd}]
`

// packages are those of the archive.
func packages() []aptsim.Package {
	return []aptsim.Package{
		{Name: "linux-image-amd64", Version: "6.1-2", Fields: map[string]string{"Depends": "linux-image-6.1.0-9-amd64 (= 6.1-2)"}},
		{Name: "linux-image-6.1.0-9-amd64", Version: "6.1-2", Fields: map[string]string{"Depends": "kmod, linux-base (>= 4)"},
			Files: map[string]string{"boot/vmlinuz-6.1.0-9-amd64": "bzImage"}},
		{Name: "shim", Arch: "all", Files: map[string]string{"usr/lib/shim.efi": "shim"}},
		{Name: "tool", Version: "2.0", Files: map[string]string{
			"usr/lib/tool/kernel": "tool kernel", "usr/lib/tool/initrd": "tool initrd", "usr/share/doc/tool/kernel": "text"}},
	}
}

// newWorld starts n mirrors with the same packages.
func newWorld(t *testing.T, n int) *world {
	t.Helper()
	w := &world{t: t, project: t.TempDir()}
	for range n {
		m := aptsim.Debian(t, "bookworm")
		m.Suite("bookworm").Add(packages()...)
		m.Publish()
		w.mirrors = append(w.mirrors, m)
	}
	limits := fetch.DefaultLimits()
	limits.Backoff, limits.BackoffMax = time.Millisecond, time.Millisecond
	client := fetch.New(limits)
	t.Cleanup(client.Close)
	w.options = Options{
		Client: client, Machine: aptsim.Machine(t, "bookworm", w.mirrors...),
		Warn: func(err error) { t.Logf("warning: %v", err) },
	}
	w.freshCache()
	return w
}

// freshCache forgets what was fetched.
func (w *world) freshCache() {
	c, err := cache.Open(filepath.Join(w.t.TempDir(), "cache"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.options.Cache = c
}

// write puts a file into the project.
func (w *world) write(name, data string) {
	w.t.Helper()
	aptsim.WriteFile(w.t, w.project, name, []byte(data))
}

// recipe parses a recipe of the project.
func (w *world) recipe(text string) *recipe.Recipe {
	w.t.Helper()
	r, err := recipe.Parse(filepath.Join(w.project, "demo.yaml"), []byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// resolve locks a recipe, which must succeed.
func (w *world) resolve(r *recipe.Recipe, extra ...recipe.Input) *lock.Lock {
	w.t.Helper()
	l, err := Resolve(w.t.Context(), r, extra, w.options)
	if err != nil {
		w.t.Fatalf("resolve: %v", err)
	}
	return l
}

// fetch fetches a lock, which must succeed.
func (w *world) fetch(r *recipe.Recipe, l *lock.Lock) *Blobs {
	w.t.Helper()
	b, err := Fetch(w.t.Context(), r, l, w.options)
	if err != nil {
		w.t.Fatalf("fetch: %v", err)
	}
	w.t.Cleanup(func() {
		if err := b.Close(); err != nil {
			w.t.Error(err)
		}
	})
	return b
}

// site is a recipe whose one entry boots the given input, in YAML.
func (w *world) site(input string) *recipe.Recipe {
	return w.recipe("kind: site\nentries:\n  e:\n    title: E\n    linux: {kernel: " + input + "}\ndefault: [e]\n")
}

// kernel is the input that site wraps.
func kernel(r *recipe.Recipe) recipe.Input { return r.Inputs()[0] }

// asked counts the packages that were asked for, at all mirrors.
func (w *world) asked() (n int) {
	for _, m := range w.mirrors {
		for _, path := range m.Asked() {
			if strings.HasPrefix(path, "pool/") {
				n++
			}
		}
	}
	return n
}

// wantContent reads what a path leads to.
func wantContent(t *testing.T, path string, ref object.Ref, err error, want string) {
	t.Helper()
	if err != nil {
		t.Errorf("want %q: %v", want, err)
		return
	}
	data, err := os.ReadFile(path)
	if err != nil || string(data) != want || ref != object.OfBytes(data) {
		t.Errorf("got %q as %v (%v), want %q", data, ref, err, want)
	}
}

// wantError makes sure of an error's class and of what it tells.
func wantError(t *testing.T, err, class error, parts ...string) {
	t.Helper()
	if !errors.Is(err, class) {
		t.Fatalf("got %v, want one that is %v", err, class)
	}
	message := err.Error()
	if e, ok := errors.AsType[*Error](err); ok {
		message += " hint: " + e.Hint
	}
	for _, part := range parts {
		if !strings.Contains(message, part) {
			t.Errorf("got %q, want one with %q", message, part)
		}
	}
}

// inputs returns the lock's inputs by name.
func inputs(l *lock.Lock) map[string]lock.Input {
	all := make(map[string]lock.Input)
	for _, in := range l.Inputs {
		all[in.Name] = in
	}
	return all
}

// sortedNames returns the names of the lock's inputs, in the lock's order.
func sortedNames(l *lock.Lock) []string {
	names := slices.Sorted(maps.Keys(inputs(l)))
	for i, in := range l.Inputs {
		if i >= len(names) || names[i] != in.Name {
			return []string{"not sorted, or doubled"}
		}
	}
	return names
}

// canceled is a context that has ended.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
