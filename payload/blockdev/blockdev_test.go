package blockdev

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/carry"
)

// image is a source that can be told to wait, or to fail.
type image struct {
	data  []byte
	bad   atomic.Int64  // the byte that cannot be read; -1 is none
	gate  chan struct{} // reads wait until it is closed
	reads atomic.Int64
}

func newImage(n int) *image {
	r := rand.NewChaCha8([32]byte{1})
	m := &image{data: make([]byte, n), gate: make(chan struct{})}
	r.Read(m.data)
	m.bad.Store(-1)
	return m
}

// ReadAt implements io.ReaderAt.
func (m *image) ReadAt(p []byte, offset int64) (int, error) {
	m.reads.Add(1)
	<-m.gate
	if bad := m.bad.Load(); bad >= offset && bad < offset+int64(len(p)) {
		return 0, errors.New("wrong everywhere")
	}
	return bytes.NewReader(m.data).ReadAt(p, offset)
}

func (m *image) source() Source { return Source{m, int64(len(m.data))} }

// lines collects what is logged.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) log(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(&l.text, format+"\n", args...)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// openTest opens a device by FUSE and a loop device of this machine.
func openTest(t *testing.T, m *image, l *lines) *Device {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("block devices need root")
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Open(t.Context(), Config{Door: carry.FUSE, Device: fmt.Sprintf("/dev/loop%d", n), Source: m.source(), Dir: t.TempDir(), Log: l.log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// direct opens a device past the page cache, which would answer for the source.
func direct(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// aligned returns memory as O_DIRECT wants it.
func aligned(t *testing.T, n int) []byte {
	t.Helper()
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(b) })
	return b
}

// TestLoop: the device has the source's bytes, whole sectors of them, and none can be
// written; many read at the same time.
func TestLoop(t *testing.T) {
	m, l := newImage(3<<20+100), new(lines)
	close(m.gate)
	d := openTest(t, m, l)
	got, err := os.ReadFile(d.Name())
	want := append(bytes.Clone(m.data), make([]byte, sector-100)...)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%d bytes, %v; want %d", len(got), err, len(want))
	}
	if f, err := os.OpenFile(d.Name(), os.O_RDWR, 0); err == nil {
		if _, err := f.Write([]byte("x")); err == nil && f.Sync() == nil {
			t.Error("the device can be written")
		}
		f.Close()
	}
	info := new(unix.LoopInfo64)
	f := direct(t, d.Name())
	if info, err = unix.IoctlLoopGetStatus64(int(f.Fd())); err != nil || info.Flags&unix.LO_FLAGS_DIRECT_IO == 0 {
		t.Errorf("flags %#x, %v: not direct", info.Flags, err)
	}
	var group sync.WaitGroup
	for i := range 40 {
		group.Add(1)
		b := aligned(t, 4096)
		go func() {
			defer group.Done()
			at := int64(i) * 70 * 1024
			if _, err := f.ReadAt(b, at); err != nil || !bytes.Equal(b, m.data[at:at+4096]) {
				t.Errorf("at %d: %v", at, err)
			}
		}()
	}
	group.Wait()
	if s := l.String(); s != "" {
		t.Error(s)
	}
}

// TestLoopWaits: who reads while the source waits, waits as well, and for nothing but
// that; what the source cannot read is an I/O error there and nowhere else.
func TestLoopWaits(t *testing.T) {
	m, l := newImage(1<<20), new(lines)
	close(m.gate)
	d := openTest(t, m, l)
	m.gate = make(chan struct{})
	f, b := direct(t, d.Name()), aligned(t, 4096)
	done := make(chan error, 1)
	before := m.reads.Load()
	go func() {
		_, err := f.ReadAt(b, 512<<10)
		done <- err
	}()
	for m.reads.Load() == before {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(m.gate)
	if err := <-done; err != nil || !bytes.Equal(b, m.data[512<<10:][:4096]) {
		t.Fatal(err)
	}
	m.bad.Store(700 << 10)
	if _, err := f.ReadAt(b, 700<<10); !errors.Is(err, unix.EIO) {
		t.Errorf("a wrong chunk reads as %v", err)
	}
	if _, err := f.ReadAt(b, 600<<10); err != nil {
		t.Error(err)
	}
	if !strings.Contains(l.String(), "at 716800 cannot be read: wrong everywhere") {
		t.Errorf("log:\n%s", l)
	}
}

// TestNames: a device that is no door's is refused before anything is made.
func TestNames(t *testing.T) {
	for _, c := range []Config{{Door: carry.FUSE, Device: "/dev/nbd0"}, {Door: carry.NBD, Device: "/dev/loop0"}, {Door: carry.FUSE, Device: "/dev/loopx"}} {
		if _, err := Open(context.Background(), c); !errors.Is(err, ErrDoor) {
			t.Errorf("%s by %s: %v", c.Device, c.Door, err)
		}
	}
	for _, door := range []string{carry.FUSE, carry.NBD} {
		if len(Needs(door)) == 0 || !strings.HasPrefix(Default(door), "/dev/") {
			t.Error(door)
		}
	}
}

// A source that ends where its size says is padded; one that ends before is broken.
func TestSourceRead(t *testing.T) {
	s := Source{strings.NewReader("abc"), 3}
	b := []byte("12345")
	if err := s.read(b, 1); err != nil || string(b) != "bc\x00\x00\x00" {
		t.Errorf("%q, %v", b, err)
	}
	s.Size = 1000
	if err := s.read(b, 1); !errors.Is(err, io.EOF) {
		t.Errorf("a short source: %v", err)
	}
}
