package chunks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/imagecache"
	"github.com/farboot/farboot/payload/object"
)

// TestProfile wants back what was encoded, and nothing else to be taken for it.
func TestProfile(t *testing.T) {
	index, other := object.OfBytes([]byte("an index")).SHA256, object.OfBytes(nil).SHA256
	for _, p := range []Profile{nil, {0}, {5, 6, 7, 2, 0, 1, 9}} {
		got, err := DecodeProfile(p.Encode(index), index, 10)
		if diff := cmp.Diff(p, got); err != nil || diff != "" {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	if n := len(Profile{100, 101, 102, 103}.Encode(index)); n != profileHead+2+3 {
		t.Errorf("chunks that follow each other take %d bytes", n)
	}
	var all Profile
	for i := range MaxProfile + 1 {
		all = append(all, i)
	}
	good := Profile{3, 4}.Encode(index)
	long := append(slices.Clone(good[:profileHead]), 0x86, 0x00) // 3, in two bytes
	for name, data := range map[string][]byte{
		"empty":              nil,
		"cut":                good[:profileHead-1],
		"another magic":      append([]byte("FBP2"), good[4:]...),
		"another image":      Profile{3}.Encode(other),
		"beyond the end":     Profile{10}.Encode(index),
		"before the start":   Profile{-1}.Encode(index),
		"twice":              Profile{3, 4, 3}.Encode(index),
		"half a number":      append(slices.Clone(good), 0x80),
		"a number too large": binary.AppendVarint(slices.Clone(good), 1<<62),
		"longer than it is":  long,
		"too many":           all.Encode(index),
	} {
		n := 10
		if name == "too many" {
			n = len(all)
		}
		if p, err := DecodeProfile(data, index, n); !errors.Is(err, ErrProfile) || p != nil {
			t.Errorf("%s: %v, %v", name, p, err)
		}
	}
}

// FuzzDecodeProfile wants what is decoded to be encoded again to the same bytes.
func FuzzDecodeProfile(f *testing.F) {
	index := object.OfBytes([]byte("an index")).SHA256
	f.Add(Profile{5, 6, 7, 2, 0}.Encode(index), 10)
	f.Add(Profile{}.Encode(index), 0)
	f.Add(Profile{1 << 20, 3}.Encode(index), 1<<20+1)
	f.Add([]byte("FBP1"), 1)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		n = min(max(n, 0), 1<<21)
		p, err := DecodeProfile(data, index, n)
		if err != nil {
			if !errors.Is(err, ErrProfile) {
				t.Errorf("error without its class: %v", err)
			}
			return
		}
		if !bytes.Equal(p.Encode(index), data) {
			t.Errorf("%x is %v, which is %x", data, p, p.Encode(index))
		}
		for _, i := range p {
			if i < 0 || i >= n {
				t.Errorf("chunk %d of %d", i, n)
			}
		}
	})
}

// jumps is the order in which the boot of the tests reads chunks: here and there, a
// few in a row.
func jumps() (all []int) {
	for _, first := range []int{0, 50, 20, 8, 33, 56, 44, 3, 27} {
		all = append(all, first, first+1, first+2)
	}
	return all
}

// boot reads chunks as a boot does, which works a little between two reads, and
// returns how long it waited.
func boot(t *testing.T, r *Reader, l *layouts, order []int) (waited time.Duration) {
	t.Helper()
	for _, i := range order {
		start, buf := time.Now(), make([]byte, 500)
		if _, err := r.ReadAt(buf, int64(i*chunkSize+100)); err != nil || !bytes.Equal(buf, l.data[i*chunkSize+100:][:500]) {
			t.Fatalf("chunk %d: %v", i, err)
		}
		waited += time.Since(start)
		time.Sleep(30 * time.Millisecond)
	}
	return waited
}

// profiled adds an object to a site.
func (l *layouts) profiled(data []byte) *object.Ref {
	ref := object.OfBytes(data)
	l.files[ref.Path()] = data
	return &ref
}

// A boot is recorded; the next one finds what it reads there, though the network is
// slow, with no more memory and no more bytes.
func TestReaderProfile(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	for name, img := range map[string]Image{"zst": l.zst, "castr": l.tree} {
		var recorded []byte
		run := func(profile *object.Ref) (waited time.Duration, s Stats) {
			bubble(t, func(t *testing.T, w *world) {
				w.site(l.handler(), evil.Late(100*time.Millisecond))
				c := w.config(nil)
				c.Profile = profile
				r := w.open(img, c)
				time.Sleep(time.Second) // the kernel starts
				waited = boot(t, r, l, append(jumps(), 51, 0))
				synctest.Wait()
				recorded, s = r.Profile(MaxProfileFile), r.Stats()
				for most := profileHead; most < len(recorded); most++ {
					if got := r.Profile(most); len(got) > most || !bytes.HasPrefix(recorded, got) || len(got) < most-4 {
						t.Errorf("of %d bytes at most %d: %x", len(recorded), most, got)
					}
				}
			})
			return waited, s
		}
		without, before := run(nil)
		if p, err := DecodeProfile(recorded, img.Index.SHA256, len(l.index.Chunks)); err != nil || !slices.Equal(p, jumps()) {
			t.Fatalf("%s: recorded %v, %v", name, p, err)
		}
		with, after := run(l.profiled(recorded))
		if without < 900*time.Millisecond || with > without/5 {
			t.Errorf("%s: waited for %s, and with a profile for %s", name, without, with)
		}
		if after.Fetched > before.Fetched {
			t.Errorf("%s: fetched %d chunks, and with a profile %d", name, before.Fetched, after.Fetched)
		}
		if p, err := DecodeProfile(recorded, img.Index.SHA256, len(l.index.Chunks)); err != nil || !slices.Equal(p, jumps()) {
			t.Errorf("%s: with a profile, recorded %v, %v", name, p, err)
		}
	}
}

