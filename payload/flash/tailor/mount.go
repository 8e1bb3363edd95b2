package tailor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/flash/table"
)

// expose makes the kernel show a partition as a device, and returns how to take it
// away again.
func expose(disk string, p table.Partition) (node string, hide func() error, err error) {
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return "", nil, err
	}
	fd := int(f.Fd())
	node = disk + strconv.Itoa(p.Number)
	if last := disk[len(disk)-1]; last >= '0' && last <= '9' { // disk_name in block/genhd.c
		node = disk + "p" + strconv.Itoa(p.Number)
	}
	if err := blkpg(fd, unix.BLKPG_DEL_PARTITION, p); err != nil && !errors.Is(err, unix.ENXIO) {
		return "", nil, errors.Join(fmt.Errorf("%s as it was is in use: %w", node, err), f.Close())
	}
	if err := blkpg(fd, unix.BLKPG_ADD_PARTITION, p); err != nil {
		return "", nil, errors.Join(fmt.Errorf("%s cannot be shown: %w", node, err), f.Close())
	}
	hide = func() error {
		return errors.Join(blkpg(fd, unix.BLKPG_DEL_PARTITION, p), f.Close())
	}
	if err := makeNode(node); err != nil {
		return "", nil, errors.Join(err, hide())
	}
	return node, hide, nil
}

// makeNode makes the node of a block device where the kernel has not.
func makeNode(node string) error {
	if _, err := os.Stat(node); err == nil {
		return nil
	}
	dev, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(node), "dev"))
	if err != nil {
		return err
	}
	var major, minor uint32
	if _, err := fmt.Sscanf(string(dev), "%d:%d", &major, &minor); err != nil {
		return fmt.Errorf("device number %q: %w", dev, err)
	}
	return unix.Mknod(node, unix.S_IFBLK|0o600, int(unix.Mkdev(major, minor)))
}

// filesystem is what is known of a kind of file system.
type filesystem struct {
	name, driver, options string
	modules               []string
	grow                  func(m mounted, p table.Partition) error // nil: it cannot
}

// probe tells which file system a partition has.
func probe(node string) (filesystem, error) {
	f, err := os.Open(node)
	if err != nil {
		return filesystem{}, err
	}
	defer f.Close()
	head := make([]byte, 66<<10)
	if _, err := io.ReadFull(f, head); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return filesystem{}, err
	}
	at := func(offset int, magic string) bool { return bytes.HasPrefix(head[offset:], []byte(magic)) }
	switch {
	case binary.LittleEndian.Uint16(head[1024+0x38:]) == 0xef53: // fs/ext4/ext4.h, struct ext4_super_block
		return filesystem{name: "ext4", driver: "ext4", modules: []string{"ext4"}, grow: growExt4}, nil
	case at(0, "XFSB"): // fs/xfs/libxfs/xfs_format.h, struct xfs_dsb
		// The UUID may be that of another disk with the same image.
		return filesystem{name: "xfs", driver: "xfs", options: "nouuid", modules: []string{"xfs"}, grow: growXFS}, nil
	case at(65536+64, "_BHRfS_M"): // fs/btrfs/ctree.h, struct btrfs_super_block
		return filesystem{name: "btrfs", driver: "btrfs", modules: []string{"btrfs"}, grow: growBtrfs}, nil
	case at(510, "\x55\xaa") && (at(82, "FAT32   ") || at(54, "FAT16   ") || at(54, "FAT12   ")):
		return filesystem{name: "FAT", driver: "vfat", options: "codepage=437,iocharset=ascii", modules: []string{"nls_cp437", "nls_ascii", "vfat"}}, nil
	}
	return filesystem{}, errors.New("its file system is none of ext2, ext3, ext4, xfs, btrfs and FAT")
}

// mount mounts a partition. What is in it does not run.
func (k filesystem) mount(node, dir string) error {
	return unix.Mount(node, dir, k.driver, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NOATIME, k.options)
}

// unmount writes all out and ends the mount.
func (m mounted) unmount() error {
	if err := unix.Unmount(m.dir, 0); err != nil {
		return fmt.Errorf("unmount: %w", err)
	}
	return os.Remove(m.dir)
}
