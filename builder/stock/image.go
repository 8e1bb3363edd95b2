package stock

import (
	"context"
	"fmt"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/flash/expand"
	"github.com/farboot/farboot/payload/object"
)

// magics are what compressed files begin with: the .xz file format 1.2.0, section
// 2.1.1.1; RFC 8878, section 3.1.1; RFC 1952, section 2.3.1.
var magics = []struct{ format, magic string }{
	{"xz", "\xfd7zXZ\x00"}, {"zst", "\x28\xb5\x2f\xfd"}, {"gz", "\x1f\x8b\x08"},
}

// Image implements [recipe.Maker]. How an image is compressed its first bytes
// tell. The image is unpacked once to make its index.
func (s *Stock) Image(in recipe.Input) (recipe.Image, error) {
	path, ref, err := s.Blobs.Path(in)
	if err != nil {
		return recipe.Image{}, err
	}
	return s.indexed(File{in.Name(), path}, ref, caibx.DefaultChunk)
}

// indexed makes the index of an image, in chunks of so many bytes.
func (s *Stock) indexed(image File, ref object.Ref, chunk int) (recipe.Image, error) {
	s.files[ref] = image
	format, err := formatOf(image.Path)
	if err != nil {
		return recipe.Image{}, err
	}
	path, index, err := s.Cache.Layer(key("caibx", fmt.Appendf(nil, "%s %d", ref.SHA256, chunk)), func(w io.Writer) error {
		return indexImage(s.ctx, w, image, format, chunk)
	})
	if err != nil {
		return recipe.Image{}, err
	}
	s.files[index] = File{"the index of " + image.Name, path}
	return recipe.Image{Ref: ref, Index: index, Format: format}, nil
}

// formatOf returns how the file at path is compressed.
func formatOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, 8)
	n, err := io.ReadFull(f, head)
	if err != nil && n == 0 {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	for _, m := range magics {
		if len(m.magic) <= n && string(head[:len(m.magic)]) == m.magic {
			return m.format, nil
		}
	}
	return "", nil
}

// indexImage writes the index of an image, and looks for secret keys in it on
// the way: what is published once is out.
func indexImage(ctx context.Context, w io.Writer, image File, format string, chunk int) error {
	f, err := os.Open(image.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	content, err := expand.Reader(f, format)
	if err != nil {
		return err
	}
	defer content.Close()
	copied, feed := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		err := leak.Image(image.Name, io.TeeReader(interruptible{ctx, content}, feed))
		feed.CloseWithError(err) // nil is the end
		return err
	})
	index, err := caibx.Make(copied, chunk)
	copied.CloseWithError(err)
	if scanned := g.Wait(); scanned != nil {
		return scanned
	}
	if err != nil {
		return fmt.Errorf("%s: %w", image.Name, err)
	}
	data, err := index.Encode()
	if err != nil {
		return fmt.Errorf("%s: %w", image.Name, err)
	}
	_, err = w.Write(data)
	return err
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
