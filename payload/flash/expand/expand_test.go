package expand

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// sample returns bytes that compress by half, the same each time.
func sample(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(data) // never fails
	for i := range data {
		data[i] &= 0x0f
	}
	return data
}

// compress runs a tool.
func compress(t testing.TB, data []byte, tool string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("%s is missing; Debian's packages xz-utils, zstd and gzip have such tools", tool)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", tool, err)
	}
	return out
}

// read expands a stream, which must not give more than limit bytes.
func read(t testing.TB, r io.Reader, format string, limit int64) ([]byte, error) {
	t.Helper()
	e, err := Reader(r, format)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return io.ReadAll(io.LimitReader(e, limit))
}

// streams returns compressed forms of data that tools make.
func streams(t testing.TB, data []byte) map[string][]byte {
	return map[string][]byte{
		"xz one block":   compress(t, data, "xz", "-1"),
		"xz many blocks": compress(t, data, "xz", "-0", "-T2", "--block-size=20000"),
		"xz no check":    compress(t, data, "xz", "-0", "-Cnone"),
		"xz CRC32":       compress(t, data, "xz", "-0", "-Ccrc32"),
		"xz SHA-256":     compress(t, data, "xz", "-0", "-Csha256"),
		"xz two streams": slices.Concat(compress(t, data[:1000], "xz"), compress(t, data[1000:], "xz")),
		"zst level 3":    compress(t, data, "zstd", "-3"),
		"zst level 19":   compress(t, data, "zstd", "-19", "--no-check"),
		"zst two frames": slices.Concat(compress(t, data[:1000], "zstd"), compress(t, data[1000:], "zstd")),
		"gz":             compress(t, data, "gzip", "-6"),
		"gz two members": slices.Concat(compress(t, data[:1000], "gzip"), compress(t, data[1000:], "gzip")),
	}
}

func TestTools(t *testing.T) {
	data := sample(500001)
	for name, stream := range streams(t, data) {
		format, _, _ := strings.Cut(name, " ")
		for _, r := range []io.Reader{bytes.NewReader(stream), iotest.HalfReader(bytes.NewReader(stream)), iotest.DataErrReader(bytes.NewReader(stream))} {
			if got, err := read(t, r, format, 1<<20); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		}
	}
	if got, err := read(t, bytes.NewReader(data), "", 1<<20); err != nil || !bytes.Equal(got, data) {
		t.Errorf("not compressed: %d bytes, %v", len(got), err)
	}
	if empty := compress(t, nil, "xz"); len(empty) > 0 {
		if got, err := read(t, bytes.NewReader(empty), "xz", 10); err != nil || len(got) > 0 {
			t.Errorf("xz of nothing: %q, %v", got, err)
		}
	}
	if _, err := Reader(bytes.NewReader(nil), "bz2"); !errors.Is(err, ErrFormat) {
		t.Errorf("bz2: %v", err)
	}
}

// TestBroken cuts streams at many places, puts something behind them and turns
// bits over. None of that may pass for the data.
func TestBroken(t *testing.T) {
	data := sample(60001)
	refuse := func(name, format string, stream []byte) {
		t.Helper()
		got, err := read(t, bytes.NewReader(stream), format, 1<<20)
		if err == nil && bytes.Equal(got, data) || err != nil && (!errors.Is(err, ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF)) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	for name, stream := range streams(t, data) {
		format, _, _ := strings.Cut(name, " ")
		for cut := 0; cut < len(stream); cut += 1 + len(stream)/15 {
			refuse(name+" cut", format, stream[:cut])
		}
		refuse(name+" cut by one byte", format, stream[:len(stream)-1])
		for _, behind := range [][]byte{{1, 2, 3, 4}, []byte("trailing garbage that is longer"), make([]byte, 4096)} {
			if got, err := read(t, bytes.NewReader(slices.Concat(stream, behind)), format, 1<<20); !errors.Is(err, ErrFormat) {
				t.Errorf("%s with %d bytes behind: %d bytes, %v", name, len(behind), len(got), err)
			}
		}
		if !strings.Contains(name, "no check") && !strings.Contains(name, "level 19") {
			for at := 30; at < len(stream)-30; at += 1 + len(stream)/15 {
				flipped := slices.Clone(stream)
				flipped[at] ^= 4
				refuse(name+" flipped", format, flipped)
			}
		}
	}
}

// TestSource wants the errors of the source as they are.
func TestSource(t *testing.T) {
	for name, stream := range streams(t, sample(60001)) {
		format, _, _ := strings.Cut(name, " ")
		r := io.MultiReader(bytes.NewReader(stream[:len(stream)/2]), iotest.ErrReader(io.ErrClosedPipe))
		if _, err := read(t, r, format, 1<<20); !errors.Is(err, io.ErrClosedPipe) || errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestWindow refuses streams that ask for more memory than MaxWindow.
func TestWindow(t *testing.T) {
	data := sample(100000)
	for format, stream := range map[string][]byte{
		"xz":  compress(t, data, "xz", "--lzma2=preset=0,dict=256MiB"),
		"zst": compress(t, bytes.Repeat(data, 3000), "zstd", "-1", "--long=30"),
	} {
		if _, err := read(t, bytes.NewReader(stream), format, 1<<20); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", format, err)
		}
	}
	if got, err := read(t, bytes.NewReader(compress(t, data, "xz", "--lzma2=preset=0,dict=128MiB")), "xz", 1<<20); err != nil || !bytes.Equal(got, data) {
		t.Errorf("xz with the largest window: %v", err)
	}
}

// FuzzReader wants no panic and no endless loop.
func FuzzReader(f *testing.F) {
	for name, stream := range streams(f, sample(3000)) {
		format, _, _ := strings.Cut(name, " ")
		f.Add(format, stream)
	}
	f.Fuzz(func(t *testing.T, format string, stream []byte) {
		if !slices.Contains(Formats(), format) {
			return
		}
		if _, err := read(t, bytes.NewReader(stream), format, 1<<16); err != nil && !errors.Is(err, ErrFormat) {
			t.Errorf("error without its class: %v", err)
		}
	})
}
