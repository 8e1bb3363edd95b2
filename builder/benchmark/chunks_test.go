//go:build bench

package benchmark

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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
	"github.com/farboot/farboot/payload/fetch"
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

// desync returns where desync is, which no Debian has: "go get
// github.com/folbricht/desync/cmd/desync@v1.0.4" in a module of its own gets it.
func desync() (string, bool) {
	path, err := exec.LookPath("desync")
	return path, err == nil
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
		{"zstd -3 -T0", to + ".whole", 3, nil, shell(t, "zstd -qf3T0 %s -o %s.whole", c.path("image"), to)},
	}
	if path, ok := desync(); ok {
		all = append(all, contender{"desync, 64 KiB on average", c.path("sum"), 3, nil, tree("%s make --digest sha256 -s s.castr s.caibx image >log 2>&1", path)})
	}
	out := table{title: fmt.Sprintf("Images: chunking %s", megabytes(imageBytes))}
	out.row("", "wall", "CPU", "rate", "size")
	for _, one := range all { // each by itself: two of them make the same file
		cost := race(t, []contender{one})[0]
		out.row(one.name, seconds(cost.wall), seconds(cost.cpu), rate(imageBytes, cost.wall), megabytes(size(t, one.result)))
	}
	out.print()
}

// TestImageReads compares reading an image through the Reader with asking for the
// plain image by Range, and with desync, from one server, with and without latency.
// The time of a random read is that of one.
func TestImageReads(t *testing.T) {
	c := newChunked(t)
	const reads = 100
	castr := chunks.Image{Index: c.zst.Index, Castr: true}
	out := table{title: fmt.Sprintf("Images: reading %s over HTTP, and %d times 4 KiB from anywhere, median of 3", megabytes(imageBytes), reads)}
	out.row("", "from end to end", "rate", "4 KiB", "from end to end, 20 ms", "4 KiB, 20 ms")
	var urls []string
	for _, late := range []time.Duration{0, 20 * time.Millisecond} {
		urls = append(urls, c.serve(t, late))
	}
	row := func(name string, all, one func(url string) func() time.Duration) {
		cells := []string{name}
		for i, url := range urls {
			cost := race(t, []contender{{name, "", 3, nil, all(url)}})[0]
			cells = append(cells, seconds(cost.wall))
			if i == 0 {
				cells = append(cells, rate(imageBytes, cost.wall))
			}
			if one == nil {
				cells = append(cells, "-")
				continue
			}
			cost = race(t, []contender{{name, "", 3, nil, one(url)}})[0]
			cells = append(cells, fmt.Sprintf("%.2f ms", cost.wall.Seconds()*1e3/reads))
		}
		out.row(cells...)
	}
	for name, img := range map[string]chunks.Image{"farboot, one file": c.zst, "farboot, .castr": castr} {
		row(name, c.whole(t, img), c.random(t, img, reads))
	}
	row("plain Range, 1 MiB each", func(url string) func() time.Duration { return ranges(t, url, imageBytes>>20, 1<<20, false) },
		func(url string) func() time.Duration { return ranges(t, url, reads, 4096, true) })
	if path, ok := desync(); ok {
		row("desync cat, the same .castr", func(url string) func() time.Duration {
			return shell(t, "%s cat --digest sha256 -s %s/%s/ %s /dev/null >/dev/null 2>&1", path, url, chunks.CastrDir, c.path("image.caibx"))
		}, nil)
	}
	out.print()
}

// reader returns a run of f with a fresh Reader.
func (c *chunked) reader(t *testing.T, url string, img chunks.Image, f func(*chunks.Reader) error) func() time.Duration {
	return func() time.Duration {
		t.Helper()
		client := fetch.New(chunks.FetchLimits())
		defer client.Close()
		r, err := chunks.Open(t.Context(), img, chunks.Config{Client: client, Sites: fetch.NewMirrors(client, nil, url), Limits: chunks.DefaultLimits()})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := f(r); err != nil {
			t.Fatal(err)
		}
		return 0
	}
}

// whole returns runs that read an image from end to end, 128 KiB at a time as the
// kernel does.
func (c *chunked) whole(t *testing.T, img chunks.Image) func(url string) func() time.Duration {
	return func(url string) func() time.Duration {
		return c.reader(t, url, img, func(r *chunks.Reader) error {
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.NewSectionReader(r, 0, r.Size())}, make([]byte, 128<<10))
			return err
		})
	}
}

// random returns runs that read n times 4 KiB.
func (c *chunked) random(t *testing.T, img chunks.Image, n int) func(url string) func() time.Duration {
	return func(url string) func() time.Duration {
		return c.reader(t, url, img, func(r *chunks.Reader) error {
			for _, at := range places(n) {
				if _, err := r.ReadAt(make([]byte, 4096), at); err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// places are n offsets within an image, the same each time.
func places(n int) (all []int64) {
	r := rand.New(rand.NewPCG(1, 2))
	for range n {
		all = append(all, r.Int64N(imageBytes>>12)<<12)
	}
	return all
}

// ranges returns a run that asks for n parts of the plain image, one after the other
// over one connection, and checks nothing.
func ranges(t *testing.T, url string, n int, size int64, anywhere bool) func() time.Duration {
	return func() time.Duration {
		t.Helper()
		offsets := places(n)
		for i := range offsets {
			if !anywhere {
				offsets[i] = int64(i) * size
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/image", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", offsets[i], offsets[i]+size-1))
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.Copy(io.Discard, resp.Body)
			if err := errors.Join(err, resp.Body.Close()); err != nil || got != size {
				t.Fatalf("%d bytes, %v", got, err)
			}
		}
		return 0
	}
}
