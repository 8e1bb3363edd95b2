package esp

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/diskfs/go-diskfs/backend"
)

// memory is a disk in memory of fixed size, as go-diskfs wants one.
type memory struct {
	data []byte
}

var _ backend.Storage = (*memory)(nil)

func newMemory(size int64) *memory { return &memory{data: make([]byte, size)} }

// WriteAt fails instead of growing.
func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m.data)) {
		return 0, fmt.Errorf("write of %d bytes at %d passes the end at %d", len(p), off, len(m.data))
	}
	return copy(m.data[off:], p), nil
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(m.data)) {
		return 0, io.EOF
	}
	n := copy(p, m.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memory) Writable() (backend.WritableFile, error) { return m, nil }
func (m *memory) Path() string                            { return "" }
func (m *memory) Close() error                            { return nil }

// What follows is in go-diskfs' interface but not on the way to a FAT image.

var errNotADisk = errors.New("not a file but memory")

func (m *memory) Stat() (fs.FileInfo, error)     { return nil, errNotADisk }
func (m *memory) Sys() (*os.File, error)         { return nil, errNotADisk }
func (m *memory) Read([]byte) (int, error)       { return 0, errNotADisk }
func (m *memory) Seek(int64, int) (int64, error) { return 0, errNotADisk }
