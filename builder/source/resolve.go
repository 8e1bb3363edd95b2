package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source/apt"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/object"
)

// Resolve finds out what the recipe's inputs are at this moment: packages by
// their newest version in the suite, URLs by downloading them, files by hashing
// them. extra are inputs that the build needs beside those of the recipe. The
// Recipe and Sum of the result are the caller's to fill in.
func Resolve(ctx context.Context, r *recipe.Recipe, extra []recipe.Input, o Options) (*lock.Lock, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &resolver{store: newStore(o), recipe: r, options: o}
	l := &lock.Lock{Format: lock.Format}
	for _, in := range distinct(append(r.Inputs(), extra...)) {
		got, err := v.resolve(ctx, in)
		if err != nil {
			return nil, err
		}
		l.Inputs = append(l.Inputs, got...)
	}
	if err := v.toolboxes(ctx, l); err != nil {
		return nil, err
	}
	slices.SortFunc(l.Inputs, func(a, b lock.Input) int { return strings.Compare(a.Name, b.Name) })
	l.Inputs = slices.CompactFunc(l.Inputs, func(a, b lock.Input) bool { return a.Name == b.Name })
	if o.Keep != nil && v.index == nil { // nothing new was read
		l.Epoch, l.Archive = o.Keep.Epoch, o.Keep.Archive
		return l, nil
	}
	l.Epoch = v.epoch().UTC().Truncate(time.Second)
	if v.index != nil {
		a := archive(r.Apt())
		a.Date = l.Epoch
		l.Archive = &a
	}
	return l, nil
}

// kept returns what the lock that is kept has for a package, with what it leads
// to; nothing if it has none from these repositories.
func (v *resolver) kept(in recipe.Input) []lock.Input {
	if !v.keeps() {
		return nil
	}
	l := v.options.Keep
	have, ok := l.Lookup(in.Name())
	if !ok {
		return nil
	}
	if !v.isKernel(in) {
		return []lock.Input{have}
	}
	return slices.DeleteFunc(slices.Clone(l.Inputs), func(i lock.Input) bool {
		return i.Name != have.Name && !strings.HasPrefix(i.Name, "deb:"+kernelPrefix)
	})
}

// keeps tells whether there is a lock to keep, from these repositories.
func (v *resolver) keeps() bool {
	l, now := v.options.Keep, archive(v.recipe.Apt())
	return l != nil && l.Archive != nil && l.Archive.Suite == now.Suite && l.Archive.Source == now.Source
}

// isKernel tells whether a package is one with a kernel that the recipe wants, or
// leads to it.
func (v *resolver) isKernel(in recipe.Input) bool { return slices.Contains(v.recipe.Kernels(), in.Deb) }

// distinct drops inputs that come from the same bytes as one before. Of two
// URLs that are the same but for their hash both stay, so that one will fail.
func distinct(inputs []recipe.Input) []recipe.Input {
	type key struct{ name, sha256 string }
	seen := make(map[key]bool)
	return slices.DeleteFunc(inputs, func(in recipe.Input) bool {
		k := key{in.Name(), in.SHA256}
		defer func() { seen[k] = true }()
		return seen[k]
	})
}

// resolver holds what a run of [Resolve] needs.
type resolver struct {
	store   *store
	recipe  *recipe.Recipe
	options Options
	index   *apt.Index // nil until a package is asked for
}

// resolve returns what an input, and what it leads to, is at this moment.
func (v *resolver) resolve(ctx context.Context, in recipe.Input) ([]lock.Input, error) {
	var one lock.Input
	var err error
	switch {
	case in.Deb != "":
		return v.packages(ctx, in)
	case in.URL != "":
		one, err = v.url(ctx, in)
	default:
		one, err = v.file(in)
	}
	if err != nil {
		return nil, v.wrap(in, err)
	}
	return []lock.Input{one}, nil
}

// wrap says in an error which input it is about, and where that stands.
func (v *resolver) wrap(in recipe.Input, err error) error {
	return inRecipe(v.recipe, in, &Error{Input: in.Name(), Err: err})
}

// inRecipe puts file and line in front of an error about an input that stands
// in the recipe.
func inRecipe(r *recipe.Recipe, in recipe.Input, err error) error {
	if in.Line == 0 {
		return err
	}
	return fmt.Errorf("%s:%d: %w", r.Path, in.Line, err)
}

// packages looks a package up, and what it stands for where it is a kernel's
// metapackage.
func (v *resolver) packages(ctx context.Context, in recipe.Input) ([]lock.Input, error) {
	if kept := v.kept(in); kept != nil {
		return kept, nil
	}
	if err := v.open(ctx); err != nil {
		return nil, err
	}
	p, err := v.index.Lookup(in.Deb)
	if err != nil {
		return nil, v.wrap(in, err)
	}
	found := []lock.Input{lockPackage(p)}
	if !v.isKernel(in) {
		return found, nil
	}
	for wanted, ok := kernelBehind(p); ok; wanted, ok = kernelBehind(p) {
		if len(found) == maxHops {
			return nil, v.wrap(in, fmt.Errorf("more than %d packages lead to a kernel", maxHops))
		}
		if p, err = v.index.Lookup(wanted.Name); err != nil {
			return nil, v.wrap(in, err)
		}
		if wanted.Op == "=" && wanted.Version != p.Version {
			return nil, v.wrap(in, fmt.Errorf("it needs %s %s, the repository has %s: is the mirror being updated?",
				p.Name, wanted.Version, p.Version))
		}
		found = append(found, lockPackage(p))
	}
	return found, nil
}

