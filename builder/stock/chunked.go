package stock

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/farboot/farboot/builder/chunker"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/flash/expand"
	"github.com/farboot/farboot/payload/object"
)

// Chunked makes what machines need to read an image from where it lies. Of one that
// lies in a tree [Stock.Trees] has the chunks.
func (s *Stock) Chunked(in recipe.SiteImage) (chunks.Image, error) {
	image, err := s.siteImage(in)
	if err != nil {
		return chunks.Image{}, err
	}
	source := s.files[image.Ref]
	x, err := readIndex(s.files[image.Index].Path)
	if err != nil {
		return chunks.Image{}, fmt.Errorf("%s: %w", source.Name, err)
	}
	tree := chunker.Image{Name: source.Name, Index: x, Open: func() (io.ReadCloser, error) { return openImage(source.Path, image.Format) }}
	out := chunks.Image{Index: image.Index}
	switch in.Format {
	case recipe.FormatCastr:
		out.Castr = true
		if !slices.ContainsFunc(s.trees, func(t chunker.Image) bool { return t.Name == tree.Name && t.Index.Max == x.Max }) {
			s.trees = append(s.trees, tree)
		}
	case recipe.FormatURL:
		if image.Format != "" {
			return chunks.Image{}, fmt.Errorf("%s: it is compressed by %s, and can only be read where it lies as it is", source.Name, image.Format)
		}
		out.URLs = []string{in.URL}
	default:
		out.Zst, err = s.seekable(image.Ref, tree)
	}
	if err != nil {
		return chunks.Image{}, err
	}
	return out, out.Check()
}

// siteImage returns an image of a site, or makes it of packages.
func (s *Stock) siteImage(in recipe.SiteImage) (recipe.Image, error) {
	chunk := cmp.Or(in.Chunk<<10, caibx.DefaultChunk)
	if len(in.Packages) == 0 {
		path, ref, err := s.Blobs.Path(in.Input)
		if err != nil {
			return recipe.Image{}, err
		}
		return s.indexed(File{in.Name(), path}, ref, chunk)
	}
	for name, img := range s.Recipe.Site.Images {
		if img.Line != in.Line {
			continue
		}
		ref, err := s.Toolbox(in.RootName(name))
		if err != nil {
			return recipe.Image{}, err
		}
		s.files[ref] = File{"image " + name, s.files[ref].Path}
		return s.indexed(s.files[ref], ref, chunk)
	}
	return recipe.Image{}, fmt.Errorf("%s:%d: no image of this recipe", s.Recipe.Path, in.Line)
}

// Profile makes the boot profile of an image an object; nil is none. One that was
// recorded of another version of the image is not published, and Warn is told: boots
// go without.
func (s *Stock) Profile(in recipe.SiteImage, index object.Ref) (*object.Ref, error) {
	if in.Profile == nil {
		return nil, nil
	}
	ref, err := s.Object(recipe.Content{Input: *in.Profile})
	if err != nil {
		return nil, err
	}
	x, err := readIndex(s.files[index].Path)
	if err != nil {
		return nil, err
	}
	if ref.Size > chunks.MaxProfileFile {
		return nil, fmt.Errorf("%s: %w: %d bytes", in.Profile.Name(), chunks.ErrProfile, ref.Size)
	}
	data, err := os.ReadFile(s.files[ref].Path)
	if err != nil {
		return nil, err
	}
	_, err = chunks.DecodeProfile(data, index.SHA256, len(x.Chunks))
	if of, bad := chunks.ProfileIndex(data); bad == nil && of != index.SHA256 {
		if s.Warn != nil {
			s.Warn(fmt.Errorf("%s: it was recorded of another version of the image, and is left out", in.Profile.Name()))
		}
		delete(s.files, ref)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in.Profile.Name(), err)
	}
	return &ref, nil
}

// Trees returns the images whose chunks belong into the site's tree.
func (s *Stock) Trees() []chunker.Image { return s.trees }

// seekable makes the seekable file of an image, and the table that it ends with as an
// object of its own.
func (s *Stock) seekable(ref object.Ref, image chunker.Image) (*chunks.Zst, error) {
	path, file, err := s.Cache.Layer(key("seekable", fmt.Appendf(nil, "%s %d", ref.SHA256, image.Index.Max)), func(w io.Writer) error {
		r, err := image.Open()
		if err != nil {
			return err
		}
		defer r.Close()
		_, err = chunker.Pack(s.ctx, w, r, image.Index)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", image.Name, err)
	}
	s.files[file] = File{image.Name + ", packed", path}
	n := chunks.TableSize(image.Index)
	tablePath, table, err := s.Cache.Layer(key("seek table", file.SHA256[:]), func(w io.Writer) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, io.NewSectionReader(f, file.Size-n, n))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", image.Name, err)
	}
	s.files[table] = File{"the seek table of " + image.Name, tablePath}
	return &chunks.Zst{File: file, Table: table}, nil
}

// readIndex reads an index.
func readIndex(path string) (*caibx.Index, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return caibx.Decode(data)
}

// openImage opens what an image holds.
func openImage(path, format string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := expand.Reader(f, format)
	if err != nil {
		f.Close()
		return nil, err
	}
	return unpacked{r, f}, nil
}

// unpacked is an image that is unpacked while it is read.
type unpacked struct {
	io.ReadCloser
	file *os.File
}

// Close closes the file as well; nothing was written to either.
func (u unpacked) Close() error {
	u.ReadCloser.Close()
	return u.file.Close()
}
