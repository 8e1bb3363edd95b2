package fat

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strings"
	"unicode/utf16"
)

// entrySize is what an entry of a directory takes, in bytes.
const entrySize = 32

// Attributes of an entry, and the one that marks a piece of a long name.
const (
	isVolume = 0x08
	isFolder = 0x10
	isLong   = 0x0f
)

// entry is a file or a folder.
type entry struct {
	folder  bool
	cluster uint32 // 0 is the root directory of FAT12 and FAT16, or an empty file
	size    int64
}

// find looks for a name in the directory that begins at a cluster.
func (v *volume) find(directory uint32, name string) (entry, error) {
	data, err := v.directory(directory)
	if err != nil {
		return entry{}, err
	}
	long := longName{}
	for ; len(data) >= entrySize && data[0] != 0; data = data[entrySize:] {
		e := data[:entrySize]
		switch {
		case e[0] == 0xe5: // deleted
			long = longName{}
			continue
		case e[11]&0x3f == isLong:
			long.add(e)
			continue
		case e[11]&isVolume == 0 && (strings.EqualFold(long.of(e), name) || strings.EqualFold(shortName(e), name)):
			high := uint32(binary.LittleEndian.Uint16(e[20:]))
			if v.bits < 32 {
				high = 0
			}
			return entry{
				folder:  e[11]&isFolder != 0,
				cluster: high<<16 | uint32(binary.LittleEndian.Uint16(e[26:])),
				size:    int64(binary.LittleEndian.Uint32(e[28:])),
			}, nil
		}
		long = longName{}
	}
	return entry{}, fs.ErrNotExist
}

// directory returns a directory's entries.
func (v *volume) directory(cluster uint32) ([]byte, error) {
	if cluster != 0 {
		return v.chain(cluster, maxDirectory)
	}
	if v.bits == 32 {
		return nil, fmt.Errorf("%w: a folder without a cluster", ErrMalformed)
	}
	data := make([]byte, v.rootLen)
	return data, readAt(v.r, data, v.root)
}

// shortName returns the name of 8 and 3 characters.
func shortName(e []byte) string {
	name, extension := strings.TrimRight(string(e[:8]), " "), strings.TrimRight(string(e[8:11]), " ")
	if extension != "" {
		name += "." + extension
	}
	return name
}

// longName collects the pieces of a long name, the last of which comes first.
type longName struct {
	units []uint16
	left  byte // pieces to come
	sum   byte // of the short name that they belong to
}

// add takes one piece.
func (n *longName) add(e []byte) {
	order := e[0]
	if order&0x40 != 0 { // the last piece
		*n = longName{left: order & 0x3f, sum: e[13]}
	} else if order != n.left || e[13] != n.sum {
		*n = longName{}
	}
	if n.left == 0 || n.left > 20 {
		*n = longName{}
		return
	}
	n.left--
	var piece []uint16
	for _, part := range [][]byte{e[1:11], e[14:26], e[28:32]} {
		for ; len(part) > 0; part = part[2:] {
			piece = append(piece, binary.LittleEndian.Uint16(part))
		}
	}
	n.units = append(piece, n.units...)
}

// of returns the long name of the entry that follows its pieces, or "".
func (n *longName) of(e []byte) string {
	var sum byte
	for _, c := range e[:11] {
		sum = sum>>1 | sum<<7
		sum += c
	}
	if n.left != 0 || sum != n.sum {
		return ""
	}
	for i, unit := range n.units {
		if unit == 0 {
			return string(utf16.Decode(n.units[:i]))
		}
	}
	return string(utf16.Decode(n.units))
}
