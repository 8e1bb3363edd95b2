// Package blockdev makes a block device of something that can be read, such as an
// image on a web server. The device cannot be written.
//
// There are two doors to the kernel, and [Open] goes through the one that is asked
// for: a FUSE file system that is one file, with a loop device over it, or a network
// block device whose server is this program. [Needs] names the modules of each. The
// first has no timeouts anywhere; the second needs one module only, and its timeout
// is met by new connections, see the file nbd.go.
//
// The package promises that a read of the device waits for as long as the source
// does, that an error of the source is an I/O error of that read and of no other,
// and that what is needed of memory is bounded. Paths in /dev, /proc and the like
// are used by Open only, so that the device outlives the file system it was made in.
package blockdev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/carry"
)

// ErrDoor: the kernel has no such door, or it does not open.
var ErrDoor = errors.New("no block device can be made")

// sector is what devices are made of, in bytes.
const sector = 512

// appear is how long a device may take to show itself once its driver is loaded.
const appear = 10 * time.Second

// Source is what a device has. It is read in parallel.
type Source struct {
	io.ReaderAt
	Size int64
}

// read fills p with bytes of the device: the source's, and zeros up to a whole
// sector.
func (s Source) read(p []byte, offset int64) error {
	n, err := s.ReadAt(p, offset)
	if errors.Is(err, io.EOF) && offset+int64(n) >= s.Size {
		clear(p[n:])
		return nil
	}
	return err
}

// size is the device's, in bytes.
func (s Source) size() int64 { return (s.Size + sector - 1) / sector * sector }

// Config says what device to make.
type Config struct {
	// Door is [carry.FUSE] or [carry.NBD].
	Door string
	// Device is the name: /dev/loop0 for FUSE, /dev/nbd0 for NBD.
	Device string
	Source Source
	// Dir is a folder in which a file can be made for a moment.
	Dir string
	// Log prints one line.
	Log func(format string, args ...any)
}

// Device is a block device.
type Device struct {
	name  string
	close func() error
}

// Needs names the kernel modules of a door, in no order, and their parameters.
func Needs(door string) map[string]string {
	if door == carry.NBD {
		return map[string]string{"nbd": "nbds_max=4"} // 16 by default, which udev looks at
	}
	return map[string]string{"fuse": "", "loop": ""}
}

// Default is the name that a door's device has.
func Default(door string) string {
	if door == carry.NBD {
		return "/dev/nbd0"
	}
	return "/dev/loop0"
}

// Open makes the device. It has to answer before Open returns: its first sector is
// read, by the way of the kernel.
func Open(ctx context.Context, c Config) (*Device, error) {
	open := openLoop
	if c.Door == carry.NBD {
		open = openNBD
	}
	closeDevice, err := open(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("%w: %s by %s: %w", ErrDoor, c.Device, c.Door, err)
	}
	d := &Device{c.Device, closeDevice}
	if c.Source.Size == 0 {
		return d, nil
	}
	if err := answers(c.Device); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrDoor, err), d.Close())
	}
	return d, nil
}

// answers reads the first sector.
func answers(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.ReadAt(make([]byte, sector), 0); err != nil {
		return fmt.Errorf("%s does not answer: %w", name, err)
	}
	return nil
}

// Name is the device's, "/dev/loop0".
func (d *Device) Name() string { return d.name }

// Close takes the device down. It is for tests and for what failed: a system that
// runs from the device ends with it.
func (d *Device) Close() error { return d.close() }

// number returns the last part of a device's name, /dev/loop7's 7.
func number(name, prefix string) (uint32, error) {
	rest, ok := strings.CutPrefix(name, prefix)
	n, err := strconv.ParseUint(rest, 10, 20)
	if !ok || err != nil {
		return 0, fmt.Errorf("%q is not the name of such a device", name)
	}
	return uint32(n), nil
}

// openNode opens a device, and waits for a driver that was just loaded.
func openNode(ctx context.Context, name string, flags int) (*os.File, error) {
	for until := time.Now().Add(appear); ; {
		f, err := os.OpenFile(name, flags, 0)
		if err == nil {
			return f, nil
		}
		missing := errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV)
		if !missing || ctx.Err() != nil || time.Now().After(until) {
			return nil, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
