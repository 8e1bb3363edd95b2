//go:build bench

package benchmark

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/chunker"
	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/object"
)

// imageBytes is the size of the image: more than a Reader holds in memory by far.
const imageBytes = 128 << 20

// chunked is an image, laid out in all ways on a site.
type chunked struct {
	dir   string
	index *caibx.Index
	zst   chunks.Image
}

// newChunked takes what is installed here for an image, and publishes it.
func newChunked(t *testing.T) *chunked {
	t.Helper()
	c := &chunked{dir: t.TempDir()}
	shell(t, "tar -C / -cf - usr/lib usr/share 2>/dev/null | head -c %d >%s/image; test $(stat -c %%s %s/image) = %d", imageBytes, c.dir, c.dir, imageBytes)()
	image, err := os.Open(c.path("image"))
	if err != nil {
		t.Fatal(err)
	}
	defer image.Close()
	if c.index, err = caibx.Make(image, caibx.DefaultChunk); err != nil {
		t.Fatal(err)
	}
	index, err := c.index.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	table, err := chunker.Pack(t.Context(), &packed, io.NewSectionReader(image, 0, imageBytes), c.index)
	if err != nil {
		t.Fatal(err)
	}
	end, err := table.Encode(c.index)
	if err != nil {
		t.Fatal(err)
	}
	c.zst = chunks.Image{Index: object.OfBytes(index), Zst: &chunks.Zst{File: object.OfBytes(packed.Bytes()), Table: object.OfBytes(end)}}
	if err := os.Mkdir(c.path("objects"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, data := range [][]byte{index, packed.Bytes(), end} {
		if err := os.WriteFile(c.path(object.OfBytes(data).Path()), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(c.path("image.caibx"), index, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := chunker.Tree(t.Context(), c.path(chunks.CastrDir), io.NewSectionReader(image, 0, imageBytes), c.index); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *chunked) path(name string) string { return filepath.Join(c.dir, name) }

// serve serves the site; each answer comes late.
func (c *chunked) serve(t *testing.T, late time.Duration) string {
	t.Helper()
	files := site.Handler(c.dir, nil)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(late)
		files.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// desync returns where desync is, which no Debian has: the one on the PATH, or else it
// is built from its module, outside of ours, once.
func desync(t *testing.T) string {
	t.Helper()
	const version = "v1.0.4" // of 2026-08; the proxy has it by its exact version only
	if path, err := exec.LookPath("desync"); err == nil {
		return path
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(cache, "farboot-benchmark", "desync-"+version)
	program := filepath.Join(dir, "desync")
	if _, err := os.Stat(program); err == nil {
		return program
	}
	shell(t, "mkdir -p %[1]s; cd %[1]s; echo module scratch >go.mod; go get github.com/folbricht/desync/cmd/desync@%[2]s; go build -o desync github.com/folbricht/desync/cmd/desync", dir, version)()
	return program
}

// TestChunking compares what it takes to make an index of an image and to compress
// its chunks.
func TestChunking(t *testing.T) {
	need(t, "casync", "casync")
	need(t, "zstd", "zstd")
	c := newChunked(t)
	to := c.path("packed")
	ours := func() time.Duration {
		in, err := os.Open(c.path("image"))
		if err != nil {
			t.Fatal(err)
		}
		defer in.Close()
		x, err := caibx.Make(in, caibx.DefaultChunk)
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(to)
		if err != nil {
			t.Fatal(err)
		}
		_, err = chunker.Pack(t.Context(), out, io.NewSectionReader(in, 0, imageBytes), x)
		if err := errors.Join(err, out.Close()); err != nil {
			t.Fatal(err)
		}
		return 0
	}
	tree := func(format string, args ...any) func() time.Duration {
		return shell(t, "cd %s; rm -rf s.castr s.caibx; mkdir s.castr; "+format+"; cat $(find s.castr -type f) >sum", append([]any{c.dir}, args...)...)
	}
	all := []contender{
		{"farboot, 1 MiB, one file", to, 3, nil, ours},
		{"casync, 1 MiB", c.path("sum"), 3, nil, tree("casync make --digest=sha256 --chunk-size=1048576:1048576:1048576 --store=s.castr s.caibx image")},
		{"desync, 64 KiB on average", c.path("sum"), 3, nil, tree("%s make --digest sha256 -s s.castr s.caibx image >log 2>&1", desync(t))},
		{"zstd -3 -T0", to + ".whole", 3, nil, shell(t, "zstd -qf3T0 %s -o %s.whole", c.path("image"), to)},
	}
	out := table{title: fmt.Sprintf("Images: chunking %s", megabytes(imageBytes))}
	out.row("", "wall", "CPU", "rate", "size")
	for _, one := range all { // each by itself: two of them make the same file
		cost := race(t, []contender{one})[0]
		out.row(one.name, seconds(cost.wall), seconds(cost.cpu), rate(imageBytes, cost.wall), megabytes(size(t, one.result)))
	}
	out.print()
}
