package hybrid

import (
	"encoding/binary"
	"fmt"

	"github.com/diskfs/go-diskfs/backend"

	"github.com/farboot/farboot/builder/medium/iso9660"
)

const (
	// sectorsPerLBA is how many sectors of 512 bytes, in which BIOS and GPT
	// count, are in one of the file system's.
	sectorsPerLBA = iso9660.SectorSize / 512
	// startSize is what boot code and GPT take at the start of the image, in
	// bytes: the master boot record, and what the end has.
	startSize = 512 + gptSize
	// bootCodeEnd is where a master boot record's code ends and its disk
	// signature begins.
	bootCodeEnd = 440
	// activeEntry is the second of the four partition entries.
	activeEntry = 462
)

// frame is what surrounds the file system: go-diskfs writes its partition table
// there as if it were the image's file.
type frame struct {
	backend.WritableFile // nil: nothing but WriteAt is called
	start, end           []byte
	size                 int64
}

// newFrame returns the empty frame of an image of size bytes.
func newFrame(size int64) *frame {
	return &frame{start: make([]byte, startSize), end: make([]byte, gptSize), size: size}
}

// WriteAt fails outside the frame.
func (f *frame) WriteAt(p []byte, at int64) (int, error) {
	end := at + int64(len(p))
	switch tail := f.size - int64(len(f.end)); {
	case at >= 0 && end <= int64(len(f.start)):
		return copy(f.start[at:], p), nil
	case at >= tail && end <= f.size:
		return copy(f.end[at-tail:], p), nil
	}
	return 0, fmt.Errorf("write of %d bytes at %d meets the file system", len(p), at)
}

// bootCode puts the code of mbr in front of the partition entries, and a second
// entry: some BIOSes do not start a disk without an active partition, and the
// protective one must not be active.
func (f *frame) bootCode(mbr []byte) {
	copy(f.start, mbr[:bootCodeEnd])
	active := f.start[activeEntry:][:16]
	clear(active)
	active[0] = 0x80
	binary.LittleEndian.PutUint32(active[12:], 1) // one sector, from 0, of type 0: "unused"
}
