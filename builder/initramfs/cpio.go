package initramfs

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"time"

	"github.com/cavaliergopher/cpio"
)

// trailer is the name that ends an archive; no file can have it.
const trailer = "TRAILER!!!"

// The numbers of a device lie at byte 78 of a newc header of 110 bytes, as two
// fields of 8 hexadecimal digits (cpio(5)).
const (
	headerSize = 110
	rdevOffset = 78
)

// archive writes cpio entries. It exists for what cpio.Writer lacks: the
// numbers of a device, which rdevPatch puts into the header as it passes.
type archive struct {
	cpio     *cpio.Writer
	patch    *rdevPatch
	epoch    time.Time
	inode    int64
	programs int64 // how many bytes of the content are programs
}

// newArchive writes to w. The first entry gets the inode number after inode.
func newArchive(w io.Writer, epoch time.Time, inode int64) *archive {
	patch := &rdevPatch{w: w}
	return &archive{cpio: cpio.NewWriter(patch), patch: patch, epoch: epoch, inode: inode}
}

// add writes one checked entry.
func (a *archive) add(f File) error {
	a.inode++
	// A fresh header for each file, since WriteHeader changes the one it is
	// given. Checksum stays 0: setting it once would change the magic number of
	// every header that the process writes from then on.
	h := &cpio.Header{Name: f.Path, Mode: mode(f.Mode), Inode: a.inode, Links: 1, ModTime: a.epoch}
	switch f.Mode.Type() {
	case 0:
		h.Size = f.Size
	case fs.ModeSymlink:
		h.Size = int64(len(f.Target)) // the writer ignores Linkname
	case typeDevice:
		a.patch.rdev = fmt.Sprintf("%08X%08X", f.Major, f.Minor)
	}
	if err := a.cpio.WriteHeader(h); err != nil {
		return err
	}
	switch f.Mode.Type() {
	case 0:
		return a.copy(f)
	case fs.ModeSymlink:
		_, err := io.WriteString(a.cpio, f.Target)
		return err
	}
	return nil
}

// copy writes the content of a regular file and holds it to its size: the
// writer refuses a byte too many, this function one too few.
func (a *archive) copy(f File) error {
	r, err := f.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	content := bufio.NewReader(r)
	if head, _ := content.Peek(20); isProgram(head) {
		a.programs += f.Size
	}
	n, err := io.Copy(a.cpio, content)
	if err == nil && n != f.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("%q: after %d of %d bytes: %w", f.Path, n, f.Size, err)
	}
	return nil
}

// isProgram tells whether a file begins as an x86-64 program or library does: of
// class 64 bits and little-endian, of type EXEC or DYN, for machine 62 (System V ABI,
// "ELF Header"). Kernel modules are of type REL.
func isProgram(head []byte) bool {
	return len(head) == 20 && string(head[:6]) == "\x7fELF\x02\x01" &&
		(head[16] == 2 || head[16] == 3) && head[17] == 0 && head[18] == 62 && head[19] == 0
}

// mode returns m as st_mode has it.
func mode(m fs.FileMode) cpio.FileMode {
	perm := cpio.FileMode(m.Perm())
	switch m.Type() {
	case fs.ModeDir:
		return cpio.TypeDir | perm
	case fs.ModeSymlink:
		return cpio.TypeSymlink | perm
	case typeDevice:
		return cpio.TypeChar | perm
	}
	return cpio.TypeReg | perm
}

// rdevPatch passes bytes on, with rdev put into the next header unless it is
// empty. It relies on cpio.Writer's writing a header in one call; a test looks
// at the result.
type rdevPatch struct {
	w    io.Writer
	rdev string
}

// Write implements io.Writer.
func (p *rdevPatch) Write(b []byte) (int, error) {
	if p.rdev != "" && len(b) == headerSize {
		b = slices.Clone(b)
		copy(b[rdevOffset:], p.rdev)
		p.rdev = ""
	}
	return p.w.Write(b)
}

// seconds returns the mtime field's value for epoch.
func seconds(epoch time.Time) (time.Time, error) {
	if epoch.IsZero() {
		return time.Unix(0, 0), nil
	}
	if s := epoch.Unix(); s < 0 || s > math.MaxUint32 {
		return time.Time{}, fmt.Errorf("%w: time %v does not fit 32 bits", ErrInvalid, epoch)
	}
	return epoch, nil
}
