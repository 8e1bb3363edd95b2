package local

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// disk is a block device with what can carry a file system on it.
type disk struct {
	name string
	// partitions are names of nodes; of a disk without any it is the disk.
	partitions []string
	ids        []string
}

// maxPartitions bounds what is looked at on one disk. GPT has room for 128.
const maxPartitions = 128

// listDisks lists block devices of sysfs. Left out is what is no disk: memory,
// files, CDs (our own medium may be one), floppies, which take seconds to say
// that they are empty, and what is made of other disks.
func listDisks(sysfs fs.FS) ([]disk, error) {
	entries, err := fs.ReadDir(sysfs, "block")
	if err != nil {
		return nil, err
	}
	var disks []disk
	for _, e := range entries {
		name := e.Name()
		if strings.ContainsAny(name, "!") || slices.Contains([]string{"dm-", "fd", "loop", "md", "nbd", "ram", "sr", "zram"}, strings.TrimRight(name, "0123456789")) {
			continue
		}
		dir := path.Join("block", name)
		d := disk{name: name, ids: diskIDs(sysfs, dir)}
		subs, err := fs.ReadDir(sysfs, dir)
		if err != nil || text(sysfs, path.Join(dir, "size")) == "0" { // gone, or a reader without a card
			continue
		}
		for _, sub := range subs {
			_, err := fs.Stat(sysfs, path.Join(dir, sub.Name(), "partition"))
			if err == nil && len(d.partitions) < maxPartitions {
				d.partitions = append(d.partitions, sub.Name())
			}
		}
		slices.SortFunc(d.partitions, compareVersions)
		if len(d.partitions) == 0 {
			d.partitions = []string{name}
		}
		disks = append(disks, d)
	}
	return disks, nil
}

// diskIDs returns what a disk is known by: of virtio, NVMe, SCSI and ATA.
func diskIDs(sysfs fs.FS, dir string) []string {
	var ids []string
	for _, name := range []string{"serial", "wwid", "device/serial", "device/wwid"} {
		if id := text(sysfs, path.Join(dir, name)); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	// Page 0x80 of SCSI's vital product data: four bytes, then the serial number.
	page, err := fs.ReadFile(sysfs, path.Join(dir, "device/vpd_pg80"))
	if err == nil && len(page) > 4 {
		if id := strings.TrimSpace(printable(string(page[4:]))); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// text returns a file of sysfs without blanks around it, or "".
func text(sysfs fs.FS, name string) string {
	data, err := fs.ReadFile(sysfs, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(printable(string(data)))
}

// probeDevice reads what is on a device.
func probeDevice(device string) (filesystem, error) {
	f, err := os.Open(device)
	if err != nil {
		return filesystem{}, err
	}
	defer f.Close()
	return probe(f)
}

// mounter mounts a file system on dir, which it makes, and returns how to undo
// both.
type mounter func(device, dir string, f filesystem) (unmount func() error, err error)

// mount mounts for reading only. Before that it makes the kernel refuse every
// write to the partition (BLKROSET), so that the promise does not hang on the
// options of one file system. What is unmounted can be written again: it may be the
// disk of a machine that runs here.
func mount(device, dir string, f filesystem) (func() error, error) {
	was, err := protected(device)
	if err == nil {
		err = protect(device, 1)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot be made read-only: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, errors.Join(err, protect(device, was))
	}
	const flags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount(device, dir, f.driver, flags, f.options); err != nil {
		return nil, errors.Join(fmt.Errorf("%s cannot be mounted: %w", f.kind, err), protect(device, was))
	}
	return func() error {
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", device, err)
		}
		return errors.Join(os.Remove(dir), protect(device, was))
	}, nil
}

// protected tells whether the kernel refuses to write to a device, 1, or not, 0.
func protected(device string) (int, error) {
	node, err := os.Open(device)
	if err != nil {
		return 0, err
	}
	defer node.Close()
	return unix.IoctlGetInt(int(node.Fd()), unix.BLKROGET)
}

// protect makes the kernel refuse to write to a device, or not.
func protect(device string, on int) error {
	node, err := os.Open(device)
	if err != nil {
		return err
	}
	defer node.Close()
	return unix.IoctlSetPointerInt(int(node.Fd()), unix.BLKROSET, on)
}
