package isofs

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// record is a directory record (ECMA-119, section 9.1).
type record struct {
	at, size int64
	flags    byte
	name     string
	system   []byte // the system use area, in which Rock Ridge stands
}

// Flags of a record.
const (
	isDir       = 0x02
	isExtended  = 0x08 // its structure is described in an extended attribute record
	hasMore     = 0x80 // more extents of this file follow
	recordFixed = 33
)

// parseRecord reads a record, and tells how long it is.
func parseRecord(b []byte) (record, int, error) {
	if len(b) < recordFixed+1 || int(b[0]) > len(b) || int(b[0]) < recordFixed+1 {
		return record{}, 0, fmt.Errorf("%w: a directory record of %d bytes", ErrMalformed, len(b))
	}
	b = b[:b[0]]
	n := int(b[32])
	if recordFixed+n > len(b) {
		return record{}, 0, fmt.Errorf("%w: a name of %d bytes", ErrMalformed, n)
	}
	if b[26] != 0 || b[27] != 0 {
		return record{}, 0, fmt.Errorf("%w: an interleaved file", ErrMalformed)
	}
	r := record{
		// An extended attribute record comes before the file.
		at:   (int64(binary.LittleEndian.Uint32(b[2:])) + int64(b[1])) * block,
		size: int64(binary.LittleEndian.Uint32(b[10:])), flags: b[25],
		name: string(b[recordFixed : recordFixed+n]),
	}
	if rest := recordFixed + n + 1 - n%2; rest < len(b) {
		r.system = b[rest:]
	}
	return r, len(b), nil
}

// listing is a folder that is being read.
type listing struct {
	*Volume
	dir   File
	files []File
	more  bool // the last file has another extent
}

// add takes a record.
func (l *listing) add(r record) error {
	if r.name == "\x00" || r.name == "\x01" { // the folder itself and the one above it
		return nil
	}
	name := plainName(r.name)
	f := File{Mode: 0, Size: r.size, Offset: r.at}
	if r.flags&isDir != 0 {
		f.Mode = fs.ModeDir
	}
	if l.rock && len(r.system) > l.skip {
		x := rock{volume: l.Volume}
		if err := x.parse(r.system[l.skip:]); err != nil {
			return err
		}
		if x.moved { // it is listed where it belongs
			return nil
		}
		if err := x.apply(&f, &name); err != nil {
			return err
		}
	}
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return fmt.Errorf("%w: a file called %q", ErrMalformed, name)
	}
	f.Path = path.Join(l.dir.Path, name)
	if l.more {
		return l.extend(f, r.flags)
	}
	l.files = append(l.files, f)
	l.more = r.flags&hasMore != 0
	return nil
}

// extend adds an extent to the last file. It has to begin where the last one ends:
// that is how all writers do it, and the machine reads the file in one piece.
func (l *listing) extend(f File, flags byte) error {
	last := &l.files[len(l.files)-1]
	if f.Path != last.Path || f.Offset != last.Offset+last.Size || last.Mode != f.Mode {
		return fmt.Errorf("%w: %s lies in several pieces", ErrMalformed, last.Path)
	}
	last.Size += f.Size
	l.more = flags&hasMore != 0
	return nil
}

// plainName returns a name as Linux shows it where there is nothing better.
func plainName(s string) string {
	s, _, _ = strings.Cut(s, ";")
	return strings.ToLower(strings.TrimSuffix(s, "."))
}

// rock is what the Rock Ridge fields of an entry say (RRIP 1.12).
type rock struct {
	volume *Volume
	name   string
	mode   uint32 // as in stat(2); 0 is not known
	link   []string
	absent bool  // of a component that goes on
	child  int64 // the block of a folder that was moved away, or 0
	moved  bool
	packed bool // by zisofs
}

// parse reads fields, also where they go on elsewhere.
func (x *rock) parse(b []byte) error {
	for range maxContinued {
		next, err := x.fields(b)
		if next == nil || err != nil {
			return err
		}
		b = next
	}
	return fmt.Errorf("%w: fields that go on for ever", ErrMalformed)
}

// fields reads one area, and returns the next.
func (x *rock) fields(b []byte) (next []byte, err error) {
	for len(b) >= 4 {
		n := int(b[2])
		if n < 4 || n > len(b) {
			break // padding
		}
		body := b[4:n]
		switch sig := string(b[:2]); {
		case sig == "CE" && len(body) >= 24:
			le := binary.LittleEndian
			next, err = x.volume.read(int64(le.Uint32(body))*block+int64(le.Uint32(body[8:])), int64(le.Uint32(body[16:])))
			if err != nil {
				return nil, err
			}
		case sig == "ST":
			return next, nil
		case sig == "NM" && len(body) >= 1 && body[0]&6 == 0:
			x.name += string(body[1:])
		case sig == "PX" && len(body) >= 8:
			x.mode = binary.LittleEndian.Uint32(body)
		case sig == "SL" && len(body) >= 1:
			x.components(body[1:])
		case sig == "CL" && len(body) >= 8:
			x.child = int64(binary.LittleEndian.Uint32(body))
		case sig == "RE":
			x.moved = true
		case sig == "ZF":
			x.packed = true
		}
		b = b[n:]
	}
	return next, nil
}

// components reads a part of a symbolic link's target (RRIP 1.12, section 4.1.3).
func (x *rock) components(b []byte) {
	for len(b) >= 2 && int(b[1])+2 <= len(b) {
		flags, text := b[0], string(b[2:2+b[1]])
		switch {
		case flags&2 != 0:
			text = "."
		case flags&4 != 0:
			text = ".."
		case flags&8 != 0:
			text = "" // the root: what is joined begins with a slash
		}
		if x.absent && len(x.link) > 0 {
			x.link[len(x.link)-1] += text
		} else {
			x.link = append(x.link, text)
		}
		x.absent = flags&1 != 0
		b = b[2+b[1]:]
	}
}

// Types of a file in stat(2).
const (
	typeMask = 0o170000
	typeDir  = 0o040000
	typeReg  = 0o100000
	typeLink = 0o120000
)

// apply makes of a file what the fields say.
func (x *rock) apply(f *File, name *string) error {
	if x.name != "" {
		*name = x.name
	}
	switch x.mode & typeMask {
	case 0, typeReg, typeDir:
	case typeLink:
		f.Mode, f.Target, f.Size = fs.ModeSymlink, strings.Join(x.link, "/"), 0
		if f.Target == "" && len(x.link) > 0 {
			f.Target = "/"
		}
	default:
		f.Mode = fs.ModeIrregular
	}
	if x.packed {
		f.Mode = fs.ModeIrregular // its bytes are not what lies there
	}
	if x.child == 0 {
		return nil
	}
	b, err := x.volume.read(x.child*block, block)
	if err != nil {
		return err
	}
	self, _, err := parseRecord(b)
	if err != nil {
		return err
	}
	f.Mode, f.Offset, f.Size = fs.ModeDir, self.at, self.size
	return nil
}
