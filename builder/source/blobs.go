package source

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source/apt"
	"github.com/farboot/farboot/builder/source/deb"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/strictjson"
)

// Blobs hands out the inputs of a lock. Its methods may be called at the same
// time. Close it when its packages are no longer used.
type Blobs struct {
	ctx          context.Context // Fetch's: the Blobs are a part of that call that goes on
	recipe       *recipe.Recipe
	lock         *lock.Lock
	store        *store
	repositories func() (*apt.Config, error)

	mu       sync.Mutex
	packages map[string]*openPackage
}

// openPackage is a package with the file that it reads from.
type openPackage struct {
	*deb.Package
	file *os.File
}

// Close closes the packages that [Blobs.Deb] has opened.
func (b *Blobs) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	var errs []error
	for _, p := range b.packages {
		errs = append(errs, p.file.Close())
	}
	clear(b.packages)
	return errors.Join(errs...)
}

// Deb returns the locked package called name. Its bytes are hashed on the first
// call: what can be kept in a cache layer should be, by the hash in the lock.
func (b *Blobs) Deb(name string) (*deb.Package, error) {
	in, err := b.locked("deb:" + name)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p, ok := b.packages[name]; ok {
		return p.Package, nil
	}
	// Has the check been made for these very bytes? It is kept by their hash.
	if _, err := b.control(b.ctx, in); err != nil {
		return nil, b.wrap(in, err)
	}
	f, err := b.open(b.ctx, in)
	if err != nil {
		return nil, b.wrap(in, err)
	}
	p, err := deb.Open(f, in.Size)
	if err != nil {
		f.Close()
		return nil, b.wrap(in, err)
	}
	b.packages[name] = &openPackage{p, f}
	return p, nil
}

// Kernel returns the name of the package that holds the kernel which the
// package called name holds or, as a metapackage, leads to.
func (b *Blobs) Kernel(name string) (string, error) {
	for range maxHops {
		in, err := b.locked("deb:" + name)
		if err != nil {
			return "", err
		}
		c, err := b.control(b.ctx, in)
		if err != nil {
			return "", b.wrap(in, err)
		}
		next := b.kernelIn(c.Depends)
		if next == "" {
			return name, nil
		}
		name = next
	}
	return "", fmt.Errorf("package %q: more than %d packages lead to a kernel", name, maxHops)
}

// kernelIn returns the locked package with a kernel that depends names.
func (b *Blobs) kernelIn(depends string) string {
	for _, word := range strings.FieldsFunc(depends, func(c rune) bool { return strings.ContainsRune(" ,|()\n\t", c) }) {
		if _, ok := b.lock.Lookup("deb:" + word); ok && strings.HasPrefix(word, kernelPrefix) {
			return word
		}
	}
	return ""
}

// Path returns where the bytes of an input of the recipe lie: a file of a
// package, a whole package, a download or a copy of a file of the project.
func (b *Blobs) Path(in recipe.Input) (string, object.Ref, error) {
	if in.Deb != "" && in.File != "" {
		path, ref, err := b.File(in.Deb, in.File)
		if missing, ok := errors.AsType[*missingError](err); ok && in.Line > 0 {
			err = &recipe.Error{Path: b.recipe.Path, Line: in.Line, Msg: missing.Error(), Hint: missing.hint()}
		}
		return path, ref, err
	}
	locked, err := b.lockedInput(in)
	if err != nil {
		return "", object.Ref{}, err
	}
	if path, ok := b.store.cache.Path(locked.Ref); ok {
		return path, locked.Ref, nil
	}
	if err := b.prepare(b.ctx, locked); err != nil {
		return "", object.Ref{}, err
	}
	path, ok := b.store.cache.Path(locked.Ref)
	if !ok {
		return "", object.Ref{}, fmt.Errorf("the cache loses %s at once", locked.Ref)
	}
	return path, locked.Ref, nil
}

// File returns where a copy of the file at name inside the package called pkg
// lies. Once taken out, the package is not read again.
func (b *Blobs) File(pkg, name string) (string, object.Ref, error) {
	in, err := b.locked("deb:" + pkg)
	if err != nil {
		return "", object.Ref{}, err
	}
	return b.store.cache.Layer(fileKey(in, name), func(w io.Writer) error {
		p, err := b.Deb(pkg)
		if err != nil {
			return err
		}
		return b.takeOut(p, in, name, w)
	})
}

// fileKey is the key of a file inside a package.
func fileKey(in lock.Input, name string) object.ID { return layerKey("file "+name, in.Ref) }

// takeOut writes the file at name inside p to w. The other files that the
// recipe wants from p are taken along: to read a package twice is dear.
func (b *Blobs) takeOut(p *deb.Package, in lock.Input, name string, w io.Writer) error {
	wanted := b.wanted(in.Name)
	wanted[name] = true
	var names []string
	found := false
	err := p.Walk(func(hdr *tar.Header, r io.Reader) error {
		names = append(names, hdr.Name)
		switch {
		case hdr.Name == name:
			if err := deb.CheckRegular(hdr); err != nil {
				return err
			}
			if _, err := io.Copy(w, r); err != nil {
				return err
			}
			found = true
		case wanted[hdr.Name] && hdr.Typeflag == tar.TypeReg:
			if _, _, err := b.store.cache.Layer(fileKey(in, hdr.Name), func(w io.Writer) error {
				_, err := io.Copy(w, r)
				return err
			}); err != nil {
				return err
			}
		}
		if delete(wanted, hdr.Name); len(wanted) == 0 {
			return fs.SkipAll
		}
		return nil
	})
	if err == nil && !found {
		err = &missingError{p.Control().Package, name, near(name, names)}
	}
	return err
}

// wanted returns the files that the recipe wants from the input called name.
func (b *Blobs) wanted(name string) map[string]bool {
	files := make(map[string]bool)
	for _, in := range b.recipe.Inputs() {
		if in.Name() == name && in.File != "" && in.Deb != "" {
			files[in.File] = true
		}
	}
	return files
}

// lockedInput returns the lock's entry for an input of the recipe.
func (b *Blobs) lockedInput(in recipe.Input) (lock.Input, error) {
	got, err := b.locked(in.Name())
	if err == nil && in.SHA256 != "" && in.SHA256 != got.SHA256.String() {
		err = b.wrap(got, fmt.Errorf("%w: it has sha256 %s, the recipe %s", lock.ErrStale, got.SHA256, in.SHA256))
	}
	return got, err
}

// locked returns the lock's entry for the input called name.
func (b *Blobs) locked(name string) (lock.Input, error) {
	in, ok := b.lock.Lookup(name)
	if !ok {
		return lock.Input{}, b.wrap(lock.Input{Name: name}, fmt.Errorf("%w: it has no such input", lock.ErrStale))
	}
	return in, nil
}

// readJSON decodes the layer at path.
func readJSON(path string, ref object.Ref, v any) error {
	if ref.Size > maxControl {
		return fmt.Errorf("%d bytes, want at most %d", ref.Size, maxControl)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return strictjson.Decode(data, maxControl, v)
}
