package local

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Volume is a FAT or ext file system on one of the machine's disks.
type Volume struct {
	// Partition is the kernel's name of where it lies, "sda2", and Device its node.
	Partition, Device string
	// PartitionName is what a GPT calls that, and Neighbours what it calls all that
	// lie on the same disk.
	PartitionName string
	Neighbours    []string
	// Kind is "vfat", "ext4" (or ext3) or "ext2", UUID and Label as blkid shows them.
	Kind, UUID, Label string
	// Fault says why nothing should be written to it; "" is nothing. Replays says that
	// the kernel puts it right when it mounts it, by its journal.
	Fault   string
	Replays bool

	fs filesystem
}

// Volumes lists them, disk by disk in the order of sysfs. Nothing is mounted.
func Volumes(ctx context.Context, c Config) ([]Volume, error) {
	disks, err := listDisks(c.Sysfs)
	if err != nil {
		return nil, fmt.Errorf("disks: %w", err)
	}
	all, _ := each(ctx, c, disks, func(d disk) []Volume { return d.volumes(c) }, func(Volume) {})
	return all, nil
}

// volumes lists those of a disk.
func (d disk) volumes(c Config) (all []Volume) {
	var names []string
	for _, part := range d.partitions {
		name := partitionName(c.Sysfs, path.Join("block", d.name, part))
		names = append(names, name)
		device := path.Join(c.Dev, part)
		f, err := probeDevice(device)
		if err != nil {
			c.Log("local: %s: %v", part, err)
		}
		if f.kind == "vfat" || f.driver == "ext4" {
			all = append(all, Volume{part, device, name, nil, f.kind, f.uuid, f.label, f.fault, f.replays, f})
		}
	}
	for i := range all {
		all[i].Neighbours = names
	}
	return all
}

// partitionName returns what a GPT calls a partition, or "".
func partitionName(sysfs fs.FS, dir string) string {
	data, err := fs.ReadFile(sysfs, path.Join(dir, "uevent"))
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(data) {
		if name, ok := strings.CutPrefix(string(line), "PARTNAME="); ok {
			return strings.TrimSuffix(name, "\n")
		}
	}
	return ""
}

// Driver is what the kernel calls the file system's driver.
func (v Volume) Driver() string { return v.fs.driver }

// Modules are what has to be in the kernel for it to be mounted, in this order.
func (v Volume) Modules() []string { return v.fs.modules() }
