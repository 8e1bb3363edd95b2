package inspect

import (
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/diskfs/go-diskfs/backend"
)

const (
	// maxFiles bounds what one file system may list. The largest medium planned,
	// a whole live system unpacked, has a tenth of it.
	maxFiles = 1 << 20
	// maxDepth bounds how deep folders may be nested. Trees are a few levels deep.
	maxDepth = 128
	// readings is how often the image's own size may be read. A sound image is
	// read once for its content and, by go-diskfs' habit of starting over at the
	// root for each folder, several times for its folders.
	readings = 64
	// minReading is what the smallest read counts, in bytes, so that loops of
	// small reads end too.
	minReading = 512
)

// disk is a read-only image for go-diskfs. It refuses reads outside the image
// and, in the end, those of a reader that goes in circles.
type disk struct {
	r      io.ReaderAt
	size   int64
	budget int64 // bytes that may still be read
	pos    int64 // for Seek and Read
	err    error // the first that ReadAt returned
}

var _ backend.Storage = (*disk)(nil)

func newDisk(r io.ReaderAt, size int64) *disk {
	return &disk{r: r, size: size, budget: readings*size + 1<<20}
}

// ReadAt implements io.ReaderAt, but never reads part of what was asked for.
func (d *disk) ReadAt(p []byte, off int64) (int, error) {
	err := d.charge(int64(len(p)), off)
	n := 0
	if err == nil {
		n, err = d.r.ReadAt(p, off)
		if n == len(p) {
			err = nil // an io.EOF that comes with the last byte
		}
	}
	if err != nil && d.err == nil {
		d.err = err
	}
	return n, err
}

func (d *disk) charge(n, off int64) error {
	if off < 0 || n > d.size || off > d.size-n {
		return fmt.Errorf("%d bytes at %d lie outside the image of %d bytes", n, off, d.size)
	}
	if d.budget -= max(n, minReading); d.budget < 0 {
		return fmt.Errorf("structures go in circles: read %d times over", readings)
	}
	return nil
}

func (d *disk) Read(p []byte) (int, error) {
	n, err := d.ReadAt(p, d.pos)
	d.pos += int64(n)
	return n, err
}

func (d *disk) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += d.pos
	case io.SeekEnd:
		offset += d.size
	}
	d.pos = offset
	return d.pos, nil
}

func (d *disk) Path() string                            { return "" }
func (d *disk) Close() error                            { return nil }
func (d *disk) Stat() (fs.FileInfo, error)              { return nil, backend.ErrNotSuitable }
func (d *disk) Sys() (*os.File, error)                  { return nil, backend.ErrNotSuitable }
func (d *disk) Writable() (backend.WritableFile, error) { return nil, backend.ErrIncorrectOpenMode }
