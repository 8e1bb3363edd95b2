package capture

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

// The superblock and the group descriptors of ext2, ext3 and ext4
// (Documentation/filesystems/ext4/super.rst and group_descr.rst; fs/ext4/ext4.h).
const (
	superAt   = 1024
	superSize = 1024

	stateClean = 1 // and no other bit: errors, orphans

	// What may stand in a file system whose bitmaps mean what they say: each feature is
	// named, so that one that comes later is not passed over.
	incompatKnown = 0x2 | // filetype
		0x40 | // extents
		has64Bit |
		0x200 | // flex_bg
		0x400 | // ea_inode
		hasCsumSeed |
		0x4000 | // large_dir
		0x8000 | // inline_data
		0x10000 | // encrypt
		0x20000 // casefold
	roKnown = 0x1 | // sparse_super
		0x2 | // large_file
		0x8 | // huge_file
		hasGdtCsum |
		0x20 | // dir_nlink
		0x40 | // extra_isize
		0x100 | // quota
		hasMetaCsum |
		0x1000 | // read-only
		0x2000 | // project
		0x8000 // verity

	needsRecovery = 0x4
	has64Bit      = 0x80
	hasCsumSeed   = 0x2000
	hasGdtCsum    = 0x10
	hasMetaCsum   = 0x400

	blockUninit = 0x2 // the bitmap was never written: only metadata is in use

	// maxGroups bounds the groups: 32768 TiB of them with blocks of 4 KiB would be more
	// than any disk has.
	maxGroups = 8 << 20
)

// ext is a file system that is being read.
type ext struct {
	part
	super    []byte
	block    int64 // size, in bytes
	first    int64 // number of the first block of the first group
	blocks   int64 // that there are
	perGroup int64
	desc     int64 // size of a descriptor
	groups   int64
	ro       uint32
	seed     uint32
	table    []byte // of all descriptors
}

// ext returns the free blocks of a file system, as its bitmaps have them.
func (p part) ext() ([]extent, error) {
	super, err := p.read(extent{superAt, superAt + superSize})
	if err != nil {
		return nil, err
	}
	x := &ext{part: p, super: super}
	if err := x.readSuper(); err != nil {
		return nil, err
	}
	start := (x.first + 1) * x.block
	if x.table, err = p.read(extent{start, start + x.groups*x.desc}); err != nil {
		return nil, err
	}
	for g := range x.groups {
		if err := x.checkDescriptor(g); err != nil {
			return nil, err
		}
	}
	used, err := x.metadata()
	if err != nil {
		return nil, err
	}
	free, err := x.bitmaps()
	if err != nil {
		return nil, err
	}
	var sure []extent
	for _, f := range free {
		sure = append(sure, without(f, used)...)
	}
	return union(sure), nil
}

func (x *ext) u16(at int) uint16 { return binary.LittleEndian.Uint16(x.super[at:]) }
func (x *ext) u32(at int) uint32 { return binary.LittleEndian.Uint32(x.super[at:]) }

// readSuper reads the superblock, and refuses all that would make the bitmaps mean
// something else, or stale.
func (x *ext) readSuper() error {
	incompat := x.u32(0x60)
	x.ro = x.u32(0x64)
	switch {
	case incompat&needsRecovery != 0:
		return whole("it was not unmounted: its journal is newer than its bitmaps")
	case x.u16(0x3a) != stateClean:
		return whole("it was not unmounted cleanly")
	case incompat&^uint32(incompatKnown) != 0 || x.ro&^uint32(roKnown) != 0:
		return whole("it has features that are not known here (incompat %#x, ro_compat %#x)", incompat, x.ro)
	case x.u32(0x18) > 6 || x.u32(0x18) != x.u32(0x1c):
		return whole("its blocks have 2^%d KiB, its clusters 2^%d", x.u32(0x18), x.u32(0x1c))
	}
	x.block = 1024 << x.u32(0x18)
	x.first, x.blocks, x.perGroup, x.desc = int64(x.u32(0x14)), int64(x.u32(0x04)), int64(x.u32(0x20)), 32
	if incompat&has64Bit != 0 {
		x.blocks |= int64(x.u32(0x150)) << 32
		x.desc = int64(x.u16(0xfe))
	}
	if x.desc != 32 && x.desc != 64 || x.perGroup < 8 || x.perGroup > 8*x.block || x.perGroup%8 != 0 ||
		x.first > 1 || x.blocks <= x.first || x.blocks > x.size/x.block {
		return whole("its superblock is damaged, or it is larger than the partition")
	}
	if x.groups = (x.blocks - x.first + x.perGroup - 1) / x.perGroup; x.groups > maxGroups {
		return whole("it has %d groups", x.groups)
	}
	x.seed = crc32c(^uint32(0), x.super[0x68:0x78])
	if incompat&hasCsumSeed != 0 {
		x.seed = x.u32(0x270)
	}
	if x.ro&hasMetaCsum != 0 && crc32c(^uint32(0), x.super[:0x3fc]) != x.u32(0x3fc) {
		return whole("the checksum of its superblock is wrong")
	}
	return nil
}

// crc32c is that of the kernel, which leaves out the last step.
func crc32c(sum uint32, data []byte) uint32 {
	return ^crc32.Update(^sum, crc32.MakeTable(crc32.Castagnoli), data)
}

