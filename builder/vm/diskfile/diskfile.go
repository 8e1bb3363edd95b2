// Package diskfile opens disk images that others may have made and others may be using.
//
// [OpenLocked] opens a file so that two farboots do not work on it at a time, and [Format]
// tells what it is and whether it can be used as it is.
//
// The locks are advisory: a program that does not ask for them is not kept out. A QEMU that
// runs from an image is noticed, by its own locks.
package diskfile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

var (
	// ErrBusy says that somebody else works on the image.
	ErrBusy = errors.New("in use")
	// ErrFormat says that the file is no disk image that can be worked on.
	ErrFormat = errors.New("not a disk image that can be used")
)

// OpenLocked opens a file and locks it as flock(2) is told by how; it waits for nobody.
// What was renamed away meanwhile is not it.
func OpenLocked(path string, flags, how int) (*os.File, error) {
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w: not a file", path, ErrFormat)
	}
	if err == nil {
		if err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
			err = fmt.Errorf("%s: %w by another farboot", path, ErrBusy)
		}
	}
	if err == nil {
		if now, serr := os.Stat(path); serr != nil || !os.SameFile(info, now) {
			err = fmt.Errorf("%s: %w by another farboot, which has just ended", path, ErrBusy)
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// The header of qcow2 (docs/interop/qcow2.txt of QEMU), and the bytes that a QEMU locks
// which writes to an image (RAW_LOCK_PERM_BASE and BLK_PERM_WRITE in
// block/file-posix.c).
const (
	qcowMagic    = "QFI\xfb"
	qcowBacking  = 8
	qcowFeatures = 72
	qcowDataFile = 1 << 2
	qcowHead     = 80

	lockWrite = 100 + 1
)

// Format tells an image's format, "raw" or "qcow2". It refuses an image that a virtual
// machine writes to, one that is compressed, and one that names other files, which would
// let its maker choose what of this computer is read.
func Format(f *os.File) (format string, err error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: lockWrite, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &lock); err != nil {
		return "", fmt.Errorf("lock: %w", err)
	}
	if lock.Type != unix.F_UNLCK {
		return "", fmt.Errorf("%w: a virtual machine runs from it", ErrBusy)
	}
	head := make([]byte, qcowHead)
	if _, err := f.ReadAt(head, 0); errors.Is(err, io.EOF) {
		return "", fmt.Errorf("%w: it is shorter than a sector", ErrFormat)
	} else if err != nil {
		return "", err
	}
	for kind, magic := range map[string]string{"zstd": "\x28\xb5\x2f\xfd", "xz": "\xfd7zXZ\x00", "gzip": "\x1f\x8b\x08"} {
		if string(head[:len(magic)]) == magic {
			return "", fmt.Errorf("%w: it is compressed, unpack it by %s -d first", ErrFormat, kind)
		}
	}
	if string(head[:4]) != qcowMagic {
		return "raw", nil
	}
	version := binary.BigEndian.Uint32(head[4:])
	backing := binary.BigEndian.Uint64(head[qcowBacking:])
	if backing != 0 || version > 2 && binary.BigEndian.Uint64(head[qcowFeatures:])&qcowDataFile != 0 {
		return "", fmt.Errorf("%w: it names another file that has a part of it; qemu-img convert -O qcow2 makes one that does not", ErrFormat)
	}
	return "qcow2", nil
}
