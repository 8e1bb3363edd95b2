package chunks

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/fetch/evil"
)

// TestReader reads the image in each of its layouts from two sites of which the
// first misbehaves with what belongs to the image, and wants it whole.
func TestReader(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	for _, tt := range []struct {
		name   string
		faults []evil.Fault
		most   time.Duration
	}{
		{"good", nil, 0},
		{"cut", []evil.Fault{evil.Cut(3000)}, 0},
		{"cut once", []evil.Fault{evil.First(1, evil.Cut(3000))}, 0},
		{"wrong bytes", []evil.Fault{evil.Flip(8 * 1000)}, 0},
		{"wrong bytes now and then", []evil.Fault{evil.First(3, evil.Flip(1)), evil.After(5, evil.Flip(8*700))}, 0},
		{"another range", []evil.Fault{evil.Header("Content-Range", "bytes 0-4095/1000000")}, 0},
		{"no ranges", []evil.Fault{evil.IgnoreRange()}, 0},
		{"not there", []evil.Fault{evil.Status(404)}, 0},
		{"busy", []evil.Fault{evil.Status(503)}, 0},
		{"web page", []evil.Fault{evil.HTML()}, 0},
		{"elsewhere", []evil.Fault{evil.Redirect("http://portal/")}, 0},
		{"silent", []evil.Fault{evil.Silent()}, 3 * time.Second},
		{"stalls", []evil.Fault{evil.Stall(500)}, 3 * time.Second},
		{"endless", []evil.Fault{evil.Endless()}, 0},
		{"flood", []evil.Fault{evil.HeaderFlood()}, 0},
		{"claims more", []evil.Fault{evil.LyingLength(1 << 40)}, 0},
		{"chunked", []evil.Fault{evil.Chunked()}, 0},
	} {
		for name, img := range map[string]Image{"zst": l.zst, "castr": l.tree, "url": {Index: l.url.Index, URLs: []string{"http://a/image.raw", "http://b/image.raw"}}} {
			t.Run(tt.name+"/"+name, func(t *testing.T) {
				bubble(t, func(t *testing.T, w *world) {
					bad := w.site(l.handler(), tt.faults...)
					w.site(l.handler())
					c := w.config(nil)
					c.Sites = fetch.NewMirrors(c.Client, c.Log, "http://b") // index and table are package fetch's
					r := w.open(img, c)
					if name != "url" {
						r.source.mirrors = w.config(nil).Sites
					}
					start := time.Now()
					readAll(t, r, l.data, 1500)
					if took := time.Since(start); took > tt.most {
						t.Errorf("took %s, want at most %s", took, tt.most)
					}
					if len(bad.Requests()) == 0 {
						t.Error("the first site was not asked")
					}
				})
			})
		}
	}
}

// The net is away for five minutes, from the beginning or in the middle: reads wait,
// and go on.
func TestReaderWaits(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	for name, fault := range map[string]evil.Fault{"down": evil.Cut(0), "silent": evil.Silent(), "busy": evil.Status(503), "portal": evil.HTML()} {
		bubble(t, func(t *testing.T, w *world) {
			const away = 5 * time.Minute
			begin := time.Now().Add(time.Hour)
			gone := func(next evil.Source) evil.Source { return during(begin, away, fault)(next) }
			w.site(l.handler(), gone)
			w.site(l.handler(), gone)
			r := w.open(l.zst, w.config(nil))
			readAll(t, r, l.data[:chunkSize*10], 1000)
			synctest.Wait()
			time.Sleep(time.Until(begin))
			buf := make([]byte, len(l.data)-30*chunkSize)
			if n, err := r.ReadAt(buf, 30*chunkSize); err != nil || !bytes.Equal(buf[:n], l.data[30*chunkSize:]) {
				t.Errorf("%s: %d bytes, %v", name, n, err)
			}
			if took := time.Since(begin); took < away || took > away+40*time.Second {
				t.Errorf("%s: took %s", name, took)
			}
		})
	}
}

