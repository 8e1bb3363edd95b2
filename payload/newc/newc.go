// Package newc reads and writes cpio archives of the kind that a Linux kernel
// unpacks as its initramfs: "newc", or 070701 as cpio(5) and the kernel's
// Documentation/driver-api/early-userspace/buffer-format.rst have it.
//
// [Write] writes an archive, whose [Size] is known before, and [Read] reads one. They
// promise that names are clean and relative, that no file is larger than it says, and
// that the memory needed does not depend on what an archive says of itself.
//
// They know files, folders and links. What an archive says of owners, times, devices
// and hard links is passed over; archives are not compressed here.
package newc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strconv"
)

// ErrMalformed is wrapped by the errors of [Read] about an archive's content.
var ErrMalformed = errors.New("malformed cpio archive")

const (
	magic   = "070701"
	trailer = "TRAILER!!!"
	header  = 110  // bytes: the magic and 13 numbers of 8 digits
	maxName = 4096 // PATH_MAX of Linux
	align   = 4    // of names and contents
)

// The kinds of file, as stat(2) has them.
const (
	Regular = 0o100000
	Dir     = 0o040000
	Symlink = 0o120000
	kinds   = 0o170000
)

// File is one entry.
type File struct {
	// Name is relative, without "." and "..": "lib/modules".
	Name string
	// Mode has the kind and the permissions.
	Mode uint32
	// Size is the content's, in bytes; that of a link is its target.
	Size int64
	// Content is read by [Write] to Size bytes; nil is none.
	Content io.Reader
}

// Size is how many bytes [Write] writes.
func Size(files []File) int64 {
	n := entrySize(trailer, 0)
	for _, f := range files {
		n += entrySize(f.Name, f.Size)
	}
	return n
}

// entrySize is the room of one entry.
func entrySize(name string, size int64) int64 {
	return padded(header+int64(len(name))+1) + padded(size)
}

// padded is n with what is needed to align what follows.
func padded(n int64) int64 { return (n + align - 1) / align * align }

// Write writes an archive of files. A folder must stand before what is in it.
func Write(w io.Writer, files []File) error {
	for i, f := range files {
		if !fs.ValidPath(f.Name) || f.Name == "." || len(f.Name) >= maxName || f.Size < 0 || f.Size > 1<<32-1 {
			return fmt.Errorf("cpio: %q of %d bytes cannot be", f.Name, f.Size)
		}
		if err := writeEntry(w, i+1, f); err != nil {
			return fmt.Errorf("cpio: %s: %w", f.Name, err)
		}
	}
	return writeEntry(w, 0, File{Name: trailer})
}

// writeEntry writes one entry. Numbers of inodes make the files no links of each other.
func writeEntry(w io.Writer, inode int, f File) error {
	head := []byte(magic)
	for _, n := range []int64{
		int64(inode), int64(f.Mode), 0, 0, 1, 0, f.Size, 0, 0, 0, 0, int64(len(f.Name)) + 1, 0,
	} {
		head = fmt.Appendf(head, "%08X", n)
	}
	head = append(append(head, f.Name...), 0)
	head = append(head, make([]byte, padded(int64(len(head)))-int64(len(head)))...)
	if _, err := w.Write(head); err != nil {
		return err
	}
	if f.Size == 0 {
		return nil
	}
	if _, err := io.CopyN(w, f.Content, f.Size); err != nil {
		return err
	}
	_, err := w.Write(make([]byte, padded(f.Size)-f.Size))
	return err
}

// Read reads the first archive of r and calls visit for each entry, whose Content
// ends with the call. It ends with visit's first error.
func Read(r io.Reader, visit func(File) error) error {
	for {
		f, err := readEntry(r)
		if err != nil {
			return err
		}
		if f.Name == trailer {
			return nil
		}
		f.Name = path.Clean(f.Name)
		if !fs.ValidPath(f.Name) {
			return fmt.Errorf("%w: name %.100q", ErrMalformed, f.Name)
		}
		body := &io.LimitedReader{R: r, N: f.Size}
		f.Content = body
		if err := visit(f); err != nil {
			return err
		}
		if err := skip(r, body.N+padded(f.Size)-f.Size); err != nil {
			return err
		}
	}
}

// readEntry reads the head of an entry and its name.
func readEntry(r io.Reader) (f File, err error) {
	var head [header]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, torn(err)
	}
	if string(head[:6]) != magic {
		return f, fmt.Errorf("%w: an entry begins with %q", ErrMalformed, head[:6])
	}
	var n [13]int64
	for i := range n {
		v, err := strconv.ParseUint(string(head[6+8*i:14+8*i]), 16, 32)
		if err != nil {
			return f, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		n[i] = int64(v)
	}
	f.Mode, f.Size = uint32(n[1]), n[6]
	if n[11] < 2 || n[11] > maxName {
		return f, fmt.Errorf("%w: a name of %d bytes", ErrMalformed, n[11])
	}
	name := make([]byte, padded(header+n[11])-header)
	if _, err := io.ReadFull(r, name); err != nil {
		return f, torn(err)
	}
	if name[n[11]-1] != 0 {
		return f, fmt.Errorf("%w: a name without an end", ErrMalformed)
	}
	f.Name = string(name[:n[11]-1])
	return f, nil
}

// skip passes over n bytes.
func skip(r io.Reader, n int64) error {
	if _, err := io.CopyN(io.Discard, r, n); err != nil {
		return torn(err)
	}
	return nil
}

// torn says that an archive ends where it should not. Other errors are the reader's.
func torn(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early", ErrMalformed)
	}
	return err
}

// IsRegular tells whether an entry is a file, and no folder, link or device.
func (f File) IsRegular() bool { return f.Mode&kinds == Regular }
