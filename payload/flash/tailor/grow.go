package tailor

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/flash/table"
)

// grow makes the file system fill its partition.
func (m mounted) grow(p table.Partition) error {
	if m.kind.grow == nil {
		return fmt.Errorf("%s cannot grow while it is mounted", m.kind.name)
	}
	var before, after unix.Statfs_t
	if err := unix.Statfs(m.dir, &before); err != nil {
		return err
	}
	if err := m.kind.grow(m, p); err != nil {
		return fmt.Errorf("%s: %w", m.kind.name, err)
	}
	if err := unix.Statfs(m.dir, &after); err != nil {
		return err
	}
	m.log("%s of partition %d has %.1f MB, after %.1f MB", m.kind.name, p.Number,
		float64(after.Blocks)*float64(after.Bsize)/1e6, float64(before.Blocks)*float64(before.Bsize)/1e6)
	return nil
}

// ioctl calls an ioctl(2) with a pointer.
func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg)); errno != 0 {
		return errno
	}
	return nil
}

// blkpg adds or deletes a partition of a disk in the kernel (block/ioctl.c).
func blkpg(fd int, op int32, p table.Partition) error {
	part := unix.BlkpgPartition{Start: p.Start, Length: p.Size, Pno: int32(p.Number)}
	arg := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(part)), Data: (*byte)(unsafe.Pointer(&part))}
	return ioctl(fd, unix.BLKPG, unsafe.Pointer(&arg))
}

// onRoot calls f with the descriptor of the file system's root.
func (m mounted) onRoot(f func(fd int) error) error {
	dir, err := os.Open(m.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(int(dir.Fd()))
}

// growExt4 asks for as many blocks as fit (fs/ext4/ioctl.c).
func growExt4(m mounted, p table.Partition) error {
	const resizeFS = 0x40086610 // _IOW('f', 16, __u64)
	var st unix.Statfs_t
	if err := unix.Statfs(m.dir, &st); err != nil {
		return err
	}
	blocks := uint64(p.Size / st.Bsize)
	return m.onRoot(func(fd int) error { return ioctl(fd, resizeFS, unsafe.Pointer(&blocks)) })
}

// growXFS asks for as many blocks as fit (fs/xfs/libxfs/xfs_fs.h).
func growXFS(m mounted, p table.Partition) error {
	const (
		fsGeometry = 0x8100587e // _IOR('X', 126, struct xfs_fsop_geom), 256 bytes
		growFSData = 0x4010586e // _IOW('X', 110, struct xfs_growfs_data), 16 bytes
	)
	var geometry struct {
		blockSize, rtExtent, agBlocks, agCount, logBlocks, sector, inode, imaxpct uint32
		dataBlocks                                                                uint64
		rest                                                                      [216]byte
	}
	return m.onRoot(func(fd int) error {
		if err := ioctl(fd, fsGeometry, unsafe.Pointer(&geometry)); err != nil {
			return err
		}
		grow := struct {
			blocks  uint64
			imaxpct uint32
			_       uint32
		}{blocks: uint64(p.Size) / uint64(geometry.blockSize), imaxpct: geometry.imaxpct}
		if grow.blocks <= geometry.dataBlocks {
			return nil
		}
		return ioctl(fd, growFSData, unsafe.Pointer(&grow))
	})
}

// growBtrfs asks for all that there is (fs/btrfs/ioctl.c).
func growBtrfs(m mounted, _ table.Partition) error {
	const resize = 0x50009403 // _IOW(0x94, 3, struct btrfs_ioctl_vol_args), 4096 bytes
	var arg struct {
		fd   int64
		name [4088]byte
	}
	copy(arg.name[:], "max")
	return m.onRoot(func(fd int) error { return ioctl(fd, resize, unsafe.Pointer(&arg)) })
}
