package persist

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/state"
)

// stick is the partition for the state on a stick, by its device node.
type stick string

// findSticks lists the partitions of this medium that can be written. A copy of
// the image on a CD is read-only, and has no partitions in Linux' eyes.
func findSticks(sys, dev, build string) []stick {
	var found []stick
	for _, dir := range statePartitions(sys, build) {
		node, ok := strings.CutPrefix(line(filepath.Join(dir, "uevent"), "DEVNAME="), "DEVNAME=")
		if ok && filepath.IsLocal(node) && writable(dir) {
			found = append(found, stick(filepath.Join(dev, node)))
		}
	}
	return found
}

// statePartitions lists the folders in sysfs of the partitions that are named as
// this medium's for the state.
func statePartitions(sys, build string) []string {
	var found []string
	class := filepath.Join(sys, "class/block")
	entries, _ := os.ReadDir(class) // none is no disk
	for _, e := range entries {
		dir := filepath.Join(class, e.Name())
		if line(filepath.Join(dir, "uevent"), "PARTNAME=") == "PARTNAME="+state.PartitionName(build) {
			found = append(found, dir)
		}
	}
	return found
}

// line returns the line of a file that starts so, or "".
func line(file, prefix string) string {
	data, _ := os.ReadFile(file) // a device that is gone says nothing
	for text := range strings.Lines(string(data)) {
		if strings.HasPrefix(text, prefix) {
			return strings.TrimSuffix(text, "\n")
		}
	}
	return ""
}

// writable tells whether a block device, by its folder in sysfs, is large enough
// for the state and not read-only.
func writable(dir string) bool {
	sectors, err := strconv.ParseInt(line(filepath.Join(dir, "size"), ""), 10, 64)
	return err == nil && sectors >= state.DeviceSize/512 && line(filepath.Join(dir, "ro"), "") == "0"
}

func (s stick) String() string { return "partition " + string(s) }

func (s stick) load() (state.State, error) {
	f, err := os.Open(string(s))
	if err != nil {
		return state.State{}, err
	}
	defer f.Close()
	return state.Load(f)
}

func (s stick) save(st state.State) error {
	f, err := os.OpenFile(string(s), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(state.Save(flushed{f}, st), f.Close())
}

// flushed is a block device whose Sync makes later reads come from the device.
type flushed struct{ *os.File }

func (f flushed) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	// blkdev_flushbuf in block/ioctl.c: writes out and forgets the cache.
	err := unix.IoctlSetInt(int(f.Fd()), unix.BLKFLSBUF, 0)
	if err != nil && !errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

// settle waits until all USB storage has had its time to become disks.
func (p *Places) settle() {
	const (
		look = 100 * time.Millisecond
		// calm is how many looks in a row must see nothing to wait for: a disk
		// is there a little before its partitions.
		calm = 3
	)
	deadline := time.Now().Add(probing)
	for quiet := 0; quiet < calm && time.Now().Before(deadline); time.Sleep(look) {
		buses, storage, ready := usb(p.Sys)
		switch {
		case buses == 0 || len(findSticks(p.Sys, p.Dev, p.Build)) > 0:
			return
		case storage == 0 && time.Since(p.opened) >= enumerating:
			return
		case storage > 0 && storage == ready:
			quiet++
		default:
			quiet = 0
		}
	}
}

// usb counts the USB buses, the interfaces on them of the class "mass storage",
// and those among these that have become disks.
func usb(sys string) (buses, storage, ready int) {
	devices := filepath.Join(sys, "bus/usb/devices")
	roots, _ := filepath.Glob(filepath.Join(devices, "usb*"))
	classes, _ := filepath.Glob(filepath.Join(devices, "*/bInterfaceClass"))
	for _, class := range classes {
		if line(class, "") != "08" {
			continue
		}
		storage++
		if disks(filepath.Dir(class)) {
			ready++
		}
	}
	return len(roots), storage, ready
}

// disks tells whether a USB interface, by its folder, has the SCSI devices that
// its driver finds behind it, and each disk among these its block device. A CD
// drive gets none, since no driver for CDs is on the medium.
func disks(dir string) bool {
	types, _ := filepath.Glob(filepath.Join(dir, "host*/target*/*/type"))
	for _, kind := range types {
		block, _ := filepath.Glob(filepath.Join(filepath.Dir(kind), "block/*"))
		if line(kind, "") == "0" && len(block) == 0 {
			return false
		}
	}
	return len(types) > 0
}
