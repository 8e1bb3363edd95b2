package handover

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// align is where each initrd begins: the kernel looks for the next cpio archive
// at multiples of 4 bytes and skips zeros before it (init/initramfs.c,
// unpack_to_rootfs).
const align = 4

// seals freeze a Memory for good: its size, its bytes, and the seals.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

// Memory is a file that lies in RAM and nowhere else (memfd_create(2)). It has
// no name that anybody could open, and once sealed nobody can change it, this
// process included: the bytes that were verified are the bytes that run.
type Memory struct {
	f    *os.File
	size int64
}

// NewMemory returns an empty Memory. The name shows in /proc only.
func NewMemory(name string) (*Memory, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memory for %s: %w", name, err)
	}
	return &Memory{f: os.NewFile(uintptr(fd), name)}, nil
}

// Append makes room for size bytes after what is there, from the next multiple
// of 4 on, with zeros between. The writer it returns takes nothing beyond them.
func (m *Memory) Append(size int64) (io.WriterAt, error) {
	start := (m.size + align - 1) / align * align
	if size < 0 || size > math.MaxInt64-start {
		return nil, fmt.Errorf("memory for %s: %d bytes cannot be", m.f.Name(), size)
	}
	if err := m.f.Truncate(start + size); err != nil {
		return nil, fmt.Errorf("memory for %s: %w", m.f.Name(), err)
	}
	m.size = start + size
	return &region{f: m.f, start: start, size: size}, nil
}

// Size returns the bytes that Append made room for, with the zeros between.
func (m *Memory) Size() int64 { return m.size }

// Seal makes the Memory immutable. What was not written reads as zeros.
func (m *Memory) Seal() error {
	if _, err := unix.FcntlInt(m.f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		return fmt.Errorf("memory for %s: cannot be sealed: %w", m.f.Name(), err)
	}
	return nil
}

// sealed tells whether all seals hold.
func (m *Memory) sealed() bool {
	got, err := unix.FcntlInt(m.f.Fd(), unix.F_GET_SEALS, 0)
	return err == nil && got&seals == seals
}

// File returns the file, for who reads it as one. Once sealed it cannot be written.
// Closing it closes the Memory.
func (m *Memory) File() *os.File { return m.f }

// Close gives the memory back.
func (m *Memory) Close() error { return m.f.Close() }

// errOutside is the answer to a write beyond what was made room for.
var errOutside = errors.New("write outside the reserved memory")

// region is a part of a Memory.
type region struct {
	f           *os.File
	start, size int64
}

// WriteAt implements io.WriterAt within the region.
func (r *region) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off > r.size || int64(len(p)) > r.size-off {
		return 0, errOutside
	}
	return r.f.WriteAt(p, r.start+off)
}

// ReadAt implements io.ReaderAt.
func (m *Memory) ReadAt(p []byte, off int64) (int, error) { return m.f.ReadAt(p, off) }
