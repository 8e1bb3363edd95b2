// Package isofs reads ISO 9660 file systems with Rock Ridge, as live systems come on.
//
// [Open] takes an image, [Volume.Find] follows a path as Linux would, and
// [File.Offset] tells where its bytes lie. Files of more than 4 GiB, in several
// extents that follow each other, symbolic links and relocated folders are read. What
// cannot be read right is an error that wraps [ErrMalformed]: nothing that an image
// says of itself leads outside of it, or round in circles.
//
// Where there is no Rock Ridge, names are in lower case without their version
// (";1"). Joliet, UDF, zisofs and files in pieces are not read. Package
// builder/medium/iso9660 writes the format.
package isofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

var (
	// ErrMalformed says that an image contradicts itself or the format.
	ErrMalformed = errors.New("not an ISO 9660 image that can be read")
	// ErrLink says that a symbolic link leads nowhere or in a circle.
	ErrLink = errors.New("symbolic links that lead nowhere")
)

const (
	// block is the logical block of every ISO that is a CD or pretends to be
	// (ECMA-119, section 6.2.2 allows others).
	block = 2048
	// maxDir bounds a folder, in bytes. A mirror of Debian has 4 MiB in one.
	maxDir = 16 << 20
	// maxLinks is how many symbolic links may lead to a file (MAXSYMLINKS of Linux).
	maxLinks = 40
	// maxContinued bounds the areas in which an entry's Rock Ridge fields go on.
	maxContinued = 32
)

// Volume is an image.
type Volume struct {
	// Label is its name, which systems look for.
	Label string

	r    io.ReaderAt
	size int64
	root File
	rock bool
	skip int // bytes before the Rock Ridge fields of each entry
}

// File is a file, a folder or a link of an image.
type File struct {
	// Path is absolute and clean.
	Path string
	// Mode has the type: regular, folder, link or another.
	Mode fs.FileMode
	// Size and Offset are of its bytes, which lie in one piece.
	Size, Offset int64
	// Target is what a symbolic link holds.
	Target string
}

// Open reads the descriptors of an image of size bytes (ECMA-119, section 8).
func Open(r io.ReaderAt, size int64) (*Volume, error) {
	v := &Volume{r: r, size: size}
	for sector := int64(16); sector < 16+64; sector++ {
		b, err := v.read(sector*block, block)
		if err != nil {
			return nil, err
		}
		if string(b[1:6]) != "CD001" || b[0] == 255 {
			break
		}
		if b[0] == 1 {
			return v, v.primary(b)
		}
	}
	return nil, fmt.Errorf("%w: no primary volume descriptor", ErrMalformed)
}

// primary reads the primary volume descriptor (section 8.4).
func (v *Volume) primary(b []byte) error {
	if n := binary.LittleEndian.Uint16(b[128:]); n != block {
		return fmt.Errorf("%w: blocks of %d bytes", ErrMalformed, n)
	}
	v.Label = strings.TrimRight(string(b[40:72]), " \x00")
	rec, _, err := parseRecord(b[156:190])
	if err != nil {
		return err
	}
	v.root = File{Path: "/", Mode: fs.ModeDir, Size: rec.size, Offset: rec.at}
	return v.suspects()
}

// suspects looks for Rock Ridge in the first entry of the root (SUSP, section 5.3).
func (v *Volume) suspects() error {
	b, err := v.read(v.root.Offset, block)
	if err != nil {
		return err
	}
	rec, _, err := parseRecord(b)
	if err != nil {
		return err
	}
	if len(rec.system) >= 7 && string(rec.system[:4]) == "SP\x07\x01" && rec.system[4] == 0xbe && rec.system[5] == 0xef {
		v.rock, v.skip = true, int(rec.system[6])
	}
	return nil
}

// read reads n bytes at a place that the image names.
func (v *Volume) read(at, n int64) ([]byte, error) {
	if at < 0 || n < 0 || n > maxDir || at > v.size-n {
		return nil, fmt.Errorf("%w: %d bytes at %d of %d", ErrMalformed, n, at, v.size)
	}
	b := make([]byte, n)
	if _, err := v.r.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b, nil
}

// List returns what lies in a folder, in the image's order.
func (v *Volume) List(dir string) ([]File, error) {
	f, err := v.Find(dir)
	if err != nil {
		return nil, err
	}
	return v.list(f)
}

func (v *Volume) list(dir File) ([]File, error) {
	if !dir.Mode.IsDir() {
		return nil, &fs.PathError{Op: "list", Path: dir.Path, Err: errors.New("not a folder")}
	}
	data, err := v.read(dir.Offset, dir.Size)
	if err != nil {
		return nil, err
	}
	l := listing{Volume: v, dir: dir}
	for at := 0; at < len(data); {
		if data[at] == 0 { // no entry crosses the end of a block
			at = (at/block + 1) * block
			continue
		}
		rec, n, err := parseRecord(data[at:])
		if err == nil {
			err = l.add(rec)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir.Path, err)
		}
		at += n
	}
	if l.more {
		return nil, fmt.Errorf("%w: %s: the last extent is missing", ErrMalformed, dir.Path)
	}
	return l.files, nil
}

// Find returns the file at name, which is absolute, through symbolic links. What is
// not there is an error that wraps [fs.ErrNotExist]. Case does not matter where only
// one file is meant: configuration files are made for readers that have none.
func (v *Volume) Find(name string) (File, error) {
	at, rest, links := v.root, strings.Trim(path.Clean("/"+name), "/"), 0
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next, err := v.child(at, part)
		if err != nil {
			return File{}, &fs.PathError{Op: "find", Path: name, Err: err}
		}
		if next.Mode&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return File{}, fmt.Errorf("%s: %w", name, ErrLink)
		}
		target := next.Target
		if !path.IsAbs(target) {
			target = path.Join(at.Path, target)
		}
		at, rest = v.root, strings.Trim(path.Join("/", target, rest), "/")
	}
	return at, nil
}

// child returns what is called name in a folder.
func (v *Volume) child(dir File, name string) (File, error) {
	files, err := v.list(dir)
	if err != nil {
		return File{}, err
	}
	var found []File
	for _, f := range files {
		base := path.Base(f.Path)
		if base == name {
			return f, nil
		}
		if strings.EqualFold(base, name) {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		return File{}, fs.ErrNotExist
	}
	return found[0], nil
}

// Open returns a reader of a regular file.
func (v *Volume) Open(f File) (*io.SectionReader, error) {
	if !f.Mode.IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: f.Path, Err: errors.New("not a regular file")}
	}
	if f.Offset < 0 || f.Size < 0 || f.Offset > v.size-f.Size {
		return nil, fmt.Errorf("%w: %s: %d bytes at %d of %d", ErrMalformed, f.Path, f.Size, f.Offset, v.size)
	}
	return io.NewSectionReader(v.r, f.Offset, f.Size), nil
}

// ReadFile returns what a file of at most max bytes holds.
func (v *Volume) ReadFile(name string, max int64) ([]byte, error) {
	f, err := v.Find(name)
	if err != nil {
		return nil, err
	}
	r, err := v.Open(f)
	if err != nil {
		return nil, err
	}
	if f.Size > max {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", f.Path, f.Size, max)
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(r)
	return b.Bytes(), err
}
