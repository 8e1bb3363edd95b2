//go:build bench

package benchmark

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/blockdev"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/object"
)

const (
	// randomReads is how many times 4 KiB are read from anywhere.
	randomReads = 30
	// bootFiles is how many files a boot reads, of 256 KiB each and in chunks of their
	// own, and think how long it works in between: a live system reads some 500 chunks
	// in 50 s.
	bootFiles, think = 64, 20 * time.Millisecond
)

// latencies are how late the server's answers come.
var latencies = []time.Duration{0, 20 * time.Millisecond, 100 * time.Millisecond}

// way is one of several to read an image. It gets the server's URL.
type way struct {
	name string
	// whole reads it from end to end, 128 KiB at a time as the kernel does; random
	// reads 4 KiB from anywhere, one after the other.
	whole, random func(url string) func() time.Duration
}

// TestImageReads compares reading an image through the Reader, and through a block
// device over it, with asking for the plain image by Range, and with desync on the same
// tree of chunks: one server, at several latencies. It needs root for the block device
// and for desync's mount. A chunk is 1 MiB, so that a random read of 4 KiB costs one.
func TestImageReads(t *testing.T) {
	need(t, "fusermount3", "fuse3")
	c := newChunked(t)
	castr := chunks.Image{Index: c.zst.Index, Castr: true}
	var urls []string
	for _, late := range latencies {
		urls = append(urls, c.serve(t, late))
	}
	whole := table{title: fmt.Sprintf("Images: reading %s over HTTP from end to end, median of 3", megabytes(imageBytes))}
	random := table{title: fmt.Sprintf("Images: 4 KiB from anywhere, mean of %d, median of 3", randomReads)}
	names := []string{""}
	for _, late := range latencies {
		names = append(names, late.String(), "CPU")
	}
	whole.row(names...)
	random.row(names...)
	for _, w := range []way{
		{"farboot, one file", c.whole(t, c.zst), c.random(t, c.zst)},
		{"farboot, .castr", c.whole(t, castr), c.random(t, castr)},
		{"farboot, one file, FUSE and loop", c.device(t, c.zst, ddWhole), c.device(t, c.zst, preads)},
		{"plain Range, 1 MiB and 4 KiB", func(url string) func() time.Duration { return ranges(t, url, imageBytes>>20, 1<<20, false) },
			func(url string) func() time.Duration { return ranges(t, url, randomReads, 4096, true) }},
		{"desync cat", func(url string) func() time.Duration {
			return shell(t, "%s cat --digest sha256 -s %s/%s/ %s /dev/null >/dev/null 2>&1", desync(t), url, chunks.CastrDir, c.path("image.caibx"))
		}, nil},
		{"desync mount-index", c.mounted(t, ddWhole), c.mounted(t, preads)},
	} {
		all, one := []string{w.name}, []string{w.name}
		for _, url := range urls {
			cost := race(t, []contender{{w.name, "", 3, nil, w.whole(url)}})[0]
			all = append(all, seconds(cost.wall), seconds(cost.cpu))
			if w.random == nil {
				one = append(one, "-", "-")
				continue
			}
			cost = race(t, []contender{{w.name, "", 3, nil, w.random(url)}})[0]
			one = append(one, fmt.Sprintf("%.2f ms", cost.wall.Seconds()*1e3/randomReads), fmt.Sprintf("%.2f ms", cost.cpu.Seconds()*1e3/randomReads))
		}
		whole.row(all...)
		random.row(one...)
	}
	whole.print()
	random.print()
}

// TestBootProfile compares a boot that finds by a profile what it reads with one that
// does not, and with one that fetches all of the image first.
func TestBootProfile(t *testing.T) {
	c := newChunked(t)
	url := c.serve(t, 0)
	var recorded []byte
	c.reader(t, url, chunks.Image{Index: c.zst.Index, Zst: c.zst.Zst}, nil, func(r *chunks.Reader) error {
		err := boot(r)
		recorded = r.Profile(chunks.MaxProfileFile)
		return err
	})()
	profile := object.OfBytes(recorded)
	if err := os.WriteFile(c.path(profile.Path()), recorded, 0o644); err != nil {
		t.Fatal(err)
	}
	out := table{title: fmt.Sprintf("Images: a boot that reads %d files from %s and works for %s, with a profile of %d bytes; wall time and bytes fetched, median of 3", bootFiles, megabytes(imageBytes), bootFiles*think, len(recorded))}
	names := []string{""}
	for _, late := range latencies {
		names = append(names, late.String(), "fetched")
	}
	out.row(names...)
	row := func(name string, p *object.Ref, f func(*chunks.Reader) error) {
		cells := []string{name}
		for _, late := range latencies {
			var bytes []int64
			cost := race(t, []contender{{name, "", 3, nil, c.reader(t, c.serve(t, late), c.zst, p, func(r *chunks.Reader) error {
				err := f(r)
				bytes = append(bytes, r.Stats().Bytes)
				return err
			})}})[0]
			slices.Sort(bytes)
			cells = append(cells, seconds(cost.wall), megabytes(bytes[len(bytes)/2]))
		}
		out.row(cells...)
	}
	row("without a profile", nil, func(r *chunks.Reader) error { return boot(r) })
	row("with a profile", &profile, func(r *chunks.Reader) error { return boot(r) })
	row("all of the image first", nil, func(r *chunks.Reader) error {
		if err := copyAll(r); err != nil {
			return err
		}
		time.Sleep(bootFiles * think)
		return nil
	})
	out.print()
}