// maxHops bounds the way from a kernel's metapackage to the kernel. Debian has
// linux-image-amd64 -> linux-image-6.1.0-56-amd64: two packages.
const maxHops = 4

// kernelPrefix is what the names of Debian's packages with kernels start with.
const kernelPrefix = "linux-image-"

// kernelBehind returns the package with a kernel that p depends on. A package
// that holds a kernel itself depends on none.
func kernelBehind(p apt.Package) (apt.Relation, bool) {
	for _, group := range p.Depends {
		if len(group) > 0 && strings.HasPrefix(group[0].Name, kernelPrefix) {
			return group[0], true
		}
	}
	return apt.Relation{}, false
}

// lockPackage records a package of the index.
func lockPackage(p apt.Package) lock.Input {
	return lock.Input{Name: "deb:" + p.Name, Version: p.Version, Arch: p.Arch, Path: p.Filename, Repo: p.Repo, Ref: p.Ref}
}

// open reads the repositories, once.
func (v *resolver) open(ctx context.Context) error {
	if v.index != nil {
		return nil
	}
	cfg, err := configure(v.recipe, v.options)
	if err != nil {
		return err
	}
	client := &apt.Client{
		Document: v.store.client.Document,
		Fetch: func(ctx context.Context, urls []string, ref object.Ref) (string, error) {
			return v.store.get(ctx, "package index", urls, ref)
		},
		Now:   v.options.Now,
		Floor: v.options.Previous.Floor(archive(v.recipe.Apt())),
	}
	if v.index, err = client.Open(ctx, cfg); err != nil {
		return err
	}
	for _, skipped := range v.index.Skipped() {
		if v.options.Warn != nil {
			v.options.Warn(skipped)
		}
	}
	return nil
}

// configure returns the repositories of the recipe.
func configure(r *recipe.Recipe, o Options) (*apt.Config, error) {
	machine := o.Machine
	if machine == "" {
		machine = "/"
	}
	return apt.Configure(r.Apt(), r.Dir, machine)
}

// archive tells which repositories a recipe reads, without their Date.
func archive(a recipe.Apt) lock.Archive {
	if a.Mirror == "" {
		return lock.Archive{Suite: a.Suite, Source: "machine"}
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", a.Mirror, a.Security, a.Snapshot))
	return lock.Archive{Suite: a.Suite, Source: fmt.Sprintf("recipe %x", sum[:8])}
}

// epoch is the newest Date of the repositories, or now where none was read.
func (v *resolver) epoch() time.Time {
	if v.index == nil {
		return v.options.Now()
	}
	return v.index.Date()
}

// url downloads what the recipe names by its hash, to learn its size.
func (v *resolver) url(ctx context.Context, in recipe.Input) (lock.Input, error) {
	id, err := object.ParseID(in.SHA256)
	if err != nil {
		return lock.Input{}, err
	}
	if v.options.Keep != nil {
		if have, ok := v.options.Keep.Lookup(in.Name()); ok && have.SHA256 == id {
			return have, nil
		}
	}
	ref, ok := v.store.cache.Find(id)
	if !ok {
		data, err := v.store.client.Document(ctx, in.URL, maxUnlocked)
		if errors.Is(err, fetch.ErrTooLarge) {
			return v.largeURL(ctx, in, id)
		}
		if err != nil {
			return lock.Input{}, err
		}
		ref = object.Ref{Size: int64(len(data)), SHA256: id}
		_, err = v.store.cache.Put(ctx, ref, func(part *os.File) error {
			_, err := part.WriteAt(data, 0)
			return err
		})
		if err != nil {
			return lock.Input{}, err
		}
	}
	return lock.Input{Name: in.Name(), Path: in.URL, Ref: ref}, nil
}

// largeURL downloads what does not fit into memory: its size is the server's word until
// the hash of all of it says so.
func (v *resolver) largeURL(ctx context.Context, in recipe.Input, id object.ID) (lock.Input, error) {
	size, err := v.store.client.Size(ctx, in.URL)
	if err != nil {
		return lock.Input{}, err
	}
	ref := object.Ref{Size: size, SHA256: id}
	_, err = v.store.get(ctx, in.Name(), []string{in.URL}, ref)
	return lock.Input{Name: in.Name(), Path: in.URL, Ref: ref}, err
}

// file hashes a file of the project.
func (v *resolver) file(in recipe.Input) (lock.Input, error) {
	f, err := openProject(v.recipe.Dir, in.File)
	if err != nil {
		return lock.Input{}, err
	}
	defer f.Close()
	ref, err := object.Of(f)
	return lock.Input{Name: in.Name(), Path: in.File, Ref: ref}, err
}

// openProject opens a regular file of the project. Neither ".." nor a symbolic
// link leads out of it.
func openProject(dir, name string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	name = filepath.FromSlash(name)
	// Look before opening: to open a pipe is to wait for its other end.
	info, err := root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%q is not a regular file", name)
	}
	return root.Open(name)
}
