package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// objects puts every object of the manifest in its place.
func (p *publication) objects(ctx context.Context) error {
	p.images = images(p.manifest)
	for _, ref := range p.manifest.Refs() {
		added, err := p.object(ctx, ref, p.Objects[ref])
		if err != nil {
			return err
		}
		p.result.Objects++
		if added {
			p.result.Added++
			p.result.Bytes += ref.Size
		}
	}
	if err := p.trees(ctx); err != nil {
		return err
	}
	return syncDir(filepath.Join(p.Dir, "objects"))
}

// object makes sure that the site holds the object, and tells whether it had to
// be copied. It is always a copy: a hard link would change with its source. An
// object that is there but damaged is replaced.
func (p *publication) object(ctx context.Context, ref object.Ref, source string) (added bool, err error) {
	name := filepath.Join(p.Dir, ref.Path())
	if err := verify(ctx, name, ref, p.images[ref]); err == nil {
		return false, nil
	} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, object.ErrMismatch) {
		return false, err
	}
	if source == "" {
		return false, fmt.Errorf("publish %s: nothing says where its bytes are", ref.SHA256)
	}
	if err := p.copy(ctx, ref, source); err != nil {
		return false, fmt.Errorf("publish %s: %w", source, err)
	}
	return true, nil
}

// copy copies the file at source and, once the copy is verified, moves it to
// its place.
func (p *publication) copy(ctx context.Context, ref object.Ref, source string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := p.stage(ref.Path())
	if err != nil {
		return err
	}
	defer out.Cleanup()
	if _, err := io.Copy(out, object.NewReader(interruptible{ctx, in}, ref)); err != nil {
		return err
	}
	if err := verify(ctx, out.Name(), ref, p.images[ref]); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}

// verify reads the file at name and tells whether it is the object, and none
// that must not be published. In the image of a disk other things are no secret
// than in a file.
func verify(ctx context.Context, name string, ref object.Ref, image bool) error {
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: not a plain file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	scan := leak.Scan
	if image {
		scan = leak.Image
	}
	return scan(name, object.NewReader(interruptible{ctx, f}, ref))
}

// images returns the images of disks that a manifest names.
func images(m *manifest.Manifest) map[object.Ref]bool {
	found := map[object.Ref]bool{}
	for _, e := range m.Entries {
		if e.Flash != nil {
			found[e.Flash.Image] = true
		}
	}
	for name, ref := range m.Files {
		if image, ok := strings.CutSuffix(name, recipe.FileSuffix); ok && m.Files[image+recipe.TableSuffix] != (object.Ref{}) {
			found[ref] = true
		}
	}
	return found
}

// interruptible is a reader that ends with its context.
type interruptible struct {
	ctx context.Context
	r   io.Reader
}

func (i interruptible) Read(p []byte) (int, error) {
	if i.ctx.Err() != nil {
		return 0, context.Cause(i.ctx)
	}
	return i.r.Read(p)
}
