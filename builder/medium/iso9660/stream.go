package iso9660

import (
	"errors"
	"fmt"
	"io"

	"github.com/farboot/farboot/builder/tree"
)

// stream counts what goes to w and keeps the first error.
type stream struct {
	w   io.Writer
	n   int64
	err error
}

func (s *stream) write(p []byte) {
	if s.err != nil {
		return
	}
	n, err := s.w.Write(p)
	s.n += int64(n)
	s.err = err
}

// zeros writes n zero bytes.
func (s *stream) zeros(n int64) {
	var block [16 * SectorSize]byte
	for ; n > 0 && s.err == nil; n -= int64(len(block)) {
		s.write(block[:min(n, int64(len(block)))])
	}
}

// copy writes the content of f, which must have the size that f announces:
// everything after it has been promised its place already.
func (s *stream) copy(f *tree.File) {
	if s.err == nil {
		s.err = s.copyAll(f)
	}
}

func (s *stream) copyAll(f *tree.File) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.CopyN(s.w, r, f.Size)
	s.n += n
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: ends after %d of %d bytes", f.Path, n, f.Size)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return fmt.Errorf("%s: more than the announced %d bytes", f.Path, f.Size)
	} else if !errors.Is(err, io.EOF) {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	return nil
}

// area is a run of sectors that grows.
type area []byte

// put adds p so that it does not cross the end of a sector, as directory
// records and continuation areas must not, and returns where it lies.
func (a *area) put(p []byte) (offset int) {
	if room := SectorSize - len(*a)%SectorSize; len(p) > room {
		*a = append(*a, make([]byte, room)...)
	}
	offset = len(*a)
	*a = append(*a, p...)
	return offset
}

// fill adds zeros up to the end of the sector.
func (a *area) fill() {
	*a = append(*a, make([]byte, sectorsOf(int64(len(*a)))*SectorSize-int64(len(*a)))...)
}

// append adds p in sectors of its own.
func (a *area) append(p []byte) {
	*a = append(*a, p...)
	a.fill()
}
