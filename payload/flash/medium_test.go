package flash

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/caibx"
)

// change is one write to a medium, or with no data one Sync.
type change struct {
	at   int64
	data []byte
}

// medium is a disk in memory that records what is done to it.
type medium struct {
	t testing.TB

	mu     sync.Mutex
	data   []byte
	log    []change
	shared bool

	fail  map[int64]error // writes that cover this byte
	reads map[int64]error
	wrap  int64 // the capacity it really has; 0 is all
	lose  int64 // from this byte on writes are lost; 0 is none
}

func (m *medium) Node() string  { return "/dev/medium" }
func (m *medium) Size() int64   { return int64(len(m.data)) }
func (m *medium) Sector() int   { return 512 }
func (m *medium) Rescan() error { return nil }

func (m *medium) aligned(at int64, n int) {
	if at%512 != 0 || n%512 != 0 || at < 0 || at+int64(n) > int64(len(m.data)) {
		m.t.Errorf("access to %d bytes at %d of %d", n, at, len(m.data))
	}
}

// fault returns the error of an access to these bytes.
func fault(faults map[int64]error, at int64, n int) error {
	for bad, err := range faults {
		if at <= bad && bad < at+int64(n) {
			return err
		}
	}
	return nil
}

func (m *medium) ReadAt(p []byte, at int64) (int, error) {
	m.aligned(at, len(p))
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := fault(m.reads, at, len(p)); err != nil {
		return 0, err
	}
	if m.wrap == 0 {
		return copy(p, m.data[at:]), nil
	}
	for i := range p {
		p[i] = m.data[(at+int64(i))%m.wrap]
	}
	return len(p), nil
}

func (m *medium) WriteAt(p []byte, at int64) (int, error) {
	m.aligned(at, len(p))
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.shared {
		m.t.Error("a write while others use the disk")
	}
	if err := fault(m.fail, at, len(p)); err != nil {
		return 0, err
	}
	m.log = append(m.log, change{at, bytes.Clone(p)})
	switch {
	case m.wrap > 0:
		for i, b := range p {
			m.data[(at+int64(i))%m.wrap] = b
		}
	case m.lose == 0 || at+int64(len(p)) <= m.lose:
		copy(m.data[at:], p)
	}
	return len(p), nil
}

func (m *medium) Zero(at, n int64) error {
	_, err := m.WriteAt(make([]byte, n), at)
	return err
}

func (m *medium) Sync() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.log = append(m.log, change{})
	return nil
}

func (m *medium) Shared(f func() error) error {
	m.shared = true
	defer func() { m.shared = false }()
	return f()
}

// written is how many bytes were written.
func (m *medium) written() (n int64) {
	for _, c := range m.log {
		n += int64(len(c.data))
	}
	return n
}

// noise returns n bytes of which nothing repeats.
func noise(seed byte, n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(data) // never fails
	return data
}

// tool runs a program of other people.
func tool(t testing.TB, name string, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s\n(Debian packages gdisk, xz-utils, zstd and gzip have such tools)", name, args, err, out)
	}
	return out
}

const (
	chunk     = 64 << 10
	imageSize = 6 << 20
	diskSize  = 16 << 20
)

// newImage returns a disk image with a GPT of sgdisk's, boot code, and two
// partitions of noise with empty parts between.
func newImage(t testing.TB, seed byte, partitions ...string) []byte {
	t.Helper()
	data := noise(seed, imageSize)
	clear(data[:1<<20])
	copy(data, "boot code")
	clear(data[2<<20 : 3<<20])
	clear(data[4<<20+chunk : 4<<20+3*chunk+100])
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--clear", "--disk-guid=11111111-2222-3333-4444-5555555555" + string("0123456789"[seed%10]) + "0"}
	if partitions == nil {
		partitions = []string{"1:2048:6143", "2:6144:+2M"}
	}
	for _, p := range partitions {
		args = append(args, "--new="+p)
	}
	tool(t, "sgdisk", append(args, name)...)
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// index returns the index of an image.
func index(t testing.TB, image []byte) *caibx.Index {
	t.Helper()
	x, err := caibx.Make(bytes.NewReader(image), chunk)
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// oldDisk is a disk with an old system on it.
var oldDisk = sync.OnceValue(func() []byte {
	data := noise(200, diskSize)
	copy(data[440:], "\x01\x02\x03\x04")
	copy(data[510:], "\x55\xaa")
	return data
})

// newMedium returns a disk with an old system on it.
func newMedium(t testing.TB) *medium { return &medium{t: t, data: bytes.Clone(oldDisk())} }

// servers are a source of which each next one is asked where the one before is
// wrong.
type servers struct {
	files  [][]byte
	at     int
	opened []int64
	err    error // of reads at the end of a file
}

func (s *servers) Open(_ context.Context, offset int64) (io.ReadCloser, error) {
	s.opened = append(s.opened, offset)
	var r io.Reader = bytes.NewReader(s.files[s.at][offset:])
	if s.err != nil {
		r = io.MultiReader(r, errReader{s.err})
	}
	return io.NopCloser(r), nil
}

func (s *servers) Wrong(error) bool {
	s.at++
	return s.at < len(s.files)
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// pack compresses an image by a tool.
func pack(t testing.TB, image []byte, format string) []byte {
	t.Helper()
	if format == "" {
		return image
	}
	name := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(name, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return tool(t, map[string]string{"xz": "xz", "zst": "zstd", "gz": "gzip"}[format], "-1", "-c", name)
}

// finished returns what a medium must hold once an image is on it: the image with
// the mark, zeros in the rest of the first and in the last MiB, and else what it
// held.
func finished(t testing.TB, old, image []byte) []byte {
	t.Helper()
	want := bytes.Clone(old)
	clear(want[len(want)-1<<20:])
	copy(want, image)
	id, err := imageID(index(t, image))
	if err != nil {
		t.Fatal(err)
	}
	const at = 1<<20 - 512
	copy(want[at:], newMark("done", id, at))
	return want
}

// differ tells where two disks differ first.
func differ(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}

var errIO = unix.EIO

func newRandom() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }
