package toolbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// squashfsMagic and squashfsHead are the number at the start of a squashfs, and
// the bytes of its superblock: magic at 0, the bytes in use at 40, little-endian
// (struct squashfs_super_block in fs/squashfs/squashfs_fs.h).
const (
	squashfsMagic = 0x73717368
	squashfsHead  = 96
	squashfsUsed  = 40
)

// loopTries is how often a loop device is asked for: between asking and taking,
// somebody else may have taken it.
const loopTries = 8

// checkImage tells whether f looks like a whole squashfs.
func checkImage(f *os.File) error {
	var head [squashfsHead]byte
	info, err := f.Stat()
	if err == nil {
		_, err = f.ReadAt(head[:], 0)
	}
	switch {
	case errors.Is(err, io.EOF):
		return fmt.Errorf("%w: it has %d bytes", ErrImage, info.Size())
	case err != nil:
		return fmt.Errorf("toolbox: %w", err)
	case binary.LittleEndian.Uint32(head[:]) != squashfsMagic:
		return fmt.Errorf("%w: it begins with %q", ErrImage, head[:4])
	}
	if used := binary.LittleEndian.Uint64(head[squashfsUsed:]); used > uint64(info.Size()) {
		return fmt.Errorf("%w: it has %d of %d bytes", ErrImage, info.Size(), used)
	}
	return nil
}

// loop is a file as a block device, which cannot be written.
type loop struct {
	f    *os.File
	name string
}

// attach makes the image a block device. The kernel frees it when it is unmounted
// and closed.
func attach(ctx context.Context, image *os.File) (*loop, error) {
	ctl, err := openNode(ctx, "/dev/loop-control")
	if err != nil {
		return nil, err
	}
	defer ctl.Close()
	for range loopTries {
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("loop device: %w", err)
		}
		l := &loop{name: fmt.Sprintf("/dev/loop%d", n)}
		if l.f, err = openNode(ctx, l.name); err != nil {
			return nil, err
		}
		err = unix.IoctlLoopConfigure(int(l.f.Fd()), &unix.LoopConfig{
			Fd:   uint32(image.Fd()),
			Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY | unix.LO_FLAGS_AUTOCLEAR},
		})
		if err == nil {
			return l, nil
		}
		l.f.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fmt.Errorf("loop device %s: %w", l.name, err)
		}
	}
	return nil, fmt.Errorf("loop device: somebody takes each that is free")
}

// openNode opens a device, and waits for a driver that was just loaded.
func openNode(ctx context.Context, name string) (*os.File, error) {
	for until := time.Now().Add(appear); ; {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err == nil {
			return f, nil
		}
		missing := errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV)
		if !missing || ctx.Err() != nil || time.Now().After(until) {
			return nil, fmt.Errorf("%w: %w", ErrDriver, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// free closes the device and waits until the kernel has let the image go.
func (l *loop) free() error {
	l.f.Close()
	var err error
	for until := time.Now().Add(appear); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		var f *os.File
		if f, err = os.Open(l.name); err != nil {
			return nil
		}
		_, err = unix.IoctlLoopGetStatus64(int(f.Fd()))
		f.Close()
		if errors.Is(err, unix.ENXIO) {
			return nil
		}
	}
	return fmt.Errorf("%s is still in use", l.name)
}