// A boot that reads something else than the profile says waits no longer than without
// one, and what nobody reads takes no more memory than it may.
func TestReaderWrongProfile(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	var profile Profile
	for i := range 40 {
		profile = append(profile, 39-i)
	}
	bubble(t, func(t *testing.T, w *world) {
		w.site(l.handler(), evil.Late(100*time.Millisecond))
		c := w.config(nil)
		c.Profile = l.profiled(profile.Encode(l.zst.Index.SHA256))
		r := w.open(l.zst, c)
		time.Sleep(time.Second)
		r.mu.Lock()
		if r.profile.unread == 0 || r.profile.unread > r.config.Limits.Memory/2 {
			t.Errorf("%d bytes are there", r.profile.unread)
		}
		r.mu.Unlock()
		if waited := boot(t, r, l, []int{50, 44, 55, 41, 58, 47}); waited > 600*time.Millisecond {
			t.Errorf("waited for %s", waited)
		}
		readAll(t, r, l.data, 3000)
		synctest.Wait()
		if n := r.Stats().Fetched; n > 80 { // what was read is not brought again
			t.Errorf("%d chunks were fetched", n)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		unread := int64(0)
		for _, c := range r.held {
			if c.ahead {
				unread += c.size
			}
		}
		if unread != r.profile.unread || r.profile.missed != 0 || r.memory > r.config.Limits.Memory {
			t.Errorf("%d bytes are unread, by the count %d; %d reads wait; %d bytes", unread, r.profile.unread, r.profile.missed, r.memory)
		}
	})
}

// single are chunks that are asked for one by one.
var single = Profile{0, 10, 20, 30, 4, 14, 24, 34}

// A read that waits for what the profile did not bring has a request kept for it, and
// then the line to itself.
func TestReaderProfileStandsBack(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	bubble(t, func(t *testing.T, w *world) {
		s := w.site(l.handler(), evil.Late(time.Second))
		c := w.config(nil)
		c.Profile = l.profiled(single.Encode(l.zst.Index.SHA256))
		r := w.open(l.zst, c)
		begin := time.Now()
		for _, step := range []struct {
			at   time.Duration
			want int
		}{
			{0, 3},
			{500 * time.Millisecond, 4},  // the read's
			{1400 * time.Millisecond, 4}, // the first three are done, and it is not
			{1600 * time.Millisecond, 7},
		} {
			time.Sleep(time.Until(begin.Add(step.at)))
			if step.at == 500*time.Millisecond {
				go func() { _, _ = r.ReadAt(make([]byte, 10), 50*chunkSize) }()
			}
			synctest.Wait()
			if got := rangesOf(s, l.zstName); len(got) != step.want {
				t.Errorf("after %s: asked for %q, want %d", step.at, got, step.want)
			}
		}
	})
}

// What the cache has is not brought again, and a profile that cannot be had, or that
// is another image's, keeps nobody from reading.
func TestReaderNoProfile(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	good := Profile(jumps()).Encode(l.zst.Index.SHA256)
	gone := object.OfBytes([]byte("gone"))
	for name, ref := range map[string]*object.Ref{
		"not there":     &gone,
		"another image": l.profiled(Profile{1}.Encode(gone.SHA256)),
		"garbage":       l.profiled([]byte("no profile")),
		"too large":     {SHA256: gone.SHA256, Size: MaxProfileFile + 1},
		"in the cache":  l.profiled(good),
	} {
		bubble(t, func(t *testing.T, w *world) {
			cache, err := imagecache.Open(t.TempDir(), imagecache.DefaultLimits(16<<20))
			if err != nil {
				t.Fatal(err)
			}
			defer cache.Close()
			for i, c := range l.index.Chunks {
				if err := cache.Put(c.ID, Store(l.data[l.index.Start(i):c.End])); err != nil {
					t.Fatal(err)
				}
			}
			s := w.site(l.handler())
			c := w.config(cache)
			c.Profile = ref
			r := w.open(l.zst, c)
			synctest.Wait()
			if n := r.Stats().Cached; n > 0 {
				t.Errorf("%s: %d chunks were read from the cache", name, n)
			}
			readAll(t, r, l.data, 3000)
			synctest.Wait()
			if got := rangesOf(s, l.zstName); len(got) != 0 {
				t.Errorf("%s: asked for %q", name, got)
			}
			r.Close()
		})
	}
}

// Close ends a profile that is under way.
func TestReaderProfileClose(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	bubble(t, func(t *testing.T, w *world) {
		s := w.site(l.handler(), evil.On("/"+l.zstName, evil.Late(time.Second)))
		c := w.config(nil)
		c.Profile = l.profiled(single.Encode(l.zst.Index.SHA256))
		r := w.open(l.zst, c)
		time.Sleep(500 * time.Millisecond)
		r.Close()
		if n := r.Stats().Requests; n != 3 {
			t.Errorf("%d requests were made", n)
		}
		n := len(rangesOf(s, l.zstName))
		time.Sleep(time.Minute)
		if now := len(rangesOf(s, l.zstName)); n != 3 || now != n {
			t.Errorf("%d requests, and %d after Close", n, now)
		}
	})
}
