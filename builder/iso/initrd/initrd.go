// Package initrd reads initramfs images as a kernel would: several cpio archives, one
// after the other, plain or compressed.
//
// [Walk] hands out every entry. What comes later stands in the place of what came
// before, as it does in the kernel (init/initramfs.c). Compression is by gzip, xz,
// zstd, lz4, lzma or bzip2. Archives behind one that is compressed are found where
// that is gzip or zstd, or where all of them are compressed alike; microcode and what
// else is plain comes first in every initrd that is known.
//
// Errors wrap [ErrMalformed]. No more than [Limits] is unpacked, whatever an image says
// of itself.
package initrd

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// ErrMalformed says that bytes are no initramfs that can be read.
var ErrMalformed = errors.New("not an initramfs that can be read")

const (
	maxUnpacked = 4 << 30 // the largest known, of a live system in an initrd, has 1.6 GB
	maxFiles    = 1 << 18 // Debian's with most modules has 3500
	maxArchives = 64
	maxName     = 4096 // PATH_MAX
	maxTarget   = 4096

	newcHeader = 110
	trailer    = "TRAILER!!!"
)

// Entry is a file of an archive.
type Entry struct {
	// Path is clean and relative: "usr/bin/sh".
	Path string
	// Mode has the type and permission bits.
	Mode fs.FileMode
	// Size is that of the content, in bytes. Of hard links to one file, the last
	// one has it.
	Size int64
	// Target is what a symbolic link holds.
	Target string
}

// Walk calls visit with each entry, and with what it holds. It returns how many bytes
// all are, unpacked.
func Walk(r io.Reader, visit func(Entry, io.Reader) error) (int64, error) {
	w := &walker{visit: visit}
	err := w.sequence(bufio.NewReaderSize(r, 64<<10), true)
	if err == nil && w.files == 0 {
		err = fmt.Errorf("%w: it holds no files", ErrMalformed)
	}
	return w.used, err
}

// walker is a walk under way.
type walker struct {
	visit    func(Entry, io.Reader) error
	used     int64
	files    int
	archives int
}

// sequence reads archives one after the other. Inside of one that is compressed there
// are plain ones only.
func (w *walker) sequence(r *bufio.Reader, outer bool) error {
	for {
		head, err := skipZeros(r)
		if err != nil || len(head) == 0 {
			return err
		}
		if w.archives++; w.archives > maxArchives {
			return fmt.Errorf("%w: more than %d archives", ErrMalformed, maxArchives)
		}
		if bytes.HasPrefix(head, []byte("07070")) {
			if err := w.archive(r); err != nil {
				return err
			}
			continue
		}
		if !outer {
			return fmt.Errorf("%w: %q follows an archive", ErrMalformed, head)
		}
		if err := w.compressed(r, head); err != nil {
			return err
		}
	}
}

// compressed reads a stream of archives, as far as it goes.
func (w *walker) compressed(r *bufio.Reader, head []byte) error {
	u, err := unpacker(r, head)
	if err != nil {
		return err
	}
	defer u.Close()
	inner := bufio.NewReaderSize(u, 64<<10)
	if err := w.sequence(inner, false); err != nil {
		return fmt.Errorf("%s: %w", nameOf(head), err)
	}
	return nil
}

// skipZeros passes over padding, and returns what comes then, 8 bytes at most; at the
// end that is nothing.
func skipZeros(r *bufio.Reader) ([]byte, error) {
	for {
		b, err := r.Peek(1)
		if err == io.EOF {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if b[0] == 0 {
			_, _ = r.Discard(1) // it was seen
			continue
		}
		head, err := r.Peek(8)
		if err != nil && err != io.EOF {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return head, nil
	}
}

// archive reads one cpio archive of the format "newc", up to its trailer or the end
// (buffer-format.rst in the kernel's Documentation/driver-api/early-userspace).
func (w *walker) archive(r *bufio.Reader) error {
	for {
		if b, err := r.Peek(1); err == io.EOF || err == nil && b[0] == 0 {
			return nil // the kernel does not ask for a trailer either
		}
		e, err := readHeader(r)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if e.Path == trailer {
			return nil
		}
		w.used += e.Size
		if w.files++; w.files > maxFiles || w.used > maxUnpacked {
			return fmt.Errorf("%w: more than %d files or %d bytes", ErrMalformed, maxFiles, int64(maxUnpacked))
		}
		if err := w.entry(r, e); err != nil {
			return err
		}
	}
}

// entry hands out one entry, and passes over what is left of it.
func (w *walker) entry(r *bufio.Reader, e Entry) error {
	body := io.LimitReader(r, e.Size)
	if e.Mode.Type() == fs.ModeSymlink {
		if e.Size > maxTarget {
			return fmt.Errorf("%w: %s: a link of %d bytes", ErrMalformed, e.Path, e.Size)
		}
		target, err := io.ReadAll(body)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", ErrMalformed, e.Path, err)
		}
		e.Target = strings.TrimRight(string(target), "\x00")
	}
	seen := &counter{r: body}
	if err := w.visit(e, seen); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, seen)
	if err == nil && e.Mode.Type() != fs.ModeSymlink && seen.n != e.Size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil {
		err = discard(r, -e.Size&3)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMalformed, e.Path, err)
	}
	return nil
}

// counter counts what is read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// readHeader reads the header of an entry, with its name and what pads it.
func readHeader(r *bufio.Reader) (Entry, error) {
	b := make([]byte, newcHeader)
	if _, err := io.ReadFull(r, b); err != nil {
		return Entry{}, err
	}
	if magic := string(b[:6]); magic != "070701" && magic != "070702" {
		return Entry{}, fmt.Errorf("%q begins no entry", magic)
	}
	field := func(i int) (int64, error) {
		n, err := strconv.ParseUint(string(b[6+8*i:14+8*i]), 16, 32)
		return int64(n), err
	}
	mode, err1 := field(1)
	size, err2 := field(6)
	length, err3 := field(11)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Entry{}, err
	}
	if length < 1 || length > maxName {
		return Entry{}, fmt.Errorf("a name of %d bytes", length)
	}
	name := make([]byte, length)
	if _, err := io.ReadFull(r, name); err != nil {
		return Entry{}, err
	}
	text, _, _ := strings.Cut(string(name), "\x00")
	if text != trailer {
		text = strings.TrimPrefix(path.Clean("/"+text), "/")
	}
	return Entry{Path: text, Mode: modeOf(mode), Size: size}, discard(r, -(newcHeader+length)&3)
}

// discard passes over n bytes of padding.
func discard(r *bufio.Reader, n int64) error {
	_, err := r.Discard(int(n))
	if err == io.EOF { // nothing follows that it could pad
		return nil
	}
	return err
}

// modeOf returns the mode of stat(2) in Go's terms.
func modeOf(m int64) fs.FileMode {
	mode := fs.FileMode(m) & fs.ModePerm
	switch m & 0o170000 {
	case 0o100000:
	case 0o040000:
		mode |= fs.ModeDir
	case 0o120000:
		mode |= fs.ModeSymlink
	default:
		mode |= fs.ModeIrregular
	}
	return mode
}
