package imagecache

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/farboot/farboot/payload/object"
)

// chunk returns the n-th chunk, of size bytes, and its hash.
func chunk(n, size int) (object.ID, []byte) {
	data := bytes.Repeat([]byte{byte(n), byte(n >> 8), 7}, size/3+1)[:size]
	return sha256.Sum256(data), data
}

// open opens a cache that ends with the test.
func open(t testing.TB, dir string, l Limits) *Cache {
	t.Helper()
	c, err := Open(dir, l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// put adds chunks first to last-1 of size bytes.
func put(t testing.TB, c *Cache, first, last, size int) {
	t.Helper()
	for n := first; n < last; n++ {
		id, data := chunk(n, size)
		if err := c.Put(id, data); err != nil {
			t.Fatal(err)
		}
	}
}

// held returns which of chunks 0 to last-1 are there; others than the right bytes
// are an error.
func held(t testing.TB, c *Cache, last, size int) (have []int) {
	t.Helper()
	for n := range last {
		id, want := chunk(n, size)
		got, ok := c.Get(id)
		if ok && !bytes.Equal(got, want) {
			t.Fatalf("chunk %d has other bytes", n)
		}
		if ok {
			have = append(have, n)
		}
		if c.Has(id) != ok {
			t.Fatalf("chunk %d: Has says %t after Get said %t", n, !ok, ok)
		}
	}
	return have
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

// What was put is there at once and after the next start, which goes on with the
// same file; the same chunk of another image is not written again.
func TestCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), Dir)
	l := DefaultLimits(16 << 20)
	c := open(t, dir, l)
	put(t, c, 0, 5, 1000)
	put(t, c, 0, 5, 1000)
	if got := held(t, c, 6, 1000); !slices.Equal(got, upTo(5)) {
		t.Errorf("holds %v", got)
	}
	if s := c.Stats(); s.Added != 5 || s.Chunks != 5 || s.Bytes != 5*1048 || s.Hits != 5 {
		t.Errorf("stats %+v", s)
	}
	if _, err := Open(dir, l); !errors.Is(err, ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir, l)
	put(t, c, 5, 8, 1000)
	if got := held(t, c, 8, 1000); !slices.Equal(got, upTo(8)) {
		t.Errorf("holds %v", got)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) != 1 {
		t.Errorf("files %q, want one", names)
	}
	if err := c.Put(object.ID{}, make([]byte, MaxRecord+1)); !errors.Is(err, ErrFull) {
		t.Errorf("a chunk beyond the bound: %v", err)
	}
}

// log returns the bytes of a segment with n chunks of size bytes.
func log(t testing.TB, n, size int) []byte {
	t.Helper()
	dir := t.TempDir()
	c := open(t, dir, DefaultLimits(16<<20))
	put(t, c, 0, n, size)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "00000001.seg"))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// reopen wants a cache with this segment to hold what it should, and to be of use:
