package flash

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/flash/disks"
)

// Disk is a block device, or a file in the place of one.
type Disk struct {
	node   string
	size   int64
	sector int
	block  bool // it is a device
	direct bool // the kernel keeps no copy of what is read and written

	f *os.File
}

// Open opens a block device to write it, for nobody else: one that is mounted or
// used in another way is disks.ErrBusy. A regular file is taken as a disk with
// sectors of 512 bytes and the file's size. Links are followed.
func Open(node string) (*Disk, error) {
	real, err := filepath.EvalSymlinks(node) // of /dev/disk/by-id
	if err != nil {
		return nil, err
	}
	d := &Disk{node: real, sector: 512}
	if err := d.open(unix.O_EXCL); err != nil {
		return nil, err
	}
	if err := d.measure(); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// open opens the device, with flags for block devices. Writes go straight to the
// device where that can be had: then each error has its place, memory does not fill
// with what is still to be written, and what is read is what the device holds.
func (d *Disk) open(flags int) error {
	info, err := os.Stat(d.node)
	if err != nil {
		return err
	}
	mode := info.Mode()
	switch {
	case mode.IsRegular():
		flags = 0 // O_EXCL is for devices, and a file's sectors are the file system's
	case mode&os.ModeDevice != 0 && mode&os.ModeCharDevice == 0:
		flags |= unix.O_DIRECT
		d.block, d.direct = true, true
	default:
		return fmt.Errorf("%s: neither a disk nor a file", d.node)
	}
	d.f, err = os.OpenFile(d.node, os.O_RDWR|flags, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: %s is in use: %w", disks.ErrBusy, d.node, err)
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: %w", disks.ErrBusy, err)
	}
	return err
}

// measure asks for size and sector.
func (d *Disk) measure() (err error) {
	if d.size, err = d.f.Seek(0, io.SeekEnd); err != nil || !d.block {
		d.size -= d.size % int64(d.sector)
		return err
	}
	if d.sector, err = unix.IoctlGetInt(d.fd(), unix.BLKSSZGET); err != nil {
		return fmt.Errorf("%s: sector size: %w", d.node, err)
	}
	readOnly, err := unix.IoctlGetInt(d.fd(), unix.BLKROGET)
	if err == nil && readOnly != 0 {
		return fmt.Errorf("%w: %s is read-only", disks.ErrBusy, d.node)
	}
	return err
}

func (d *Disk) fd() int { return int(d.f.Fd()) }

// Node implements [Device].
func (d *Disk) Node() string { return d.node }

// Size implements [Device].
func (d *Disk) Size() int64 { return d.size }

// Sector implements [Device].
func (d *Disk) Sector() int { return d.sector }

// ReadAt implements [Device].
func (d *Disk) ReadAt(p []byte, offset int64) (int, error) { return d.f.ReadAt(p, offset) }

// WriteAt implements [Device]. A file does not grow by it.
func (d *Disk) WriteAt(p []byte, offset int64) (int, error) {
	if offset+int64(len(p)) > d.size {
		return 0, unix.ENOSPC
	}
	return d.f.WriteAt(p, offset)
}

// Zero implements [Device].
func (d *Disk) Zero(offset, n int64) error {
	if d.block {
		// blkdev_fallocate in block/fops.c: the device's own command for this, where it
		// has one, and zeros that the kernel sends otherwise.
		return unix.Fallocate(d.fd(), unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, offset, n)
	}
	zeros := make([]byte, min(n, 1<<20))
	for n > 0 {
		part := min(n, int64(len(zeros)))
		if _, err := d.WriteAt(zeros[:part], offset); err != nil {
			return err
		}
		offset, n = offset+part, n-part
	}
	return nil
}

// Sync implements [Device].
func (d *Disk) Sync() error {
	if err := d.f.Sync(); err != nil {
		return err
	}
	if !d.block {
		return unix.Fadvise(d.fd(), 0, 0, unix.FADV_DONTNEED)
	}
	// blkdev_flushbuf in block/ioctl.c: writes out and forgets the cache, which
	// those have filled who looked at the disk in other ways.
	if err := unix.IoctlSetInt(d.fd(), unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// Rescan implements [Device].
func (d *Disk) Rescan() error {
	if !d.block {
		return nil
	}
	return unix.IoctlSetInt(d.fd(), unix.BLKRRPART, 0)
}

// Shared implements [Device].
func (d *Disk) Shared(f func() error) error {
	if err := d.Close(); err != nil {
		return err
	}
	err := f()
	return errors.Join(err, d.open(unix.O_EXCL))
}

// Close ends the use of the disk.
func (d *Disk) Close() error { return d.f.Close() }

// aligned returns n zero bytes at the beginning of a page, as reads and writes
// past the kernel's cache want them.
func aligned(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil { // out of address space, as make would find
		panic(fmt.Errorf("memory for a buffer of %d bytes: %w", n, err))
	}
	return b
}

// unaligned gives the memory back.
func unaligned(b []byte) {
	_ = unix.Munmap(b) // b is aligned's
}