// descriptor is that of one group.
type descriptor []byte

// wide joins the two halves of a number of a block.
func (d descriptor) wide(low, high int) int64 {
	n := int64(binary.LittleEndian.Uint32(d[low:]))
	if len(d) > high {
		n |= int64(binary.LittleEndian.Uint32(d[high:])) << 32
	}
	return n
}

func (d descriptor) blockBitmap() int64 { return d.wide(0x00, 0x20) }
func (d descriptor) inodeBitmap() int64 { return d.wide(0x04, 0x24) }
func (d descriptor) inodeTable() int64  { return d.wide(0x08, 0x28) }

// half joins the two halves of a number of 16 bits each.
func (d descriptor) half(low, high int) uint32 {
	n := uint32(binary.LittleEndian.Uint16(d[low:]))
	if len(d) > high {
		n |= uint32(binary.LittleEndian.Uint16(d[high:])) << 16
	}
	return n
}

func (d descriptor) free() int64       { return int64(d.half(0x0c, 0x2c)) }
func (d descriptor) bitmapSum() uint32 { return d.half(0x18, 0x38) }

func (x *ext) descriptor(g int64) descriptor { return x.table[g*x.desc : (g+1)*x.desc] }

// uninit tells whether a group's bitmap was never written.
func (x *ext) uninit(g int64) bool {
	return x.ro&(hasMetaCsum|hasGdtCsum) != 0 && binary.LittleEndian.Uint16(x.descriptor(g)[0x12:])&blockUninit != 0
}

// checkDescriptor checks a descriptor's sum, where it has one.
func (x *ext) checkDescriptor(g int64) error {
	if x.ro&hasMetaCsum == 0 {
		return nil
	}
	d := x.descriptor(g)
	sum := crc32c(x.seed, binary.LittleEndian.AppendUint32(nil, uint32(g)))
	sum = crc32c(crc32c(crc32c(sum, d[:0x1e]), []byte{0, 0}), d[0x20:])
	if uint16(sum) != binary.LittleEndian.Uint16(d[0x1e:]) {
		return whole("the checksum of its group %d is wrong", g)
	}
	return nil
}

// metadata lists what is in use whatever a bitmap says: in a group whose bitmap was never
// written, nothing else would tell. Every group is taken to have a copy of the superblock
// and of the descriptors.
func (x *ext) metadata() ([]extent, error) {
	inode := max(int64(x.u16(0x58)), 128)
	tables := (int64(x.u32(0x28))*inode + x.block - 1) / x.block
	copies := 1 + (x.groups*x.desc+x.block-1)/x.block + int64(x.u16(0xce))
	used := []extent{{0, (x.first + 1) * x.block}}
	for g := range x.groups {
		d, start := x.descriptor(g), x.first+g*x.perGroup
		for _, e := range []extent{
			{start, min(start+copies, x.blocks)}, {d.blockBitmap(), d.blockBitmap() + 1},
			{d.inodeBitmap(), d.inodeBitmap() + 1}, {d.inodeTable(), d.inodeTable() + tables},
		} {
			if e.start < x.first || e.end > x.blocks {
				return nil, whole("its group %d is damaged", g)
			}
			used = append(used, extent{e.start * x.block, e.end * x.block})
		}
	}
	return union(used), nil
}

// bitmaps returns what the groups' bitmaps call free, and checks them: by their sums where
// they have any, and by how many blocks they should say are free.
func (x *ext) bitmaps() ([]extent, error) {
	var where []extent
	for g := range x.groups {
		if !x.uninit(g) {
			at := x.descriptor(g).blockBitmap() * x.block
			where = append(where, extent{at, at + x.block})
		}
	}
	data, err := x.read(where...)
	if err != nil {
		return nil, err
	}
	var free []extent
	for g := range x.groups {
		start := x.first + g*x.perGroup
		n := min(x.perGroup, x.blocks-start)
		if x.uninit(g) {
			free = append(free, extent{start * x.block, (start + n) * x.block})
			continue
		}
		bitmap := data[:x.block]
		data = data[x.block:]
		if err := x.checkBitmap(g, bitmap, n); err != nil {
			return nil, err
		}
		for i := int64(0); i < n; {
			run := i
			for i < n && bitmap[i/8]>>(i%8)&1 == 0 {
				i++
			}
			if i > run {
				free = append(free, extent{(start + run) * x.block, (start + i) * x.block})
			}
			i++
		}
	}
	return free, nil
}

// checkBitmap checks the bitmap of a group with n blocks.
func (x *ext) checkBitmap(g int64, bitmap []byte, n int64) error {
	d := x.descriptor(g)
	if x.ro&hasMetaCsum != 0 {
		sum, want := crc32c(x.seed, bitmap[:x.perGroup/8]), d.bitmapSum()
		if x.desc == 32 {
			sum &= 0xffff
		}
		if sum != want {
			return whole("the checksum of the bitmap of its group %d is wrong", g)
		}
	}
	used := int64(0)
	for i := range n / 8 {
		used += int64(bits.OnesCount8(bitmap[i]))
	}
	for i := n / 8 * 8; i < n; i++ {
		used += int64(bitmap[i/8] >> (i % 8) & 1)
	}
	if n-used != d.free() {
		return whole("the bitmap of its group %d has %d free blocks, its descriptor %d", g, n-used, d.free())
	}
	return nil
}
