package site

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/farboot/farboot/builder/chunker"
	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/imagecache"
	"github.com/farboot/farboot/payload/object"
)

// image gives the project an image in both layouts, and tells how it is read.
func (p *project) image(t testing.TB, data []byte) []chunks.Image {
	t.Helper()
	x, err := caibx.Make(bytes.NewReader(data), caibx.DefaultChunk)
	if err != nil {
		t.Fatal(err)
	}
	index, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	table, err := chunker.Pack(t.Context(), &file, bytes.NewReader(data), x)
	if err != nil {
		t.Fatal(err)
	}
	end, err := table.Encode(x)
	if err != nil {
		t.Fatal(err)
	}
	p.options.Trees = []chunker.Image{{Name: "image", Index: x, Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }}}
	zst := chunks.Image{Index: p.file(t, "index", index), Zst: &chunks.Zst{File: p.file(t, "file", file.Bytes()), Table: p.file(t, "table", end)}}
	p.options.Files = map[string]object.Ref{"image" + recipe.IndexSuffix: zst.Index, "image" + recipe.FileSuffix: zst.Zst.File, "image" + recipe.TableSuffix: zst.Zst.Table}
	return []chunks.Image{zst, {Index: zst.Index, Castr: true}}
}

// TestPublishImage reads what was published from ours and from a plain web server, in
// either layout, and once more from the cache alone. The next version adds only what
// differs; a server may keep chunks for ever.
func TestPublishImage(t *testing.T) {
	p := newProject(t)
	data := oracle.Random(1, 5<<20+12345)
	images := p.image(t, data)
	if res := p.publish(t); res.Chunks != 6 {
		t.Errorf("%+v, want 6 chunks", res)
	}
	p.offers(t, 1)
	if !p.packed(t) {
		t.Error("the packed image is scanned as if it were a plain file")
	}
	ours, _ := serve(t, p.options.Dir)
	for _, base := range []string{ours, nginx(t, p.options.Dir)} {
		for _, img := range images {
			dir := filepath.Join(t.TempDir(), imagecache.Dir)
			for _, sites := range [][]string{{base}, {"http://127.0.0.1:1"}} { // the second boot has no network
				if got := p.readImage(t, dir, img, sites); !bytes.Equal(got, data) {
					t.Errorf("%s: %d other bytes", base, len(got))
				}
			}
		}
	}
	next := bytes.Clone(data)
	copy(next[3<<20:], "version 2")
	p.image(t, next)
	if res := p.publish(t); res.Chunks != 1 {
		t.Errorf("the next version: %+v, want 1 chunk", res)
	}
	if got := cacheControl(chunks.CastrDir + "/" + chunks.ChunkPath(object.ID{})); got != cacheControl(images[0].Index.Path()) {
		t.Errorf("a chunk's Cache-Control is %q", got)
	}
}

// packed tells whether the packed image counts as one.
func (p *project) packed(t testing.TB) bool {
	t.Helper()
	a, err := asMedium(t.Context(), p.options.Keys.Store, p.terms(), Files(p.options.Dir), p.options.Now)
	if err != nil {
		t.Fatal(err)
	}
	found := images(a.Manifest)
	return len(found) == 1 && found[p.options.Files["image"+recipe.FileSuffix]]
}

// readImage reads an image as a machine does.
func (p *project) readImage(t testing.TB, dir string, img chunks.Image, sites []string) []byte {
	t.Helper()
	cache, err := imagecache.Open(dir, imagecache.DefaultLimits(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer cache.Close()
	client := fetch.New(chunks.FetchLimits())
	defer client.Close()
	r, err := chunks.Open(t.Context(), img, chunks.Config{
		Client: client, Sites: fetch.NewMirrors(client, t.Logf, sites...), Cache: cache, Limits: chunks.DefaultLimits(), Log: t.Logf,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(io.NewSectionReader(r, 0, r.Size()))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// An image that changed since its index was made is not published, and neither is
// one that cannot be read.
func TestPublishChangedImage(t *testing.T) {
	p := newProject(t)
	p.image(t, oracle.Random(1, 2<<20))
	p.options.Trees[0].Open = func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(oracle.Random(2, 2<<20))), nil
	}
	if _, err := Publish(t.Context(), p.options); err == nil {
		t.Error("another image than the index's is published")
	}
	p.options.Trees[0].Open = func() (io.ReadCloser, error) { return nil, os.ErrNotExist }
	if _, err := Publish(t.Context(), p.options); err == nil {
		t.Error("an image that is not there is published")
	}
}
