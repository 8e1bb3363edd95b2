package chunks

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/imagecache"
)

// What was read once is there after the next start, without any network; what is
// damaged in the cache is fetched, and mended.
func TestReaderCache(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	for name, img := range map[string]Image{"zst": l.zst, "castr": l.tree, "url": l.url} {
		dir := t.TempDir()
		boot := func(faults ...evil.Fault) (stats Stats) {
			bubble(t, func(t *testing.T, w *world) {
				cache, err := imagecache.Open(dir, imagecache.DefaultLimits(16<<20))
				if err != nil {
					t.Fatal(err)
				}
				defer cache.Close()
				w.site(l.handler(), faults...)
				r := w.open(img, w.config(cache))
				readAll(t, r, l.data, 3000)
				r.Close()
				stats = r.Stats()
			})
			return stats
		}
		if s := boot(); s.Fetched < 59 || s.Dropped > 0 {
			t.Errorf("%s, first boot: %+v", name, s)
		}
		if s := boot(evil.Cut(0)); s.Fetched != 0 || s.Cached < 59 {
			t.Errorf("%s, second boot, without a network: %+v", name, s)
		}
		files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
		if err != nil || len(files) == 0 {
			t.Fatal("nothing is kept")
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			data[len(data)/2] ^= 1
			if err := os.WriteFile(file, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if s := boot(); s.Fetched == 0 {
			t.Errorf("%s, after flips: %+v", name, s)
		}
		if s := boot(evil.Cut(0)); s.Fetched != 0 {
			t.Errorf("%s, mended: %+v", name, s)
		}
	}
}

// While the network is away, and as many requests wait as there may be, what is in the
// cache can be read.
func TestReaderCacheWithoutNetwork(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	bubble(t, func(t *testing.T, w *world) {
		cache, err := imagecache.Open(t.TempDir(), imagecache.DefaultLimits(16<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		for i := 40; i < 50; i++ {
			if err := cache.Put(l.index.Chunks[i].ID, Store(l.data[i*chunkSize:(i+1)*chunkSize])); err != nil {
				t.Fatal(err)
			}
		}
		w.site(l.handler(), evil.On("/"+l.zstName, evil.Cut(0)))
		r := w.open(l.zst, w.config(cache))
		var group sync.WaitGroup
		for _, i := range []int{2, 12, 22, 32, 55} {
			group.Go(func() {
				if _, err := r.ReadAt(make([]byte, 10), int64(i*chunkSize)); !errors.Is(err, fs.ErrClosed) {
					t.Errorf("chunk %d: %v", i, err)
				}
			})
		}
		time.Sleep(time.Minute)
		buf, start := make([]byte, 10*chunkSize), time.Now()
		if _, err := r.ReadAt(buf, 40*chunkSize); err != nil || !bytes.Equal(buf, l.data[40*chunkSize:50*chunkSize]) || time.Since(start) > 0 {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		r.Close()
		group.Wait()
	})
}

// A cache with other bytes under the right hash is not believed.
func TestReaderEvilCache(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	bubble(t, func(t *testing.T, w *world) {
		cache, err := imagecache.Open(t.TempDir(), imagecache.DefaultLimits(16<<20))
		if err != nil {
			t.Fatal(err)
		}
		defer cache.Close()
		for i, c := range l.index.Chunks {
			evil := [][]byte{Store(l.data[:chunkSize]), []byte("no frame"), bytes.Repeat(Store(make([]byte, chunkSize)), 3), {}}[i%4]
			if err := cache.Put(c.ID, evil); err != nil {
				t.Fatal(err)
			}
		}
		w.site(l.handler())
		r := w.open(l.zst, w.config(cache))
		readAll(t, r, l.data, 3000)
		if s := r.Stats(); s.Cached > 2 { // the first one is what it is, and one is there twice
			t.Errorf("%+v", s)
		}
		r.Close()
		r = w.open(l.zst, w.config(cache))
		readAll(t, r, l.data, 3000)
		if s := r.Stats(); s.Fetched > 0 {
			t.Errorf("not mended: %+v", s)
		}
	})
}

// Whatever happens to the files of a cache, bits that flip, ends that are cut off and
// blocks that are zeros: what is read is right, and with that the cache is as well.
func TestReaderDamagedCache(t *testing.T) {
	l, dir := layout(t, blob(imageSize), chunkSize), t.TempDir()
	boot := func(faults ...evil.Fault) (s Stats, c imagecache.Stats) {
		bubble(t, func(t *testing.T, w *world) {
			cache, err := imagecache.Open(dir, imagecache.Limits{Size: 1 << 20, Segment: 40_000})
			if err != nil {
				t.Fatal(err)
			}
			defer cache.Close()
			w.site(l.handler(), faults...)
			r := w.open(l.zst, w.config(cache))
			readAll(t, r, l.data, 3000)
			r.Close()
			s, c = r.Stats(), cache.Stats()
		})
		return s, c
	}
	boot()
	random := rand.New(rand.NewPCG(1, 2))
	noticed := 0
	for range 20 {
		files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
		if err != nil || len(files) < 3 {
			t.Fatalf("%q, %v", files, err)
		}
		for range 1 + random.IntN(4) {
			name := files[random.IntN(len(files))]
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			at := random.IntN(len(data) + 1)
			switch random.IntN(3) {
			case 0:
				data = data[:at]
			case 1:
				clear(data[at:min(at+4096, len(data))])
			default:
				if at < len(data) {
					data[at] ^= 1 << random.IntN(8)
				}
			}
			if err := os.WriteFile(name, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if s, c := boot(); s.Fetched > 0 || c.Damaged > 0 {
			noticed++
		}
		if s, c := boot(evil.Cut(0)); s.Fetched > 0 || c.Damaged > 0 {
			t.Fatalf("not mended: %+v, %+v", s, c)
		}
	}
	if noticed < 10 { // the rest hits records that others have replaced
		t.Errorf("noticed %d times of 20", noticed)
	}
}
