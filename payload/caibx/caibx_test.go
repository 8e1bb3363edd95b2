package caibx

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

// blob returns n bytes of which nothing repeats, the same each time.
func blob(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // never fails
	return data
}

// casync runs the tool in dir.
func casync(t *testing.T, dir string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("casync")
	if err != nil {
		t.Fatal("casync is missing; Debian package casync has it")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("casync %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// verify wants an index to say what data consists of.
func verify(t *testing.T, x *Index, data []byte) {
	t.Helper()
	if x.Size() != int64(len(data)) {
		t.Fatalf("Size() = %d; want %d", x.Size(), len(data))
	}
	for i, c := range x.Chunks {
		if sha256.Sum256(data[x.Start(i):c.End]) != c.ID {
			t.Errorf("chunk %d: wrong ID", i)
		}
	}
}

// TestCasync compares with casync: what it makes of fixed chunks are our bytes,
// its variable chunks are read, and it extracts by our index.
func TestCasync(t *testing.T) {
	dir, data := t.TempDir(), blob(5<<20+12345)
	if err := os.WriteFile(filepath.Join(dir, "blob"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	casync(t, dir, "make", "--digest=sha256", "--chunk-size=1048576:1048576:1048576", "--store=s.castr", "fixed.caibx", "blob")
	casync(t, dir, "make", "--digest=sha256", "--store=s.castr", "variable.caibx", "blob")
	casync(t, dir, "make", "--store=s.castr", "sha512.caibx", "blob")
	read := func(name string) []byte {
		file, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return file
	}
	x, err := Make(bytes.NewReader(data), DefaultChunk)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, x, data)
	ours, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(read("fixed.caibx"), ours); diff != "" {
		t.Errorf("not casync's bytes:\n%s", diff)
	}
	variable, err := Decode(read("variable.caibx"))
	if err != nil {
		t.Fatal(err)
	}
	if len(variable.Chunks) < 10 || variable.Min == variable.Max {
		t.Errorf("%d chunks of %d to %d bytes, want variable ones", len(variable.Chunks), variable.Min, variable.Max)
	}
	verify(t, variable, data)
	if _, err := Decode(read("sha512.caibx")); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "--digest=sha256") {
		t.Errorf("SHA-512/256: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ours.caibx"), ours, 0o600); err != nil {
		t.Fatal(err)
	}
	casync(t, dir, "extract", "--store=s.castr", "ours.caibx", "copy")
	if !bytes.Equal(read("copy"), data) {
		t.Error("casync extracts other bytes by our index")
	}
}

func TestMake(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 3 * 4096} {
		data := blob(size)
		x, err := Make(iotest.OneByteReader(bytes.NewReader(data)), 4096)
		if err != nil {
			t.Fatal(err)
		}
		verify(t, x, data)
		if want := (size + 4095) / 4096; len(x.Chunks) != want {
			t.Errorf("%d bytes: %d chunks, want %d", size, len(x.Chunks), want)
		}
		file, err := x.Encode()
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(x.Chunks, back.Chunks); len(x.Chunks) > 0 && diff != "" {
			t.Error(diff)
		}
	}
	if _, err := Make(iotest.ErrReader(io.ErrClosedPipe), 4096); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("a reader that fails: %v", err)
	}
	cut := fmt.Errorf("a file that was cut: %w", io.ErrUnexpectedEOF)
	for _, err := range []error{cut, io.ErrUnexpectedEOF} {
		if x, got := Make(io.MultiReader(bytes.NewReader(blob(5000)), iotest.ErrReader(err)), 4096); !errors.Is(got, err) || x != nil {
			t.Errorf("a reader that was cut: %v, %v", x, got)
		}
	}
	for _, chunk := range []int{-1, 0, MaxChunk + 1} {
		if _, err := Make(bytes.NewReader(nil), chunk); err == nil {
			t.Errorf("chunks of %d bytes are taken", chunk)
		}
	}
}

func TestAt(t *testing.T) {
	x, err := Make(bytes.NewReader(blob(10000)), 4096)
	if err != nil {
		t.Fatal(err)
	}
	for offset, want := range map[int64]int{0: 0, 4095: 0, 4096: 1, 8191: 1, 8192: 2, 9999: 2} {
		if got := x.At(offset); got != want {
			t.Errorf("At(%d) = %d; want %d", offset, got, want)
		}
	}
}

// TestDecodeRefuses changes one thing at a time.
func TestDecodeRefuses(t *testing.T) {
	x, err := Make(bytes.NewReader(blob(10000)), 4096)
	if err != nil {
		t.Fatal(err)
	}
	good, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	set := func(word int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte {
			if word < 0 {
				word += len(b) / 8
			}
			binary.LittleEndian.PutUint64(b[8*word:], v)
			return b
		}
	}
	for name, change := range map[string]func([]byte) []byte{
		"empty":                     func([]byte) []byte { return nil },
		"one byte less":             func(b []byte) []byte { return b[:len(b)-1] },
		"one item less":             func(b []byte) []byte { return slices.Delete(b, 64, 104) },
		"cut after the items":       func(b []byte) []byte { return b[:len(b)-40] },
		"something behind":          func(b []byte) []byte { return append(b, make([]byte, 40)...) },
		"head of another size":      set(0, 49),
		"a directory's magic":       set(1, 0x96824d9c7b129ff8),
		"a directory's flags":       set(2, 0x9000000000000001),
		"no smallest chunk":         set(3, 0),
		"average above the largest": set(4, 8192),
		"huge chunks":               set(5, MaxChunk+1),
		"a sized table":             set(6, 160),
		"another table":             set(7, 0),
		"a chunk that is too small": set(8, 4095),
		"a chunk that is too large": set(8, 4097),
		"an empty last chunk":       set(18, 8192),
		"a last chunk too large":    set(18, 8192+4097),
		"an end that falls":         set(18, 8191),
		"an end beyond 2^63":        set(18, 1<<63),
		"another tail":              set(-1, 0),
		"another table size":        set(-2, 175),
		"another head offset":       set(-3, 47),
	} {
		if got, err := Decode(change(slices.Clone(good))); !errors.Is(err, ErrMalformed) || got != nil {
			t.Errorf("%s: Decode = %v, %v; want ErrMalformed", name, got, err)
		}
	}
	x.Chunks[0].End++
	if _, err := x.Encode(); !errors.Is(err, ErrMalformed) {
		t.Errorf("Encode of an index that cannot be decoded: %v", err)
	}
}

// FuzzDecode wants what is decoded to be encoded again to the same bytes, but
// for the flags.
func FuzzDecode(f *testing.F) {
	for _, size := range []int{0, 1, 10000} {
		x, err := Make(bytes.NewReader(blob(size)), 4096)
		if err != nil {
			f.Fatal(err)
		}
		file, err := x.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(file)
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		x, err := Decode(file)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("error without its class: %v", err)
			}
			return
		}
		back, err := x.Encode()
		if err != nil {
			t.Fatal(err)
		}
		copy(back[16:24], file[16:24])
		if !bytes.Equal(file, back) {
			t.Errorf("decoded and encoded:\n%x\n%x", file, back)
		}
	})
}
