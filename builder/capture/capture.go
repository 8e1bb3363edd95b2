// Package capture makes an image of a disk that can be published: one seekable Zstandard
// file and its index of chunks, as farboot's flash and image entries take them.
//
// [Open] opens a disk: an image file, a block device of this computer, or one of another
// machine by ssh. [NewPlan] finds out what of it is free, and [Write] reads the rest:
//
//	d, err := capture.Open(ctx, "ssh://root@192.0.2.17/dev/sda")
//	plan, err := capture.NewPlan(d)
//	result, err := capture.Write(ctx, d, plan, "out/images/server", nil)
//
// It promises that every byte that belongs to a file, to a file system or to nobody known
// is in the image, and that free blocks are zeros there, whatever deleted files left in
// them. (Journals and folders may still name those.) What is free, only a file system says that was unmounted cleanly, whose marks and
// sums agree and which nothing else on the disk contradicts: ext2 to ext4, and swap. All
// else is read from end to end. The disk is only read, and not while it is mounted.
//
// Logical partitions of an MBR, LVM, RAID and encrypted disks are read from end to end.
// What a disk holds is not looked at otherwise: publishing looks for secret keys.
package capture

import (
	"errors"
	"fmt"
	"io"

	"github.com/farboot/farboot/payload/flash/table"
)

// ErrUsed says that the disk is mounted, or in use otherwise.
var ErrUsed = errors.New("in use")

// extent is a row of bytes of a disk.
type extent struct{ start, end int64 }

// Disk is what an image is made of.
type Disk struct {
	Name string
	Size int64 // in bytes
	// Sector is the size of a logical sector.
	Sector int

	// stream reads extents, one after the other.
	stream func([]extent) io.Reader
	close  func() error
}

// Close closes it. The error may be that of a machine that had more to say.
func (d *Disk) Close() error { return d.close() }

// read reads extents into one slice.
func (d *Disk) read(extents ...extent) ([]byte, error) {
	n := int64(0)
	for _, e := range extents {
		if e.start < 0 || e.end < e.start || e.end > d.Size {
			return nil, fmt.Errorf("bytes %d to %d are not on a disk of %d", e.start, e.end, d.Size)
		}
		n += e.end - e.start
	}
	data := make([]byte, n)
	_, err := io.ReadFull(d.stream(extents), data)
	return data, err
}

// Part is a part of a disk, for people.
type Part struct {
	Number int `json:"number"` // of the partition; 0 is the whole disk
	// Kind is the file system whose word on free space is taken; empty is none.
	Kind string `json:"kind"`
	Size int64  `json:"size"` // in bytes
	Free int64  `json:"free"` // of which are not read
	// Why says why all of it is read, where a file system is there.
	Why string `json:"why"`
}

// Plan says what of a disk is free.
type Plan struct {
	Parts []Part
	free  []extent // sorted, apart from each other
}

// Free is how many bytes are free.
func (p *Plan) Free() int64 {
	var n int64
	for _, e := range p.free {
		n += e.end - e.start
	}
	return n
}

// errWhole says why all of a partition must be read.
var errWhole = errors.New("all of it is read")

// whole returns an error that says why.
func whole(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errWhole}, args...)...)
}

// NewPlan asks the file systems of a disk what they do not use. An error is the disk's.
func NewPlan(d *Disk) (*Plan, error) {
	p := &Plan{}
	parts, err := partitions(d)
	if err != nil {
		return nil, err
	}
	for i, e := range parts {
		part := Part{Number: e.Number, Size: e.Size}
		free, kind, err := freeOf(d, parts, i)
		switch {
		case errors.Is(err, errWhole):
			part.Why = err.Error()
		case err != nil:
			return nil, fmt.Errorf("%s: partition %d: %w", d.Name, e.Number, err)
		}
		part.Kind = kind
		for _, f := range free {
			part.Free += f.end - f.start
			p.free = append(p.free, extent{e.Start + f.start, e.Start + f.end})
		}
		p.Parts = append(p.Parts, part)
	}
	p.free = union(p.free)
	return p, nil
}

// partitions lists the partitions of a disk. One without a table that can be read is one
// partition by itself.
func partitions(d *Disk) ([]table.Partition, error) {
	head, err := d.read(extent{0, min(table.Head, d.Size)})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Name, err)
	}
	t, err := table.Parse(head, d.Sector)
	if err != nil || len(t.Partitions) == 0 {
		return []table.Partition{{Size: d.Size}}, nil
	}
	return t.Partitions, nil
}

// freeOf returns what is free of a partition, counted from its start, and its kind.
func freeOf(d *Disk, parts []table.Partition, i int) ([]extent, string, error) {
	p := parts[i]
	if p.Start < 0 || p.Size < minPart || p.End() > d.Size {
		return nil, "", nil
	}
	for j, other := range parts {
		if j != i && other.Start < p.End() && p.Start < other.End() {
			return nil, "", whole("partitions %d and %d share bytes", p.Number, other.Number)
		}
	}
	on := part{d, p.Start, p.Size}
	kinds, err := on.kinds()
	if err != nil || len(kinds) == 0 {
		return nil, "", err
	}
	if len(kinds) > 1 {
		return nil, "", whole("it has the marks of %v", kinds)
	}
	switch kinds[0] {
	case "ext4":
		free, err := on.ext()
		return free, "ext4", err
	case "swap":
		free, err := on.swap()
		return free, "swap", err
	}
	return nil, kinds[0], nil
}