// boot reads as a boot does: files here and there, each from one end to the other.
func boot(r io.ReaderAt) error {
	for _, i := range rand.New(rand.NewPCG(3, 4)).Perm(imageBytes >> 20)[:bootFiles] {
		for at := range int64(4) {
			if _, err := r.ReadAt(make([]byte, 64<<10), int64(i)<<20+at<<16); err != nil {
				return err
			}
		}
		time.Sleep(think)
	}
	return nil
}

// reader returns a run of f with a fresh Reader.
func (c *chunked) reader(t *testing.T, url string, img chunks.Image, profile *object.Ref, f func(*chunks.Reader) error) func() time.Duration {
	return func() time.Duration {
		t.Helper()
		client := fetch.New(chunks.FetchLimits())
		defer client.Close()
		r, err := chunks.Open(t.Context(), img, chunks.Config{Client: client, Sites: fetch.NewMirrors(client, nil, url), Profile: profile, Limits: chunks.DefaultLimits()})
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

// copyAll reads an image from end to end.
func copyAll(r *chunks.Reader) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{io.NewSectionReader(r, 0, r.Size())}, make([]byte, 128<<10))
	return err
}

// whole returns runs that do.
func (c *chunked) whole(t *testing.T, img chunks.Image) func(url string) func() time.Duration {
	return func(url string) func() time.Duration { return c.reader(t, url, img, nil, copyAll) }
}

// random returns runs that read from anywhere.
func (c *chunked) random(t *testing.T, img chunks.Image) func(url string) func() time.Duration {
	return func(url string) func() time.Duration {
		return c.reader(t, url, img, nil, func(r *chunks.Reader) error { return preadAll(r) })
	}
}

// preadAll reads 4 KiB from anywhere.
func preadAll(r io.ReaderAt) error {
	for _, at := range places(randomReads) {
		if _, err := r.ReadAt(make([]byte, 4096), at); err != nil {
			return err
		}
	}
	return nil
}

// ddWhole reads a file from end to end, as programs do.
func ddWhole(name string) error {
	out, err := exec.Command("dd", "if="+name, "of=/dev/null", "bs=128k", "status=none").CombinedOutput()
	if err != nil {
		return fmt.Errorf("dd: %w\n%s", err, out)
	}
	return nil
}

// preads reads 4 KiB from anywhere in a file.
func preads(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return preadAll(f)
}

// device returns runs with a block device over a fresh Reader.
func (c *chunked) device(t *testing.T, img chunks.Image, use func(name string) error) func(url string) func() time.Duration {
	return func(url string) func() time.Duration {
		return c.reader(t, url, img, nil, func(r *chunks.Reader) error {
			free, err := exec.Command("losetup", "-f").Output()
			if err != nil {
				return err
			}
			d, err := blockdev.Open(t.Context(), blockdev.Config{
				Door: carry.FUSE, Device: string(free[:max(len(free)-1, 0)]), Source: blockdev.Source{ReaderAt: r, Size: r.Size()}, Dir: t.TempDir(), Log: t.Logf,
			})
			if err != nil {
				return err
			}
			return errors.Join(use(d.Name()), d.Close())
		})
	}
}

// mounted returns runs with desync's FUSE file system of the same tree.
func (c *chunked) mounted(t *testing.T, use func(name string) error) func(url string) func() time.Duration {
	return func(url string) func() time.Duration {
		return func() time.Duration {
			t.Helper()
			dir := t.TempDir()
			cmd := exec.Command(desync(t), "mount-index", "--digest", "sha256", "-s", url+"/"+chunks.CastrDir+"/", c.path("image.caibx"), dir)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(dir, "image")
			for until := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
				if _, err := os.Stat(name); err == nil {
					break
				} else if time.Now().After(until) {
					t.Fatal(err)
				}
			}
			err := use(name)
			shell(t, "fusermount3 -u %s", dir)()
			if err := errors.Join(err, cmd.Wait()); err != nil {
				t.Fatal(err)
			}
			return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		}
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
