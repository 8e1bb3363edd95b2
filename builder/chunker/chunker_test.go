package chunker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
)

const chunkSize = 64 << 10

// image returns 2 MB of which half repeats, and its index.
func image(t testing.TB) ([]byte, *caibx.Index) {
	t.Helper()
	data := make([]byte, 2_000_000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // never fails
	for i := 0; i < len(data)-8192; i += 8192 {
		copy(data[i:], bytes.Repeat(data[i:i+64], 64))
	}
	return data, indexOf(t, data)
}

func indexOf(t testing.TB, data []byte) *caibx.Index {
	t.Helper()
	x, err := caibx.Make(bytes.NewReader(data), chunkSize)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// Any number of workers writes the same file, which is what its table says, and which
// zstd unpacks.
func TestPack(t *testing.T) {
	data, x := image(t)
	var first bytes.Buffer
	for _, workers := range []int{1, 3, 16} {
		var file bytes.Buffer
		table, err := pack(t.Context(), &file, iotest.HalfReader(bytes.NewReader(data)), x, workers)
		if err != nil {
			t.Fatal(err)
		}
		if first.Len() == 0 {
			first = file
		}
		if !bytes.Equal(file.Bytes(), first.Bytes()) {
			t.Errorf("%d workers write another file", workers)
		}
		u, at := chunks.NewUnpacker(1), int64(0)
		for i, n := range table {
			if _, err := u.Unpack(file.Bytes()[at:at+n], x.Chunks[i].ID, x.Len(i)); err != nil {
				t.Errorf("frame %d: %v", i, err)
			}
			at += n
		}
		end := file.Bytes()[at:]
		if back, err := chunks.DecodeTable(end, x); err != nil || !slices.Equal(back, table) || table.FileSize() != int64(file.Len()) {
			t.Errorf("table %v, %v", back, err)
		}
	}
	name := filepath.Join(t.TempDir(), "image.zst")
	if err := os.WriteFile(name, first.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := oracle.Output(t, oracle.Tool(t, "zstd", "zstd"), "-dc", name); got != string(data) {
		t.Error("zstd unpacks other bytes")
	}
	if first.Len() > len(data)*3/4 {
		t.Errorf("%d of %d bytes: nothing was compressed", first.Len(), len(data))
	}
}

// What is not the index's image, and what cannot be read or written, is an error, and
// nothing is left running.
func TestPackRefuses(t *testing.T) {
	data, x := image(t)
	flipped := slices.Clone(data)
	flipped[1_000_000] ^= 1
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		r    io.Reader
		want error
	}{
		"shorter":  {bytes.NewReader(data[:len(data)-1]), ErrChanged},
		"much":     {bytes.NewReader(data[:100]), ErrChanged},
		"empty":    {bytes.NewReader(nil), ErrChanged},
		"longer":   {bytes.NewReader(append(slices.Clone(data), 0)), ErrChanged},
		"other":    {bytes.NewReader(flipped), ErrChanged},
		"broken":   {io.MultiReader(bytes.NewReader(data[:500_000]), iotest.ErrReader(broken)), broken},
		"at end":   {io.MultiReader(bytes.NewReader(data), iotest.ErrReader(broken)), broken},
		"canceled": {&canceled{t: t}, context.Canceled},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		if c, ok := tt.r.(*canceled); ok {
			c.Reader, c.cancel = bytes.NewReader(data), cancel
		}
		if table, err := pack(ctx, io.Discard, tt.r, x, 2); !errors.Is(err, tt.want) || table != nil {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
		cancel()
	}
	if _, err := pack(t.Context(), full{}, bytes.NewReader(data), x, 2); !errors.Is(err, errFull) {
		t.Errorf("a disk that is full: %v", err)
	}
}

// canceled is a stream whose caller gives up.
type canceled struct {
	io.Reader
	t      *testing.T
	cancel func()
}

func (c *canceled) Read(p []byte) (int, error) {
	c.cancel()
	return c.Reader.Read(p)
}

var errFull = errors.New("disk full")

// full is a disk without room.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errFull }

// A tree has each chunk once; casync reads it, and what the next version has in common
// is not written again. Damage is mended.
func TestTree(t *testing.T) {
	data, x := image(t)
	dir := t.TempDir()
	tree := filepath.Join(dir, "images.castr")
	added, err := Tree(t.Context(), tree, bytes.NewReader(data), x)
	if err != nil || added.Chunks != len(x.Chunks) {
		t.Fatalf("%+v, %v", added, err)
	}
	file, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	index, copied := filepath.Join(dir, "x.caibx"), filepath.Join(dir, "copy")
	if err := os.WriteFile(index, file, 0o600); err != nil {
		t.Fatal(err)
	}
	oracle.Output(t, oracle.Tool(t, "casync", "casync"), "extract", "--store="+tree, index, copied)
	if got, err := os.ReadFile(copied); err != nil || !bytes.Equal(got, data) {
		t.Errorf("casync extracts %d other bytes, %v", len(got), err)
	}
	next := slices.Clone(data)
	copy(next[700_000:], "the next version")
	added, err = Tree(t.Context(), tree, bytes.NewReader(next), indexOf(t, next))
	if err != nil || added.Chunks != 1 {
		t.Errorf("the next version: %+v, %v", added, err)
	}
	names := files(t, tree)
	if len(names) != len(x.Chunks)+1 {
		t.Errorf("%d files for %d chunks", len(names), len(x.Chunks)+1)
	}
	packed, err := os.ReadFile(names[3])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(names[3], packed[:len(packed)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(names[5]); err != nil {
		t.Fatal(err)
	}
	for want := range []int{0, 1} {
		var added Added
		for _, d := range [][]byte{data, next} {
			a, err := Tree(t.Context(), tree, bytes.NewReader(d), indexOf(t, d))
			if err != nil {
				t.Fatal(err)
			}
			added.Chunks += a.Chunks
		}
		if added.Chunks != 2*(1-want) {
			t.Errorf("%d chunks mended", added.Chunks)
		}
	}
	if _, err := Tree(t.Context(), tree, bytes.NewReader(next), x); !errors.Is(err, ErrChanged) {
		t.Errorf("another image than the index's: %v", err)
	}
	if got := files(t, tree); !slices.Equal(got, names) {
		t.Errorf("files %q", got)
	}
}

// files lists those of a tree, which are all for everybody to read.
func files(t *testing.T, dir string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		names = append(names, path)
		info, err := d.Info()
		if err == nil && info.Mode().Perm() != 0o644 {
			t.Errorf("%s has mode %o", path, info.Mode().Perm())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
