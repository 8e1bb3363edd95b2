package unsquash

import (
	"encoding/binary"
	"fmt"
	"io/fs"
)

// Types of inodes. Those from 8 on are the same with room for more.
const (
	typeDir     = 1
	typeReg     = 2
	typeLink    = 3
	typeLongDir = 8
	typeLongReg = 9
	typeLonkLnk = 10
)

// node is an inode.
type node struct {
	kind uint16
	perm uint16
	size int64
	// Of a folder: where its listing is, in the table of folders.
	start  uint32
	offset int
	// Of a file.
	blocksAt       uint64
	fragment       uint32
	fragmentOffset uint32
	// list is where the sizes of its blocks stand, which are read when they are
	// needed.
	list *meta
	// Of a link.
	target string
}

// file returns the inode by a name.
func (n node) file(name string) File {
	f := File{Name: name, Mode: fs.ModeIrregular, Size: n.size, Target: n.target, node: n}
	switch n.kind {
	case typeDir, typeLongDir:
		f.Mode = fs.ModeDir
	case typeReg, typeLongReg:
		f.Mode = 0
	case typeLink, typeLonkLnk:
		f.Mode = fs.ModeSymlink
	}
	f.Mode |= fs.FileMode(n.perm) & fs.ModePerm
	return f
}

// sizes is the list of the sizes of a file's blocks.
func (n node) sizes() *meta {
	if n.list == nil {
		return nil
	}
	m := *n.list
	return &m
}

// readNode reads the inode at a reference: the place of its block in the table, and
// its place in that.
func (s *FS) readNode(table int64, ref uint64) (node, error) {
	m := s.metaAt(table+int64(ref>>16&(1<<32-1)), int(ref&0xffff))
	head, err := m.bytes(16)
	if err != nil {
		return node{}, err
	}
	le := binary.LittleEndian
	n := node{kind: le.Uint16(head), perm: le.Uint16(head[2:])}
	switch n.kind {
	case typeDir, typeLongDir:
		err = n.readDir(m)
	case typeReg, typeLongReg:
		err = n.readReg(m)
	case typeLink, typeLonkLnk:
		err = n.readLink(m)
	}
	return n, err
}

func (n *node) readDir(m *meta) error {
	le := binary.LittleEndian
	if n.kind == typeDir {
		b, err := m.bytes(16)
		if err != nil {
			return err
		}
		n.start, n.size, n.offset = le.Uint32(b), int64(le.Uint16(b[8:])), int(le.Uint16(b[10:]))
		return nil
	}
	b, err := m.bytes(24)
	if err != nil {
		return err
	}
	n.size, n.start, n.offset = int64(le.Uint32(b[4:])), le.Uint32(b[8:]), int(le.Uint16(b[18:]))
	return nil
}

func (n *node) readReg(m *meta) error {
	le := binary.LittleEndian
	if n.kind == typeReg {
		b, err := m.bytes(16)
		if err != nil {
			return err
		}
		n.blocksAt, n.fragment, n.fragmentOffset, n.size = uint64(le.Uint32(b)), le.Uint32(b[4:]), le.Uint32(b[8:]), int64(le.Uint32(b[12:]))
	} else {
		b, err := m.bytes(40)
		if err != nil {
			return err
		}
		n.blocksAt, n.size = le.Uint64(b), int64(le.Uint64(b[8:]))
		n.fragment, n.fragmentOffset = le.Uint32(b[28:]), le.Uint32(b[32:])
	}
	if n.size < 0 || n.blocksAt > 1<<62 {
		return fmt.Errorf("%w: a file of %d bytes at %d", ErrMalformed, n.size, n.blocksAt)
	}
	list := *m
	n.list = &list
	return nil
}

func (n *node) readLink(m *meta) error {
	b, err := m.bytes(8)
	if err != nil {
		return err
	}
	size := binary.LittleEndian.Uint32(b[4:])
	if size > 65536 {
		return fmt.Errorf("%w: a link of %d bytes", ErrMalformed, size)
	}
	target, err := m.bytes(int(size))
	n.target = string(target)
	return err
}

// meta reads from metadata blocks that follow each other.
type meta struct {
	fs   *FS
	data []byte // what is left of the block
	next int64  // the one behind it
	skip int    // bytes of it to pass over
}

// metaAt returns a reader from a place in a block on.
func (s *FS) metaAt(block int64, offset int) *meta { return &meta{fs: s, next: block, skip: offset} }

// bytes returns the next n bytes.
func (m *meta) bytes(n int) ([]byte, error) {
	out := make([]byte, 0, min(n, metaSize))
	for len(out) < n || m.skip > 0 {
		if len(m.data) == 0 {
			b, err := m.fs.metaBlock(m.next)
			if err != nil {
				return nil, err
			}
			if m.skip > len(b.data) || len(b.data) == 0 {
				return nil, fmt.Errorf("%w: byte %d of a metadata block of %d", ErrMalformed, m.skip, len(b.data))
			}
			m.data, m.next, m.skip = b.data[m.skip:], b.next, 0
			continue
		}
		take := min(n-len(out), len(m.data))
		out = append(out, m.data[:take]...)
		m.data = m.data[take:]
	}
	return out, nil
}

// metaBlock reads a metadata block.
func (s *FS) metaBlock(at int64) (metaBlock, error) {
	if b, ok := s.meta[at]; ok {
		return b, nil
	}
	head, err := s.bytes(at, 2)
	if err != nil {
		return metaBlock{}, err
	}
	size := int64(binary.LittleEndian.Uint16(head))
	plain := size&plainMeta != 0
	size &^= plainMeta
	if size > metaSize {
		return metaBlock{}, fmt.Errorf("%w: a metadata block of %d bytes", ErrMalformed, size)
	}
	packed, err := s.bytes(at+2, size)
	if err != nil {
		return metaBlock{}, err
	}
	b := metaBlock{data: packed, next: at + 2 + size}
	if !plain {
		if b.data, err = s.unpack(packed, metaSize); err != nil {
			return metaBlock{}, fmt.Errorf("%w: metadata at %d: %w", ErrMalformed, at, err)
		}
	}
	if len(s.meta) >= maxCached {
		clear(s.meta)
	}
	s.meta[at] = b
	return b, nil
}

// bytes reads a place of the image.
func (s *FS) bytes(at, n int64) ([]byte, error) {
	if at < 0 || n < 0 || at > s.size-n {
		return nil, fmt.Errorf("%w: %d bytes at %d of %d", ErrMalformed, n, at, s.size)
	}
	b := make([]byte, n)
	if _, err := s.r.ReadAt(b, at); err != nil {
		return nil, err
	}
	return b, nil
}
