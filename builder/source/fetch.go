package source

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source/apt"
	"github.com/farboot/farboot/builder/source/deb"
	"github.com/farboot/farboot/payload/object"
)

// maxControl bounds what is cached of a control file, in bytes.
const maxControl = 1 << 20

// Fetch brings every input of the lock into the cache, several at once, and
// makes sure that packages are the ones that the lock names. ctx also governs
// what the Blobs do later.
func Fetch(ctx context.Context, r *recipe.Recipe, l *lock.Lock, o Options) (*Blobs, error) {
	b := &Blobs{
		ctx: ctx, recipe: r, lock: l, store: newStore(o),
		repositories: sync.OnceValues(func() (*apt.Config, error) { return configure(r, o) }),
		packages:     make(map[string]*openPackage),
	}
	for _, in := range r.Inputs() {
		if _, err := b.lockedInput(in); err != nil {
			return nil, inRecipe(r, in, err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, in := range l.Inputs {
		g.Go(func() error { return b.prepare(ctx, in) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return b, nil
}

// prepare brings one input into the cache. That what seems to be there is
// whole will show when it is used.
func (b *Blobs) prepare(ctx context.Context, in lock.Input) error {
	kind, _, _ := strings.Cut(in.Name, ":")
	var err error
	switch {
	case kind == "file":
		err = b.copyFile(ctx, in)
	case !b.store.cache.Has(in.Ref):
		err = b.download(ctx, in)
	}
	if err == nil && kind == "deb" {
		_, err = b.control(ctx, in)
	}
	return b.wrap(in, err)
}

// download fetches a package or a URL.
func (b *Blobs) download(ctx context.Context, in lock.Input) error {
	urls := []string{in.Path}
	if strings.HasPrefix(in.Name, "deb:") {
		cfg, err := b.repositories()
		if err != nil {
			return err
		}
		if urls, err = cfg.URLs(in.Repo, in.Path); err != nil {
			return err
		}
	}
	_, err := b.store.get(ctx, in.Name, urls, in.Ref)
	return err
}

// wrap says which input an error is about, and what to do about it.
func (b *Blobs) wrap(in lock.Input, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrGone) && in.Version != "":
		return &Error{in.Name, fmt.Errorf("version %s: %w", in.Version, err), fmt.Sprintf(
			"mirrors drop superseded versions: renew the lock with \"farboot lock --update %s\","+
				" or name a snapshot mirror under \"apt:\" in the recipe", b.recipe.Path)}
	case errors.Is(err, ErrImpostor), errors.Is(err, lock.ErrStale):
		return &Error{in.Name, err, fmt.Sprintf("renew the lock with \"farboot lock --update %s\"", b.recipe.Path)}
	}
	return &Error{Input: in.Name, Err: err}
}

// copyFile compares a file of the project with the lock and keeps a copy, so
// that the build reads the bytes that were compared.
func (b *Blobs) copyFile(ctx context.Context, in lock.Input) error {
	f, err := openProject(b.recipe.Dir, in.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if got, err := object.Of(f); err != nil {
		return err
	} else if got != in.Ref {
		return fmt.Errorf("%w: the file is %s, the lock has %s", lock.ErrStale, got, in.Ref)
	}
	if b.store.cache.Has(in.Ref) {
		return nil
	}
	_, err = b.store.cache.Put(ctx, in.Ref, func(part *os.File) error {
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(part, object.NewReader(f, in.Ref))
		return err
	})
	return err
}

// control returns the control fields of a package, which are those that the
// lock has.
func (b *Blobs) control(ctx context.Context, in lock.Input) (deb.Control, error) {
	path, ref, err := b.store.cache.Layer(layerKey("control", in.Ref), func(w io.Writer) error {
		f, err := b.open(ctx, in)
		if err != nil {
			return err
		}
		defer f.Close()
		p, err := deb.Open(f, in.Size)
		if err != nil {
			return err
		}
		return json.NewEncoder(w).Encode(p.Control())
	})
	if err != nil {
		return deb.Control{}, err
	}
	var c deb.Control
	if err := readJSON(path, ref, &c); err != nil {
		return deb.Control{}, err
	}
	if "deb:"+c.Package != in.Name || c.Version != in.Version || c.Architecture != in.Arch {
		return deb.Control{}, fmt.Errorf("%w: it says %s %s %s, the lock says %s %s %s", ErrImpostor,
			c.Package, c.Version, c.Architecture, strings.TrimPrefix(in.Name, "deb:"), in.Version, in.Arch)
	}
	return c, nil
}

// open returns the verified bytes of a locked package or URL. Where the cache
// has gone bad, they are fetched again.
func (b *Blobs) open(ctx context.Context, in lock.Input) (*os.File, error) {
	for range 2 {
		if f, ok := b.store.cache.Open(in.Ref); ok {
			return f, nil
		}
		if err := b.download(ctx, in); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("the cache loses %s at once", in.Ref)
}

// layerKey is the key of what is derived from an object alone.
func layerKey(what string, from object.Ref) object.ID {
	return sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n", from.SHA256, what))
}