// A chunk that nobody has right is an error with a name; the others are there, and
// so is that one as soon as somebody has it.
func TestReaderWrongEverywhere(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	bubble(t, func(t *testing.T, w *world) {
		start := 0
		for _, n := range l.table[:20] {
			start += int(n)
		}
		good := l.files[l.zstName]
		wrong := bytes.Clone(good)
		wrong[start+100] ^= 4
		l.files[l.zstName] = wrong
		w.site(l.handler())
		w.site(l.handler())
		r := w.open(l.zst, w.config(nil))
		buf := make([]byte, 100)
		_, err := r.ReadAt(buf, 20*chunkSize+500)
		if !errors.Is(err, ErrChunk) || !errors.Is(err, fetch.ErrCorrupt) || !errors.Is(err, ErrWrong) || !strings.Contains(err.Error(), "chunk 20, at byte 81920") || !strings.Contains(err.Error(), "http://b/") {
			t.Errorf("error %v", err)
		}
		if n, err := r.ReadAt(make([]byte, 3*chunkSize), 19*chunkSize); n != chunkSize || !errors.Is(err, ErrChunk) {
			t.Errorf("%d bytes before it, %v", n, err)
		}
		readAll(t, r, l.data[:20*chunkSize], 1000)
		if n, err := r.ReadAt(buf, 21*chunkSize); err != nil || !bytes.Equal(buf[:n], l.data[21*chunkSize:21*chunkSize+100]) {
			t.Errorf("behind it: %d bytes, %v", n, err)
		}
		if r.Stats().Failed == 0 {
			t.Error("nothing failed, by the stats")
		}
		l.files[l.zstName] = good
		readAll(t, r, l.data, 1000)
	})
}

// during applies a fault from a moment on, for a while.
func during(begin time.Time, d time.Duration, fault evil.Fault) evil.Fault {
	return func(next evil.Source) evil.Source {
		faulty := fault(next)
		return func(r *http.Request) *evil.Answer {
			if since := time.Since(begin); since >= 0 && since < d {
				return faulty(r)
			}
			return next(r)
		}
	}
}

// Who reads from one end to the other finds the next chunks there, asked for many at
// a time; who reads here and there gets what is asked for and nothing else.
func TestReaderAhead(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	bubble(t, func(t *testing.T, w *world) {
		s := w.site(l.handler(), evil.Late(10*time.Millisecond))
		r := w.open(l.zst, w.config(nil))
		for at := 0; at < imageSize; at += 1024 {
			if _, err := r.ReadAt(make([]byte, 1024), int64(at)); err != nil && !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond) // a reader that takes longer than the network
		}
		if n := len(rangesOf(s, l.zstName)); n > 20 {
			t.Errorf("%d requests for 60 chunks", n)
		}
	})
	bubble(t, func(t *testing.T, w *world) {
		s := w.site(l.handler())
		r := w.open(l.zst, w.config(nil))
		for _, i := range []int{50, 3, 30, 11, 44, 20} {
			if _, err := r.ReadAt(make([]byte, 100), int64(i*chunkSize)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if n, fetched := len(rangesOf(s, l.zstName)), r.Stats().Fetched; n != 6 || fetched != 6 {
			t.Errorf("%d requests for %d chunks, want 6 for 6", n, fetched)
		}
	})
	bubble(t, func(t *testing.T, w *world) { // one large read is few requests
		s := w.site(l.handler())
		r := w.open(l.zst, w.config(nil))
		buf := make([]byte, imageSize)
		if _, err := r.ReadAt(buf, 0); err != nil || !bytes.Equal(buf, l.data) {
			t.Fatal(err)
		}
		if n := len(rangesOf(s, l.zstName)); n > 18 {
			t.Errorf("%d requests for 60 chunks in requests of 4", n)
		}
	})
}

// Many read at once: each chunk is asked for once, and never more is held than may be.
func TestReaderParallel(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	bubble(t, func(t *testing.T, w *world) {
		s := w.site(l.handler(), evil.Late(time.Second))
		r := w.open(l.zst, w.config(nil))
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				if _, err := r.ReadAt(make([]byte, chunkSize), 5*chunkSize); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got := rangesOf(s, l.zstName); len(got) != 1 {
			t.Errorf("asked for %q, want one range", got)
		}
	})
	bubble(t, func(t *testing.T, w *world) {
		w.site(l.handler())
		r := w.open(l.zst, w.config(nil))
		var group sync.WaitGroup
		for n := range 8 {
			group.Go(func() {
				random := rand.New(rand.NewPCG(uint64(n), 1))
				for range 200 {
					at, buf := random.Int64N(imageSize), make([]byte, random.IntN(3*chunkSize))
					k, err := r.ReadAt(buf, at)
					if err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(buf[:k], l.data[at:at+int64(k)]) {
						t.Errorf("at %d: %d bytes, %v", at, k, err)
					}
					r.mu.Lock()
					if r.memory > 28*chunkSize { // eight reads may each wait for one more
						t.Errorf("%d bytes are held", r.memory)
					}
					r.mu.Unlock()
				}
			})
		}
		group.Wait()
		synctest.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		held := int64(0)
		for _, c := range r.held {
			held += c.size
		}
		if r.coming != 0 || held != r.memory || r.used.Len() != len(r.held) || len(r.slots) != 0 {
			t.Errorf("%d bytes are coming, %d of %d held, in %d of %d chunks; %d requests", r.coming, held, r.memory, r.used.Len(), len(r.held), len(r.slots))
		}
	})
}

// Whatever reads files reads an image.
func TestReaderIsReaderAt(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	bubble(t, func(t *testing.T, w *world) {
		w.site(l.handler())
		r := w.open(l.zst, w.config(nil))
		if err := iotest.TestReader(io.NewSectionReader(r, 0, r.Size()), l.data); err != nil {
			t.Error(err)
		}
		if _, err := r.ReadAt(make([]byte, 1), -1); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("before the beginning: %v", err)
		}
		if n, err := r.ReadAt(nil, 5); n != 0 || err != nil {
			t.Errorf("nothing: %d, %v", n, err)
		}
	})
}

