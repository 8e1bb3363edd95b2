package local

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/farboot/farboot/payload/fat"
)

// filesystem is what the first bytes of a partition show.
type filesystem struct {
	kind string // as blkid calls it; "" is nothing that matters here
	uuid string
	// driver is the module that reads it, options its mount options; both are
	// empty for what is seen and not handled.
	driver, options string
	// label and fault are known of FAT and ext. fault says why it is not to be
	// written to; "" is nothing. replays says that all it takes is its journal.
	label, fault string
	replays      bool
}

// probeSize is how much of a partition is read, in bytes: btrfs has its
// superblock at 64 KiB.
const probeSize = 65536 + 4096

// probe tells what lies on a partition by the magic numbers of its format.
//
// All file systems are mounted so that not even a journal is replayed, which
// mounting read-only alone does not mean: the disk is not ours to write, its own
// system may be asleep with half of the truth in its memory. What such a mount
// shows may be some seconds old, and a kernel that reads torn does not start.
func probe(r io.ReaderAt) (filesystem, error) {
	data := make([]byte, probeSize)
	n, err := r.ReadAt(data, 0)
	if err != nil && err != io.EOF {
		return filesystem{}, err
	}
	clear(data[n:])
	at := func(off int, magic string) bool { return bytes.HasPrefix(data[off:], []byte(magic)) }
	switch {
	case at(0, "LUKS\xba\xbe"): // cryptsetup, docs/on-disk-format-luks2.pdf, section 2.1
		return filesystem{kind: "crypto_LUKS"}, nil
	case isLVM(data):
		return filesystem{kind: "LVM2_member"}, nil
	case at(0, "\xfc\x4e\x2b\xa9"), at(4096, "\xfc\x4e\x2b\xa9"): // MD_SB_MAGIC, include/uapi/linux/raid/md_p.h; 1.1, 1.2
		return filesystem{kind: "linux_raid_member"}, nil
	case at(1024+0x38, "\x53\xef"): // fs/ext4/ext4.h, struct ext4_super_block
		return probeExt(data[1024:]), nil
	case at(0, "XFSB"): // fs/xfs/libxfs/xfs_format.h, struct xfs_dsb
		return filesystem{kind: "xfs", uuid: uuid(data[32:]), driver: "xfs", options: "norecovery"}, nil
	case at(65536+64, "_BHRfS_M"): // fs/btrfs/ctree.h, struct btrfs_super_block
		return filesystem{kind: "btrfs", uuid: uuid(data[65536+32:]), driver: "btrfs", options: "rescue=nologreplay"}, nil
	case at(510, "\x55\xaa") && (at(82, "FAT32   ") || at(54, "FAT16   ") || at(54, "FAT12   ")):
		return probeFAT(r, data), nil
	}
	return filesystem{}, nil
}

// isLVM looks for an LVM2 label in the first four sectors
// (lib/label/label.h of lvm2).
func isLVM(data []byte) bool {
	for sector := range 4 {
		label := data[sector*512:]
		if bytes.HasPrefix(label, []byte("LABELONE")) && bytes.HasPrefix(label[24:], []byte("LVM2 001")) {
			return true
		}
	}
	return false
}

// probeExt reads a superblock of ext2, 3 or 4, which one driver mounts. One that
// is a journal of another file system is none.
func probeExt(super []byte) filesystem {
	const hasJournal, journalDev, recover = 0x4, 0x8, 0x4
	const valid, faulty = 0x1, 0x2
	if binary.LittleEndian.Uint32(super[0x60:])&journalDev != 0 {
		return filesystem{kind: "jbd"}
	}
	f := filesystem{kind: "ext4", uuid: uuid(super[0x68:]), driver: "ext4", options: "noload"}
	if binary.LittleEndian.Uint32(super[0x5c:])&hasJournal == 0 {
		f.kind = "ext2"
	}
	f.label = printable(string(bytes.TrimRight(super[0x78:0x88], "\x00")))
	switch state := binary.LittleEndian.Uint16(super[0x3a:]); {
	case state&faulty != 0:
		f.fault = "it has errors, by its own account"
	case binary.LittleEndian.Uint32(super[0x60:])&recover != 0:
		f.fault, f.replays = "it was not unmounted: somebody lost power, or sleeps", true
	case state&valid == 0:
		f.fault = "it was not unmounted"
	}
	return f
}

// probeFAT reads a boot sector (Microsoft, FAT specification, section 3). FAT has
// no journal; names are taken as Debian's kernel would by default. Its kernel, as
// others, notes in a byte of the boot sector that a volume is in use (FAT_STATE_DIRTY,
// include/uapi/linux/msdos_fs.h).
func probeFAT(r io.ReaderAt, data []byte) filesystem {
	id, state := data[39:], data[37]
	if bytes.HasPrefix(data[82:], []byte("FAT32")) {
		id, state = data[67:], data[65]
	}
	serial := binary.LittleEndian.Uint32(id)
	f := filesystem{kind: "vfat", driver: "vfat", options: "codepage=437,iocharset=ascii",
		uuid: fmt.Sprintf("%04X-%04X", serial>>16, serial&0xffff)}
	label, err := fat.Label(r)
	f.label = printable(label)
	if err != nil {
		f.fault = err.Error()
	} else if state&1 != 0 {
		f.fault = "it was not unmounted"
	}
	return f
}

// uuid shows 16 bytes as a UUID.
func uuid(b []byte) string {
	return strings.ToLower(fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16]))
}

// modules are what has to be in the kernel for f to be mounted. FAT asks for its
// tables of characters by name.
func (f filesystem) modules() []string {
	if f.driver == "vfat" {
		return []string{"nls_cp437", "nls_ascii", "vfat"}
	}
	return []string{f.driver}
}
