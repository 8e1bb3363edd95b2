package chunks

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/object"
)

// CastrDir is the folder of a site in which all its images have their chunks, where
// they lie as a .castr tree.
const CastrDir = "images.castr"

// Image names an image in a manifest: its index, which says what its bytes are, and
// where they lie. Exactly one of Zst, Castr and URLs is set.
type Image struct {
	// Index is the .caibx.
	Index object.Ref `json:"index"`
	// Zst is the image as one seekable file, an object of the site.
	Zst *Zst `json:"zst,omitzero"`
	// Castr says that the chunks lie in the site's [CastrDir].
	Castr bool `json:"castr,omitzero"`
	// URLs are files with the image as it is, on servers of whomever: all are as
	// good as each other.
	URLs []string `json:"urls,omitzero"`
}

// Zst is a seekable Zstandard file.
type Zst struct {
	// File is all of it. Only its size is used: what is read of it is checked chunk
	// by chunk.
	File object.Ref `json:"file"`
	// Table is its end, the seek table, as an object of its own: so it is signed,
	// too, and no server can say where to read.
	Table object.Ref `json:"table"`
}

// MaxURLs bounds the servers of an image.
const MaxURLs = 16

// Check tells what is wrong with an image, as far as its description goes.
func (img *Image) Check() error {
	ways := len(img.URLs)
	if img.URLs != nil {
		ways = 1
	}
	if img.Zst != nil {
		ways++
	}
	if img.Castr {
		ways++
	}
	switch {
	case ways != 1:
		return fmt.Errorf("%w: want exactly one of zst, castr and urls", ErrImage)
	case img.Index.Size < 1 || img.Index.Size > caibx.MaxFile:
		return fmt.Errorf("%w: an index of %d bytes", ErrImage, img.Index.Size)
	case img.Zst != nil && (img.Zst.Table.Size < 1 || img.Zst.Table.Size > maxEncoded || img.Zst.File.Size < img.Zst.Table.Size):
		return fmt.Errorf("%w: a table of %d bytes in a file of %d", ErrImage, img.Zst.Table.Size, img.Zst.File.Size)
	case img.URLs != nil && (len(img.URLs) < 1 || len(img.URLs) > MaxURLs):
		return fmt.Errorf("%w: %d URLs, want 1 to %d", ErrImage, len(img.URLs), MaxURLs)
	}
	for _, u := range img.URLs {
		if err := checkURL(u); err != nil {
			return err
		}
	}
	return nil
}

// checkURL wants a file of a web server.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.Fragment != "" || strings.HasSuffix(u.Path, "/") || u.Path == "" {
		return fmt.Errorf("%w: %q is not the URL of a file", ErrImage, raw)
	}
	return nil
}

// Refs returns the objects of the site that belong to the image.
func (img *Image) Refs() []object.Ref {
	refs := []object.Ref{img.Index}
	if img.Zst != nil {
		refs = append(refs, img.Zst.File, img.Zst.Table)
	}
	return refs
}

// ChunkPath is where a .castr tree has a chunk.
func ChunkPath(id object.ID) string {
	name := id.String()
	return name[:4] + "/" + name + ".cacnk"
}
