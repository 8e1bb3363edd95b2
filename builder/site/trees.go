package site

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/farboot/farboot/builder/chunker"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// trees puts the chunks of images in their place, but for those that are there.
func (p *publication) trees(ctx context.Context) error {
	for _, image := range p.Trees {
		r, err := image.Open()
		if err != nil {
			return err
		}
		added, err := chunker.Tree(ctx, filepath.Join(p.Dir, chunks.CastrDir), r, image.Index)
		if err := errors.Join(err, r.Close()); err != nil {
			return fmt.Errorf("publish %s: %w", image.Name, err)
		}
		p.result.Chunks += added.Chunks
		p.result.Bytes += added.Bytes
	}
	return nil
}

// trees notes the indexes of a manifest's images whose chunks lie in the tree.
func (v *verification) trees(m *manifest.Manifest) {
	for name, ref := range m.Files {
		if strings.HasSuffix(name, recipe.TreeSuffix) {
			v.indexes[ref] = true
		}
	}
}

// readTrees reads every chunk of those images.
func (v *verification) readTrees(ctx context.Context) {
	u := chunks.NewUnpacker(1)
	for _, ref := range slices.SortedFunc(maps.Keys(v.indexes), byHash) {
		data, err := readFile(filepath.Join(v.Dir, ref.Path()), caibx.MaxFile)
		if err != nil || object.OfBytes(data) != ref {
			continue // which readObjects says
		}
		x, err := caibx.Decode(data)
		if err != nil {
			v.problem("image index %s: %w", ref.SHA256, err)
			continue
		}
		for i, c := range x.Chunks {
			if ctx.Err() != nil {
				return
			}
			if err := chunker.Check(u, filepath.Join(v.Dir, chunks.CastrDir), c.ID, x.Len(i)); err != nil {
				v.problem("image index %s: chunk %d: %w", ref.SHA256, i, err)
			}
		}
	}
}
