// Package tailor fits the file systems of a disk that was just written to the
// machine: it grows one into the room that its partition has gained, and puts files
// into others.
//
// The main call is [Do]. The disk's table need not say anything of the partitions
// yet: the kernel is told of them by ioctl, one at a time, and forgets them again.
// File systems grow while they are mounted, by the kernel's own code (ext4, xfs,
// btrfs); no program is run. Files are written through an os.Root, so that no link
// in the image leads out of the file system, and read back.
//
// The package does not repair: a file system that the kernel does not mount, or
// that is not clean enough to grow, is an error.
package tailor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/farboot/farboot/payload/flash/table"
)

var (
	// ErrGrow: the last partition's file system cannot be grown.
	ErrGrow = errors.New("file system cannot grow")
	// ErrFiles: a file cannot be put where it ought to be.
	ErrFiles = errors.New("file cannot be put in")
)

// File is a file to be put into a file system.
type File struct {
	// Partition is the number of its partition.
	Partition int
	// Path is absolute within the file system. Folders above it are made.
	Path string
	// Mode has the permission bits; 0 is 0644. FAT has none.
	Mode fs.FileMode
	// Content is read once, to its end.
	Content io.Reader
}

// Job says what to do to which disk.
type Job struct {
	// Node is the whole disk, as in /dev/sda.
	Node string
	// Partition tells where a partition is.
	Partition func(number int) (table.Partition, error)
	// Grow is the partition whose file system is to fill it; nil is none.
	Grow  *table.Partition
	Files []File
	// Drivers loads modules of the kernel; nil is a kernel that has them.
	Drivers func(names ...string) error
	// Log prints one line.
	Log func(format string, args ...any)
}

// Do does it all. After an error the disk's content is neither what it was nor
// what it ought to be.
func Do(ctx context.Context, job Job) error {
	if job.Grow != nil {
		if err := job.with(job.Grow.Number, func(m mounted) error { return m.grow(*job.Grow) }); err != nil {
			return fmt.Errorf("%w: partition %d: %w", ErrGrow, job.Grow.Number, err)
		}
	}
	var order []int // of partitions
	files := map[int][]File{}
	for _, f := range job.Files {
		if files[f.Partition] == nil {
			order = append(order, f.Partition)
		}
		files[f.Partition] = append(files[f.Partition], f)
	}
	for _, number := range order {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := job.with(number, func(m mounted) error { return m.drop(files[number]) }); err != nil {
			return fmt.Errorf("%w: partition %d: %w", ErrFiles, number, err)
		}
	}
	return nil
}

// with calls f while a partition is mounted.
func (job Job) with(number int, f func(mounted) error) (err error) {
	part, err := job.Partition(number)
	if err != nil {
		return err
	}
	node, hide, err := expose(job.Node, part)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, hide()) }()
	m, err := job.mount(node)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.unmount()) }()
	return f(m)
}

// mounted is a file system that is mounted.
type mounted struct {
	kind filesystem
	dir  string
	log  func(format string, args ...any)
}

// mount mounts what is on a partition.
func (job Job) mount(node string) (mounted, error) {
	kind, err := probe(node)
	if err != nil {
		return mounted{}, err
	}
	if job.Drivers != nil {
		if err := job.Drivers(kind.modules...); err != nil {
			return mounted{}, err
		}
	}
	if err := os.MkdirAll(os.TempDir(), 0o700); err != nil { // the agent begins without one
		return mounted{}, err
	}
	dir, err := os.MkdirTemp("", "farboot-flash-")
	if err != nil {
		return mounted{}, err
	}
	m := mounted{kind, dir, job.Log}
	if err := kind.mount(node, dir); err != nil {
		return mounted{}, errors.Join(fmt.Errorf("%s on %s cannot be mounted: %w", kind.name, node, err), os.Remove(dir))
	}
	return m, nil
}
