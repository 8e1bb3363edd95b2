package squashfs

import (
	"io/fs"
	"math/bits"
	"os"

	"github.com/klauspost/compress/zstd"
)

// Of the superblock (struct squashfs_super_block).
const (
	superblockSize = 96
	magic          = 0x73717368 // "hsqs"
	zstdID         = 6
	majorVersion   = 4
	flagDuplicates = 1 << 6
	flagNoXattrs   = 1 << 9
	absent         = 1<<64 - 1
	// padding is what the file's length is a multiple of, in bytes: the kernel
	// reads whole blocks of the device.
	padding = 4 << 10
)

// Types of inodes.
const (
	typeDir     = 1
	typeFile    = 2
	typeSymlink = 3
	typeLongDir = 8 // with an index
	typeLinked  = 9 // a file with several names
)

// noXattr says that an inode has no extended attributes.
const noXattr = 1<<32 - 1

// inodeRef is the place of an inode: the block's start in the upper 48 bits, the
// offset in the block in the lower 16.
type inodeRef uint64

// block returns the start of the block.
func (r inodeRef) block() uint32 { return uint32(r >> 16) }

// image is a file system in the making.
type image struct {
	Options
	out     *os.File // all behind the superblock
	at      uint64   // how long the file system is by now
	encoder *zstd.Encoder

	fragments []*fragment
	inodes    metadata
	dirs      metadata
	count     uint32 // of inodes
	root      inodeRef
	// Where the tables start.
	inodeTable, dirTable, fragmentTable, idTable uint64
	used                                         uint64 // bytes, without padding
}

// append adds data to the image.
func (im *image) append(data []byte) error {
	n, err := im.out.Write(data)
	im.at += uint64(n)
	return err
}

// write writes all but the superblock.
func (im *image) write(root *node) (err error) {
	if im.encoder, err = newEncoder(); err != nil {
		return err
	}
	defer im.encoder.Close()
	press := newPress(im)
	err = im.files(press, root)
	if failed := press.finish(); failed != nil {
		err = failed
	}
	if err != nil {
		return err
	}
	im.inodes.pack, im.dirs.pack = im.pack, im.pack
	im.number(root)
	im.writeInode(root, im.count+1) // which is what mksquashfs says of a root's parent
	im.root = root.ref
	return im.tables()
}

// pack compresses a block of metadata.
func (im *image) pack(data []byte) []byte { return im.encoder.EncodeAll(data, nil) }

// identity is by what equal files are recognised.
type identity struct {
	size int64
	hash [32]byte
}

// files stores the content of all files, in the order of their paths, and equal
// ones once.
func (im *image) files(p *press, root *node) error {
	var all []*node
	sizes := map[int64]int{}
	each(root, func(n *node) {
		if n.Mode.IsRegular() && n.same == nil {
			all = append(all, n)
			sizes[n.Size]++
		}
	})
	first := map[identity]*node{}
	for _, n := range all {
		if sizes[n.Size] > 1 && n.Size > 0 {
			sum, err := n.hash()
			if err != nil {
				return err
			}
			id := identity{n.Size, sum}
			if n.equal = first[id]; n.equal != nil {
				continue
			}
			first[id] = n
		}
		if err := p.file(n); err != nil {
			return err
		}
	}
	return nil
}

// each calls visit for a node and all below it, folders before what is in them.
func each(n *node, visit func(*node)) {
	visit(n)
	for _, c := range n.children {
		each(c, visit)
	}
}

// tables writes the tables, in the order that mksquashfs keeps.
func (im *image) tables() error {
	im.inodeTable = im.at
	if err := im.append(im.inodes.bytes()); err != nil {
		return err
	}
	im.dirTable = im.at
	if err := im.append(im.dirs.bytes()); err != nil {
		return err
	}
	var fragments record
	for _, f := range im.fragments {
		fragments = fragments.u64(f.start).u32(f.size).u32(0)
	}
	var err error
	if im.fragmentTable, err = im.lookup(fragments); err != nil {
		return err
	}
	if im.idTable, err = im.lookup(record{}.u32(0)); err != nil { // root's, the only one
		return err
	}
	im.used = im.at
	return im.append(make([]byte, (padding-im.at%padding)%padding))
}

// lookup writes a table that is read by number: blocks of metadata, and behind
// them where each is, which is what the superblock refers to.
func (im *image) lookup(data record) (uint64, error) {
	m := metadata{pack: im.pack}
	m.Write(data)
	blocks := m.bytes()
	var index record
	for _, start := range m.starts {
		index = index.u64(im.at + uint64(start))
	}
	at := im.at + uint64(len(blocks))
	return at, im.append(append(blocks, index...))
}

// superblock is the head of the file system.
func (im *image) superblock() []byte {
	return record{}.u32(magic).u32(im.count).u32(im.time()).u32(uint32(im.Block)).u32(uint32(len(im.fragments))).
		u16(zstdID).u16(bits.TrailingZeros(uint(im.Block))).u16(flagDuplicates | flagNoXattrs).u16(1).u16(majorVersion).u16(0).
		u64(uint64(im.root)).u64(im.used).u64(im.idTable).u64(absent).u64(im.inodeTable).u64(im.dirTable).u64(im.fragmentTable).u64(absent)
}

// time is the time of all files: seconds since 1970.
func (im *image) time() uint32 { return uint32(im.Epoch.Unix()) }

// permissions returns the bits that an inode has.
func permissions(m fs.FileMode) int {
	bits := int(m.Perm())
	if m&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}
