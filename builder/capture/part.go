package capture

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// part is a partition.
type part struct {
	disk        *Disk
	start, size int64
}

// read reads extents, counted from the partition's start.
func (p part) read(extents ...extent) ([]byte, error) {
	moved := make([]extent, len(extents))
	for i, e := range extents {
		if e.end > p.size {
			return nil, whole("it names byte %d of %d", e.end, p.size)
		}
		moved[i] = extent{p.start + e.start, p.start + e.end}
	}
	return p.disk.read(moved...)
}

// minPart is the least size, in bytes, of a partition that is looked into: where the last
// of the marks stands.
const minPart = 256 << 10

// marks are what formats begin with. All of them are looked at: what was on a disk before
// may have left one behind, and must not be believed.
var marks = []struct {
	offset      int
	magic, kind string
}{
	{1024 + 0x38, "\x53\xef", "ext4"},                           // fs/ext4/ext4.h; ext2 and ext3 as well
	{4096 - 10, "SWAPSPACE2", "swap"},                           // include/linux/swap.h
	{0, "XFSB", "xfs"},                                          // fs/xfs/libxfs/xfs_format.h
	{65536 + 64, "_BHRfS_M", "btrfs"},                           // fs/btrfs/ctree.h
	{0, "LUKS\xba\xbe", "LUKS"},                                 // LUKS2 on-disk format, section 2.1
	{0, "\xfc\x4e\x2b\xa9", "RAID"},                             // include/uapi/linux/raid/md_p.h; 1.1
	{4096, "\xfc\x4e\x2b\xa9", "RAID"},                          // 1.2
	{0, "LABELONE", "LVM"},                                      // lib/label/label.h of lvm2, in one of four sectors
	{512, "LABELONE", "LVM"},                                    //
	{1024, "LABELONE", "LVM"},                                   //
	{1536, "LABELONE", "LVM"},                                   //
	{3, "NTFS    ", "ntfs"},                                     // libntfs layout.h
	{82, "FAT32   ", "vfat"},                                    // Microsoft, FAT specification, section 3
	{54, "FAT16   ", "vfat"},                                    //
	{3, "EXFAT   ", "exfat"},                                    // Microsoft, exFAT specification, section 3.1
	{32769, "CD001", "iso9660"},                                 // ECMA-119, section 8
	{131072, "\x0c\xb1\xba\x00", "zfs"},                         // OpenZFS uberblock_impl.h, the first of 128
	{4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "bcachefs"}, // fs/bcachefs/bcachefs_format.h
	{0x400, "\x10\x20\xf5\xf2", "f2fs"},                         // include/linux/f2fs_fs.h
}

// kinds lists what a partition has the marks of.
func (p part) kinds() ([]string, error) {
	data, err := p.read(extent{0, minPart})
	if err != nil {
		return nil, err
	}
	var found []string
	for _, m := range marks {
		if bytes.HasPrefix(data[m.offset:], []byte(m.magic)) && !slices.Contains(found, m.kind) {
			found = append(found, m.kind)
		}
	}
	return found, nil
}

// swapPage is the size of a page of swap space on the machines that farboot boots.
const swapPage = 4096

// swap returns what swap space has behind its header: nothing that outlives a shutdown. A
// system that sleeps there has another mark.
func (p part) swap() ([]extent, error) {
	head, err := p.read(extent{0, swapPage})
	if err != nil {
		return nil, err
	}
	version, last := binary.LittleEndian.Uint32(head[1024:]), binary.LittleEndian.Uint32(head[1028:])
	end := (int64(last) + 1) * swapPage
	if version != 1 || end <= swapPage || end > p.size {
		return nil, whole("swap of version %d with %d bytes", version, end)
	}
	return []extent{{swapPage, end}}, nil
}

// union sorts extents, and joins those that meet.
func union(all []extent) []extent {
	slices.SortFunc(all, func(a, b extent) int { return int(min(max(a.start-b.start, -1), 1)) })
	var joined []extent
	for _, e := range all {
		if n := len(joined); n > 0 && e.start <= joined[n-1].end {
			joined[n-1].end = max(joined[n-1].end, e.end)
		} else if e.start < e.end {
			joined = append(joined, e)
		}
	}
	return joined
}

// without returns what of whole is in none of cuts, which are sorted and apart.
func without(whole extent, cuts []extent) []extent {
	var left []extent
	at := whole.start
	for _, c := range cuts {
		if c.end <= at || c.start >= whole.end {
			continue
		}
		if c.start > at {
			left = append(left, extent{at, c.start})
		}
		at = c.end
	}
	if at < whole.end {
		left = append(left, extent{at, whole.end})
	}
	return left
}
