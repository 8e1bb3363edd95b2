// Package disks lists a machine's disks and chooses the one that a rule means, so
// that no other is ever written.
//
// [List] reads sysfs, /proc/self/mountinfo and /proc/swaps; [Choose] returns the
// one disk that fits a [Rule] and may be written, or an error that names every
// disk that was there and why it was not taken. What is in use is never chosen:
// mounted, held by a mapping or an array, used for swap or by a loop device, the
// boot medium, read-only. A removable disk is taken only where the rule names it
// by serial number or ID: sizes fit too many sticks.
//
// What is read here can change before the disk is opened; package flash opens it
// exclusively, which the kernel refuses for a disk in use.
package disks

import (
	"errors"
	"fmt"
	"strings"
)

// Classes of errors of [Choose].
var (
	// ErrNone: no disk fits the rule.
	ErrNone = errors.New("no disk fits")
	// ErrAmbiguous: several disks fit the rule, and it does not tell which is meant.
	ErrAmbiguous = errors.New("several disks fit")
	// ErrBusy: the only disk that fits must not be written, as it is in use, the
	// boot medium or read-only.
	ErrBusy = errors.New("disk must not be written")
	// ErrTooSmall: the only disk that fits has less room than the image needs.
	ErrTooSmall = errors.New("disk is too small")
)

// Disk is a whole disk.
type Disk struct {
	// Name is the kernel's name, as in "sda", and Node its device node.
	Name, Node string
	// Model and Serial are what the disk says of itself, "" where it says nothing.
	Model, Serial string
	// IDs are what else it is known by: its wwid as sysfs shows it, and the names
	// under /dev/disk/by-id that follow from that, without the path.
	IDs []string
	// Size is in bytes.
	Size int64
	// Removable is what the kernel says of sticks and cards. Many an external disk
	// is not.
	Removable bool
	// Bus is "usb", "nvme", "virtio", "mmc", "ata", "scsi" or "".
	Bus string
	// Partitions are the kernel's names of its partitions.
	Partitions []string
	// Medium is the boot medium, which the agent came from.
	Medium bool
	// ReadOnly is a disk that takes no writes.
	ReadOnly bool
	// InUse says what the disk is used for at present, "" where it is not.
	InUse string
}

// Bar says why the disk must not be written, "" where it may be.
func (d Disk) Bar() string {
	switch {
	case d.Medium:
		return "the boot medium"
	case d.ReadOnly:
		return "read-only"
	}
	return d.InUse
}

// How [Rule.Pick] chooses among several disks that fit.
const (
	PickOnly     = "only"
	PickSmallest = "smallest"
	PickLargest  = "largest"
)

// Rule says which disk is meant. Every field that is set must fit; where several
// disks fit, Pick decides. It is manifest.Disk, to which it can be converted.
type Rule struct {
	// Serial and ID are one disk's own.
	Serial, ID string
	// MinSize and MaxSize bound its size, in bytes; 0 is no bound.
	MinSize, MaxSize int64
	// Pick is one of the constants above; empty is PickOnly.
	Pick string
}

// String describes the disk for people: sda, "QEMU HARDDISK", serial X, 10.7 GB.
func (d Disk) String() string {
	parts := []string{d.Name}
	if d.Model != "" {
		parts = append(parts, fmt.Sprintf("%q", d.Model))
	}
	if d.Serial != "" {
		parts = append(parts, "serial "+d.Serial)
	}
	parts = append(parts, size(d.Size))
	if d.Removable {
		parts = append(parts, "removable")
	}
	return strings.Join(parts, ", ")
}

// size shows a number of bytes as makers of disks do.
func size(n int64) string {
	if n < 1e9 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.1f GB", float64(n)/1e9)
}
