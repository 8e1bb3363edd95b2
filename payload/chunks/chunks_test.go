package chunks

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// tool runs a program in dir.
func tool(t *testing.T, dir, pkg, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing; Debian package %s has it", name, pkg)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.String())
	}
	return out
}

// write writes files below dir.
func write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStore wants zstd and ourselves to unpack what Store packs.
func TestStore(t *testing.T) {
	dir, u := t.TempDir(), NewUnpacker(1)
	for _, n := range []int{1, 255, 128 << 10, 128<<10 + 1, 1 << 20, 3<<20 + 7, caibx.MaxChunk} {
		data := blob(n)
		packed := Store(data)
		write(t, dir, map[string][]byte{"f": packed})
		if n <= 1<<20 && !bytes.Equal(tool(t, dir, "zstd", "zstd", "-dc", "f"), data) {
			t.Errorf("%d bytes: zstd unpacks others", n)
		}
		if got, err := u.Unpack(packed, object.OfBytes(data).SHA256, int64(n)); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: %d, %v", n, len(got), err)
		}
	}
}

// TestUnpackRefuses takes what is not the chunk for what it is, and no room for it.
func TestUnpackRefuses(t *testing.T) {
	data := blob(5000)
	id, good := object.OfBytes(data).SHA256, Store(data)
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := e.EncodeAll(make([]byte, 1<<30), nil)
	flipped := slices.Clone(good)
	flipped[3000] ^= 1
	u := NewUnpacker(1)
	for name, tt := range map[string]struct {
		packed []byte
		n      int64
	}{
		"empty":            {nil, 5000},
		"no frame":         {data[:3000], 5000},
		"not packed":       {data, 5000},
		"cut":              {good[:4000], 5000},
		"flipped":          {flipped, 5000},
		"another size":     {good, 5001},
		"less":             {good, 4999},
		"a bomb":           {bomb[:min(len(bomb), 5000)], 5000},
		"something behind": {append(slices.Clone(good), Store([]byte{1})...), 5000},
		"padding":          {append(slices.Clone(good), make([]byte, 1000)...), 5000},
		"nothing":          {good, 0},
		"too much":         {good, caibx.MaxChunk + 1},
	} {
		if got, err := u.Unpack(tt.packed, id, tt.n); !errors.Is(err, ErrWrong) || got != nil {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

// TestTable wants back what was encoded, and nothing else to be taken for it.
func TestTable(t *testing.T) {
	l := layout(t, blob(imageSize), chunkSize)
	good := l.files[l.zst.Zst.Table.Path()]
	got, err := DecodeTable(good, l.index)
	if diff := cmp.Diff(l.table, got); err != nil || diff != "" {
		t.Fatalf("%v\n%s", err, diff)
	}
	if got.FileSize() != l.zst.Zst.File.Size {
		t.Errorf("FileSize() = %d; want %d", got.FileSize(), l.zst.Zst.File.Size)
	}
	set := func(at int, v uint32) []byte {
		b := slices.Clone(good)
		if at < 0 {
			at += len(b)
		}
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	flags := slices.Clone(good)
	flags[len(flags)-5] = 0x80
	for name, data := range map[string][]byte{
		"empty":                 nil,
		"cut":                   good[:len(good)-1],
		"one frame less":        slices.Delete(slices.Clone(good), 8, 16),
		"something behind":      append(slices.Clone(good), 0),
		"another magic":         set(0, skippable+1),
		"another size":          set(4, 7),
		"an empty frame":        set(8, 0),
		"a huge frame":          set(8, 1<<31),
		"a chunk that is less":  set(12, chunkSize-1),
		"another number":        set(-9, 59),
		"checksums":             flags,
		"another magic, behind": set(-4, 0),
	} {
		if got, err := DecodeTable(data, l.index); !errors.Is(err, ErrTable) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := l.table[1:].Encode(l.index); !errors.Is(err, ErrTable) {
		t.Errorf("a table of another image is encoded: %v", err)
	}
}

// TestZstd wants zstd itself to unpack the whole file.
func TestZstd(t *testing.T) {
	l, dir := layout(t, blob(imageSize), chunkSize), t.TempDir()
	write(t, dir, map[string][]byte{"image.zst": l.files[l.zstName]})
	if !bytes.Equal(tool(t, dir, "zstd", "zstd", "-dc", "image.zst"), l.data) {
		t.Error("zstd unpacks other bytes")
	}
}

// TestCasyncTree reads images that casync made, in chunks of any size and of one,
// from a tree on a web server; casync reads ours.
func TestCasyncTree(t *testing.T) {
	dir, data := t.TempDir(), blob(3<<20+777)
	write(t, dir, map[string][]byte{"blob": data})
	for name, sizes := range map[string]string{"variable": "16384:65536:262144", "fixed": "65536:65536:65536"} {
		tool(t, dir, "casync", "casync", "make", "--digest=sha256", "--chunk-size="+sizes, "--store="+CastrDir, name+".caibx", "blob")
		index, err := os.ReadFile(filepath.Join(dir, name+".caibx"))
		if err != nil {
			t.Fatal(err)
		}
		write(t, dir, map[string][]byte{object.OfBytes(index).Path(): index})
		s := evil.Serve(t, http.FileServer(http.Dir(dir)))
		client := fetch.New(FetchLimits())
		defer client.Close()
		r, err := Open(t.Context(), Image{Index: object.OfBytes(index), Castr: true}, Config{
			Client: client, Sites: fetch.NewMirrors(client, t.Logf, s.URL), Limits: DefaultLimits(),
		})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		readAll(t, r, data, 100_000)
	}
	l := layout(t, data, 1<<16)
	ours := filepath.Join(dir, "ours")
	write(t, ours, l.files)
	write(t, ours, map[string][]byte{"ours.caibx": l.files[l.tree.Index.Path()]})
	tool(t, ours, "casync", "casync", "extract", "--store="+CastrDir, "ours.caibx", "copy")
	if got, err := os.ReadFile(filepath.Join(ours, "copy")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("casync extracts %d other bytes, %v", len(got), err)
	}
}

// FuzzUnpack wants nothing but the chunk to come out, and no panic.
func FuzzUnpack(f *testing.F) {
	data := blob(3000)
	e, err := zstd.NewWriter(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(Store(data), int64(3000))
	f.Add(e.EncodeAll(data, nil), int64(3000))
	f.Add(e.EncodeAll(make([]byte, 1<<20), nil), int64(1<<20))
	f.Add([]byte{}, int64(0))
	u := NewUnpacker(1)
	f.Fuzz(func(t *testing.T, packed []byte, n int64) {
		n %= 1 << 20
		id := object.OfBytes(data).SHA256
		got, err := u.Unpack(packed, id, n)
		if err != nil && (!errors.Is(err, ErrWrong) || got != nil) || err == nil && !bytes.Equal(got, data) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		if len(packed) > 0 && len(packed) < 1<<20 {
			back, err := u.Unpack(Store(packed), object.OfBytes(packed).SHA256, int64(len(packed)))
			if err != nil || !bytes.Equal(back, packed) {
				t.Errorf("stored and unpacked: %d of %d bytes, %v", len(back), len(packed), err)
			}
		}
	})
}

// FuzzDecodeTable wants what is decoded to be encoded again to the same bytes.
func FuzzDecodeTable(f *testing.F) {
	for _, n := range []int{0, 1, 10_000, imageSize} {
		data := blob(n)
		x, err := caibx.Make(bytes.NewReader(data), chunkSize)
		if err != nil {
			f.Fatal(err)
		}
		table := make(Table, len(x.Chunks))
		for i := range table {
			table[i] = int64(i + 1)
		}
		file, err := table.Encode(x)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file, n)
	}
	f.Fuzz(func(t *testing.T, file []byte, n int) {
		x := &caibx.Index{Min: chunkSize, Avg: chunkSize, Max: chunkSize}
		for end := 0; end < min(n, imageSize); {
			end = min(end+chunkSize, n)
			x.Chunks = append(x.Chunks, caibx.Chunk{End: int64(end)})
		}
		table, err := DecodeTable(file, x)
		if err != nil {
			if !errors.Is(err, ErrTable) {
				t.Errorf("error without its class: %v", err)
			}
			return
		}
		back, err := table.Encode(x)
		if err != nil || !bytes.Equal(file, back) {
			t.Errorf("decoded and encoded:\n%x\n%x, %v", file, back, err)
		}
	})
}