// Close ends a read that waits.
func TestReaderClose(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	bubble(t, func(t *testing.T, w *world) {
		w.site(l.handler(), evil.On("/"+l.zstName, evil.Cut(0)))
		r := w.open(l.zst, w.config(nil))
		time.AfterFunc(time.Hour, func() { r.Close() })
		if _, err := r.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
			t.Errorf("error %v", err)
		}
	})
}

// What describes an image is checked before anything is read.
func TestOpenRefuses(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	other := layout(t, blob(10*chunkSize), chunkSize)
	big := layout(t, blob(imageSize), 16*chunkSize)
	for _, all := range []*layouts{other, big} {
		for name, data := range all.files {
			l.files[name] = data
		}
	}
	short := *l.zst.Zst
	short.File.Size--
	for name, img := range map[string]Image{
		"nothing":                 {Index: l.zst.Index},
		"two layouts":             {Index: l.zst.Index, Zst: l.zst.Zst, Castr: true},
		"no index":                {Castr: true},
		"no URL":                  {Index: l.zst.Index, URLs: []string{}},
		"too many URLs":           {Index: l.zst.Index, URLs: slices.Repeat([]string{"http://a/b"}, MaxURLs+1)},
		"a folder":                {Index: l.zst.Index, URLs: []string{"http://a/b/"}},
		"a local file":            {Index: l.zst.Index, URLs: []string{"file:///etc/passwd"}},
		"credentials":             {Index: l.zst.Index, URLs: []string{"http://me:too@a/b"}},
		"a table as an index":     {Index: l.zst.Zst.Table, Castr: true},
		"an index as a table":     {Index: l.zst.Index, Zst: &Zst{File: l.zst.Zst.File, Table: l.zst.Index}},
		"another image's table":   {Index: l.zst.Index, Zst: other.zst.Zst},
		"another file's size":     {Index: l.zst.Index, Zst: &short},
		"chunks beyond the limit": big.zst,
	} {
		bubble(t, func(t *testing.T, w *world) {
			w.site(l.handler())
			if r, err := Open(t.Context(), img, w.config(nil)); !errors.Is(err, ErrImage) || r != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	bubble(t, func(t *testing.T, w *world) {
		w.site(l.handler(), evil.Flip(100))
		if _, err := Open(t.Context(), l.tree, w.config(nil)); !errors.Is(err, fetch.ErrCorrupt) {
			t.Errorf("an index with a flipped bit: %v", err)
		}
	})
}
