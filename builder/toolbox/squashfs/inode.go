package squashfs

import (
	"io/fs"
	"math"
)

// number numbers the inodes, in the order in which they are written: from 1 on,
// and folders after what is in them.
func (im *image) number(n *node) {
	if n.number != 0 {
		return
	}
	for _, c := range n.children {
		im.number(c.inode())
	}
	im.count++
	n.number = im.count
}

// inode returns the node that has the inode of this name.
func (n *node) inode() *node {
	if n.same != nil {
		return n.same
	}
	return n
}

// writeInode writes the inode of n, after those of all below it, since a folder
// refers to what is in it by place. parent is the number of the folder's inode.
func (im *image) writeInode(n *node, parent uint32) {
	if n.written {
		return
	}
	n.written = true
	switch n.Mode.Type() {
	case fs.ModeDir:
		im.folder(n, parent)
	case fs.ModeSymlink:
		im.add(n, im.head(n, typeSymlink).u32(1).u32(uint32(len(n.Target))).text(n.Target))
	default:
		im.file(n)
	}
}

// add writes an inode.
func (im *image) add(n *node, r record) {
	at := im.inodes.here()
	n.ref = inodeRef(uint64(at.block)<<16 | uint64(at.offset))
	im.inodes.Write(r)
}

// head begins an inode.
func (im *image) head(n *node, kind int) record {
	return record{}.u16(kind).u16(permissions(n.Mode)).u16(0).u16(0).u32(im.time()).u32(n.number)
}

// file writes the inode of a regular file.
func (im *image) file(n *node) {
	c := n.data
	if n.equal != nil {
		c = n.equal.data
	}
	var r record
	if n.names == 1 && c.start <= 1<<32-1 {
		r = im.head(n, typeFile).u32(uint32(c.start)).u32(c.fragment).u32(c.offset).u32(uint32(n.Size))
	} else {
		r = im.head(n, typeLinked).u64(c.start).u64(uint64(n.Size)).u64(0).u32(uint32(n.names)).u32(c.fragment).u32(c.offset).u32(noXattr)
	}
	for _, size := range c.sizes {
		r = r.u32(size)
	}
	im.add(n, r)
}

// folder writes what is in a folder, and then the folder's inode.
func (im *image) folder(n *node, parent uint32) {
	links := uint32(2)
	for _, c := range n.children {
		if c.Mode.IsDir() {
			links++
		}
		im.writeInode(c.inode(), n.number)
	}
	l := im.list(n)
	size := uint32(l.size) + 3 // the format's: "." and ".." count as three bytes
	if len(l.index) == 0 && size < 1<<16 {
		im.add(n, im.head(n, typeDir).u32(l.at.block).u32(links).u16(int(size)).u16(int(l.at.offset)).u32(parent))
		return
	}
	r := im.head(n, typeLongDir).u32(links).u32(size).u32(l.at.block).u32(parent).u16(len(l.index)).u16(int(l.at.offset)).u32(noXattr)
	for _, i := range l.index {
		r = r.u32(uint32(i.offset)).u32(i.block).u32(uint32(len(i.name) - 1)).text(i.name)
	}
	im.add(n, r)
}

// listing is where the content of a folder lies in the table of folders.
type listing struct {
	at    place
	size  int
	index []indexEntry
}

// indexEntry is a place to start from when a name is sought in a folder of more
// than one block: the first header behind the start of a block.
type indexEntry struct {
	offset int    // in the listing
	block  uint32 // of the table of folders
	name   string // the first behind the header
}

// maxRun is how many entries may follow one header (SQUASHFS_DIR_COUNT).
const maxRun = 256

// list writes what is in a folder: runs of entries whose inodes lie in the same
// block of the table and have numbers close to each other.
func (im *image) list(n *node) listing {
	l := listing{at: im.dirs.here()}
	block := l.at.block
	for rest := n.children; len(rest) > 0; {
		if here := im.dirs.here(); here.block != block {
			block = here.block
			l.index = append(l.index, indexEntry{l.size, block, rest[0].name})
		}
		run, first := runOf(rest), rest[0].inode()
		r := record{}.u32(uint32(run - 1)).u32(first.ref.block()).u32(first.number)
		for _, c := range rest[:run] {
			t := c.inode()
			r = r.u16(int(t.ref & 0xffff)).u16(int(t.number) - int(first.number)).u16(kindOf(t)).u16(len(c.name) - 1).text(c.name)
		}
		im.dirs.Write(r)
		l.size += len(r)
		rest = rest[run:]
	}
	return l
}

// runOf tells how many of the nodes can follow one header.
func runOf(nodes []*node) int {
	first := nodes[0].inode()
	for i, n := range nodes[:min(len(nodes), maxRun)] {
		t := n.inode()
		away := int(t.number) - int(first.number)
		if t.ref.block() != first.ref.block() || away < math.MinInt16 || away > math.MaxInt16 {
			return i
		}
	}
	return min(len(nodes), maxRun)
}

// kindOf returns the type that a folder tells of an inode.
func kindOf(n *node) int {
	switch n.Mode.Type() {
	case fs.ModeDir:
		return typeDir
	case fs.ModeSymlink:
		return typeSymlink
	}
	return typeFile
}