// all that is missing can be put, and is there after the next start.
func reopen(t *testing.T, dir string, segment []byte, want func(n int) bool, n, size int) {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range names {
		os.Remove(name)
	}
	if err := os.WriteFile(filepath.Join(dir, "00000001.seg"), segment, 0o600); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		c, err := Open(dir, DefaultLimits(16<<20))
		if err != nil {
			t.Fatal(err)
		}
		have := held(t, c, n, size)
		for i := range n {
			if got := slices.Contains(have, i); round == 0 && got != want(i) || round > 0 && !got {
				t.Fatalf("round %d: holds %v", round, have)
			}
		}
		put(t, c, 0, n, size)
		if got := held(t, c, n, size); len(got) != n {
			t.Fatalf("round %d: holds %v after all were put", round, got)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCut cuts a segment at each byte: all chunks before are there.
func TestCut(t *testing.T) {
	const n, size = 3, 9
	full, dir := log(t, n, size), t.TempDir()
	for at := range len(full) {
		reopen(t, dir, full[:at], func(i int) bool { return (i+1)*(headSize+size) <= at }, n, size)
	}
}

// TestTorn zeroes what follows each byte, as a file system does that knew the size
// before the bytes.
func TestTorn(t *testing.T) {
	const n, size = 3, 9
	full, dir := log(t, n, size), t.TempDir()
	for at := range len(full) {
		torn := append(slices.Clone(full[:at]), make([]byte, len(full)-at)...)
		reopen(t, dir, torn, func(i int) bool { return bytes.HasPrefix(torn, full[:(i+1)*(headSize+size)]) }, n, size)
	}
}

// TestFlip changes one bit of each byte: of a chunk, that one is gone; of a head,
// what follows it in the segment as well.
func TestFlip(t *testing.T) {
	const n, size = 3, 9
	full, dir := log(t, n, size), t.TempDir()
	for at := range len(full) {
		flipped := slices.Clone(full)
		flipped[at] ^= 1 << (at % 8)
		hit, inHead := at/(headSize+size), at%(headSize+size) < headSize
		reopen(t, dir, flipped, func(i int) bool { return i < hit || i > hit && !inHead }, n, size)
	}
}

// The oldest segments go first, those in use last, and never more than it may have
// is on the disk.
func TestEvict(t *testing.T) {
	dir := t.TempDir()
	l := Limits{Size: 40_000, Segment: 10_000} // nine chunks in each
	c := open(t, dir, l)
	put(t, c, 0, 36, 1000)
	if got := held(t, c, 36, 1000); len(got) != 36 {
		t.Fatalf("holds %v", got)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = open(t, dir, l)
	if id, _ := chunk(0, 1000); !c.Has(id) {
		t.Fatal("chunk 0 is gone")
	} else if _, ok := c.Get(id); !ok { // the first segment is in use
		t.Fatal("chunk 0 is damaged")
	}
	put(t, c, 36, 60, 1000)
	size := int64(0)
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	s := c.Stats()
	if size > l.Size || s.Bytes != size || s.Evicted != 3 {
		t.Errorf("%d bytes on the disk, %+v", size, s)
	}
	id, _ := chunk(0, 1000)
	if _, ok := c.Get(id); !ok {
		t.Error("a segment that is in use was evicted before others")
	}
	if have := held(t, c, 60, 1000); have[len(have)-1] != 59 || slices.Contains(have, 10) {
		t.Errorf("holds %v", have)
	}
}

// A folder of less than a segment is full, and stays so.
func TestFull(t *testing.T) {
	c := open(t, t.TempDir(), Limits{Size: 5000, Segment: 10_000})
	put(t, c, 0, 4, 1000)
	id, data := chunk(4, 1000)
	if err := c.Put(id, data); !errors.Is(err, ErrFull) {
		t.Errorf("Put = %v; want ErrFull", err)
	}
	if got := held(t, c, 5, 1000); !slices.Equal(got, upTo(4)) {
		t.Errorf("holds %v", got)
	}
}

// Files that are none of ours are left alone.
func TestForeign(t *testing.T) {
	dir := t.TempDir()
	foreign := []string{"1.seg", "00000001.SEG", "-0000001.seg", "letter.txt", "00000002.seg.bak"}
	for _, name := range foreign {
		if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 100), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "00000007.seg"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir, Limits{Size: 3000, Segment: 1500})
	put(t, c, 0, 9, 1000)
	if got := held(t, c, 9, 1000); !slices.Equal(got, []int{7, 8}) {
		t.Errorf("holds %v", got)
	}
	for _, name := range foreign {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

// Several images read and write at once.
func TestParallel(t *testing.T) {
	c := open(t, t.TempDir(), Limits{Size: 200_000, Segment: 20_000})
	var group sync.WaitGroup
	for range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			for n := range 300 {
				id, data := chunk(n, 1000)
				if err := c.Put(id, data); err != nil {
					t.Error(err)
				}
				if got, ok := c.Get(id); ok && !bytes.Equal(got, data) {
					t.Error(fmt.Errorf("chunk %d has other bytes", n))
				}
			}
		}()
	}
	group.Wait()
	if s := c.Stats(); s.Damaged != 0 || s.Bytes > 200_000 {
		t.Errorf("stats %+v", s)
	}
}

// FuzzRecords wants the records of a segment to lie within it, one behind the
// other, and no other bytes than theirs to make the same.
func FuzzRecords(f *testing.F) {
	full := log(f, 3, 33)
	f.Add(full)
	f.Add(full[:100])
	f.Add([]byte("FBC1"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, segment []byte) {
		var again []byte
		end := records(bytes.NewReader(segment), int64(len(segment)), func(id object.ID, p place) {
			data := segment[p.offset : p.offset+p.size]
			if crc32.Checksum(data, castagnoli) == p.sum {
				again = append(append(again, head(id, data)...), data...)
			} else { // as Get would find out
				again = append(again, segment[len(again):p.offset+p.size]...)
			}
		})
		if end > int64(len(segment)) || !bytes.Equal(again, segment[:end]) {
			t.Errorf("records end at %d of %d, and are\n%x\n%x", end, len(segment), again, segment)
		}
	})
}
