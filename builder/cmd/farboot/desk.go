package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/medium"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/object"
)

// desk is what every verb that works on a recipe has before it: the recipe, its
// lock, a cache and a client.
type desk struct {
	recipe   *recipe.Recipe
	lock     *lock.Lock
	cache    *cache.Cache
	progress *progress
	options  source.Options
}

// openDesk loads the recipe at path, which must be of the kind given ("" takes
// both).
func openDesk(c *cobra.Command, path, kind string) (*desk, error) {
	r, err := recipe.Load(path)
	if err != nil {
		return nil, err
	}
	if err := leak.Bytes(path, r.Raw); err != nil {
		return nil, err
	}
	if kind != "" && r.Kind != kind {
		return nil, &recipe.Error{Path: path, Line: kindLine(r.Raw), Field: "kind", Msg: fmt.Sprintf("%q, want %q", r.Kind, kind), Hint: otherVerb[r.Kind]}
	}
	store, _, err := openCache()
	if err != nil {
		return nil, err
	}
	d := &desk{recipe: r, cache: store, progress: newProgress(c.ErrOrStderr())}
	d.options = source.Options{Cache: store, Client: fetch.New(fetch.DefaultLimits(), fetch.Proxy()), Progress: d.progress.report, Warn: d.progress.warn}
	return d, nil
}

// openCache opens the user's cache, and says where it lies.
func openCache() (*cache.Cache, string, error) {
	dir, err := cache.DefaultDir()
	if err != nil {
		return nil, "", err
	}
	store, err := cache.Open(dir)
	if errors.Is(err, cache.ErrShared) {
		err = withHint(err, "set XDG_CACHE_HOME to a folder that you alone can write to")
	}
	return store, dir, err
}

// kindLine returns the line where a recipe that was read says its kind.
func kindLine(raw []byte) int {
	before, _, _ := bytes.Cut(raw, []byte("\nkind:"))
	if len(before) == len(raw) {
		return 1 // the first line, or the recipe is written in braces
	}
	return bytes.Count(before, []byte("\n")) + 2
}

// otherVerb tells which verb is for which kind of recipe.
var otherVerb = map[string]string{
	recipe.KindMedium: `a medium is built: "farboot build RECIPE"`,
	recipe.KindSite:   `a site is published: "farboot publish RECIPE"`,
}

// extra lists the inputs that the recipe's kind needs beside its own.
func (d *desk) extra() []recipe.Input {
	if d.recipe.Kind == recipe.KindMedium {
		return medium.Inputs(d.recipe.Medium)
	}
	return nil
}

// lockPath is where the recipe's lock lies.
func (d *desk) lockPath() string { return lock.PathFor(d.recipe.Path) }

// recipeSum is what the lock must have been made for. Which package
// is the kernel's decides what comes with it.
func (d *desk) recipeSum() object.ID {
	a := d.recipe.Apt()
	from := append([]string{strings.Join(d.recipe.Kernels(), " "), a.Suite, a.Mirror, a.Security, a.Keyring, a.Snapshot}, a.Components...)
	var inputs []string
	for _, in := range append(d.recipe.Inputs(), d.extra()...) {
		inputs = append(inputs, in.Name()+" "+in.SHA256)
	}
	for _, t := range d.recipe.Toolboxes() {
		inputs = append(inputs, "toolbox "+strings.Join(slices.Sorted(slices.Values(t.Packages)), " "))
	}
	return lock.RecipeSum(from, inputs)
}

// openLock reads the lock, or makes it where there is none yet. A lock that is
// there is never renewed silently.
func (d *desk) openLock(ctx context.Context) error {
	l, err := lock.Load(d.lockPath(), d.recipeSum())
	if errors.Is(err, lock.ErrMissing) {
		return d.renewLock(ctx)
	}
	if errors.Is(err, lock.ErrStale) {
		return withHint(err, "farboot lock %s", d.recipe.Path)
	}
	if err != nil {
		return withHint(err, "farboot lock --update %s", d.recipe.Path)
	}
	d.lock = l
	return nil
}

// renewLock resolves the recipe's inputs anew and writes the lock.
func (d *desk) renewLock(ctx context.Context) error {
	d.progress.step("resolving %s", d.recipe.Path)
	l, err := source.Resolve(ctx, d.recipe, d.extra(), d.options)
	d.progress.finish()
	if err != nil {
		return err
	}
	l.Recipe = d.recipeSum()
	if err := lock.Save(d.lockPath(), l); err != nil {
		return err
	}
	d.lock = l
	return nil
}

// fetch brings every locked input into the cache.
func (d *desk) fetch(ctx context.Context) (*source.Blobs, error) {
	defer d.progress.finish()
	return source.Fetch(ctx, d.recipe, d.lock, d.options)
}

// keys loads the keys that the recipe names. A folder that is not there, while
// others with keys are, and another product are mistakes in the recipe.
func (d *desk) keys() (*keys.Set, error) {
	dir := d.inProject(d.recipe.Trust())
	set, err := keys.Load(dir)
	if errors.Is(err, keys.ErrMissing) {
		found, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", "trust", "1.json"))
		if len(found) > 0 {
			hint := "there are keys in"
			for _, name := range found {
				other, err := relative(d.recipe.Dir, filepath.Dir(filepath.Dir(name)))
				if err != nil {
					return nil, err
				}
				hint += " " + other
			}
			return nil, d.recipe.Mistake("trust", hint, "no keys in %q", d.recipe.Trust())
		}
	}
	if err != nil {
		return nil, err
	}
	have := set.Store.Statement().Product
	if s := d.recipe.Site; s != nil && s.Product != "" && s.Product != have {
		return nil, d.recipe.Mistake("product", "", "%q: the keys are for %q", s.Product, have)
	}
	return set, nil
}

// inProject returns where a path of the recipe lies.
func (d *desk) inProject(path string) string {
	return filepath.Join(d.recipe.Dir, filepath.FromSlash(path))
}

// outDir returns the folder for results: the flag's, or else the project's
// "out". Where it makes that, servers may read it whatever the umask says.
func (d *desk) outDir(flag string) (string, error) {
	dir := flag
	if dir == "" {
		dir = d.inProject("out")
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.Chmod(dir, 0o755)
}
