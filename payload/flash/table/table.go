// Package table reads the partition table in the first bytes of a disk image, and
// fits it to a larger disk: in memory, so that whoever writes the disk decides
// when it becomes one.
//
// [Parse] reads a GPT (UEFI 2.10, section 5.3) or else an MBR with up to four
// primary partitions. [Table.Grow] moves a GPT's backup to the disk's end and
// extends the last partition. Every checksum is checked and every number bounded:
// an image is somebody's file until its last chunk was compared.
//
// The package does not create tables, and reads no logical partitions.
package table

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// ErrTable is wrapped by every error of this package.
var ErrTable = errors.New("partition table")

// Head is how many bytes of a disk's beginning hold its boot code and its table,
// and whatever comes before the first partition of most images.
const Head = 1 << 20

// Partition is one partition. Start and Size are in bytes.
type Partition struct {
	Number      int // from 1, as in sda1
	Start, Size int64
}

// End is the byte behind the partition.
func (p Partition) End() int64 { return p.Start + p.Size }

// Table is a partition table.
type Table struct {
	// Partitions are in the order of their numbers.
	Partitions []Partition
	// ID is the disk's own: a GPT's GUID or an MBR's signature, in hexadecimal; ""
	// where there is none.
	ID string
	// End is where the table ends, in bytes from the disk's beginning: what follows
	// belongs to nobody up to the first partition.
	End int64

	sector int64
	gpt    *gpt   // nil is an MBR only
	mbr    []byte // the first 512 bytes
}

const (
	mbrSize   = 512
	mbrID     = 440
	mbrTable  = 446
	mbrEntry  = 16
	protected = 0xee // the type of the entry that guards a GPT
)

// Parse reads the table of a disk with logical sectors of the given size, from its
// first [Head] bytes, or all of a smaller one.
func Parse(head []byte, sector int) (*Table, error) {
	if sector != 512 && sector != 4096 {
		return nil, fmt.Errorf("%w: sectors of %d bytes", ErrTable, sector)
	}
	if len(head) < mbrSize || head[510] != 0x55 || head[511] != 0xaa {
		return nil, fmt.Errorf("%w: bytes 510 and 511 are not 55 AA: no firmware would boot this", ErrTable)
	}
	t := &Table{mbr: slices.Clone(head[:mbrSize]), sector: int64(sector), End: mbrSize}
	if slices.ContainsFunc(t.entries(), func(e []byte) bool { return e[4] == protected }) {
		if err := t.readGPT(head); err != nil {
			return nil, err
		}
		return t, nil
	}
	if id := binary.LittleEndian.Uint32(head[mbrID:]); id != 0 {
		t.ID = fmt.Sprintf("%08x", id)
	}
	for i, e := range t.entries() {
		start, count := int64(binary.LittleEndian.Uint32(e[8:])), int64(binary.LittleEndian.Uint32(e[12:]))
		if e[4] != 0 && count > 0 {
			t.Partitions = append(t.Partitions, Partition{i + 1, start * t.sector, count * t.sector})
		}
	}
	return t, nil
}

// None returns the table of a disk that has none.
func None() *Table { return &Table{mbr: make([]byte, mbrSize), sector: mbrSize, End: mbrSize} }

// entries returns the four entries of the MBR.
func (t *Table) entries() [][]byte {
	return slices.Collect(slices.Chunk(t.mbr[mbrTable:mbrTable+4*mbrEntry], mbrEntry))
}

// Partition returns the partition with a number.
func (t *Table) Partition(number int) (Partition, error) {
	i := slices.IndexFunc(t.Partitions, func(p Partition) bool { return p.Number == number })
	if i < 0 {
		return Partition{}, fmt.Errorf("%w: there is no partition %d, only %s", ErrTable, number, t.numbers())
	}
	return t.Partitions[i], nil
}

// numbers lists the partitions' numbers for people.
func (t *Table) numbers() string {
	var list []string
	for _, p := range t.Partitions {
		list = append(list, fmt.Sprint(p.Number))
	}
	return "(" + strings.Join(list, ", ") + ")"
}

// Gap returns the bytes between the table and the first partition, as far as they
// are within the first [Head] bytes. Where there are none, end is not above start.
func (t *Table) Gap() (start, end int64) {
	end = Head
	for _, p := range t.Partitions {
		end = min(end, p.Start)
	}
	return t.End, end
}

// Last returns the partition that ends last.
func (t *Table) Last() (Partition, error) {
	if len(t.Partitions) == 0 {
		return Partition{}, fmt.Errorf("%w: there are no partitions", ErrTable)
	}
	return slices.MaxFunc(t.Partitions, func(a, b Partition) int {
		return int(min(max(a.End()-b.End(), -1), 1))
	}), nil
}

// align is what partitions end at where they grow, in bytes: what Linux'
// partitioning programs do, and a multiple of what any disk erases at once.
const align = 1 << 20

// Grow extends the last partition to the end of a disk of size bytes, and moves a
// GPT's backup there. It returns the partition as it is now, which is the same as
// before where there was no room to gain.
func (t *Table) Grow(size int64) (Partition, error) {
	last, err := t.Last()
	if err != nil {
		return Partition{}, err
	}
	i := slices.Index(t.Partitions, last)
	limit := size
	if t.gpt != nil {
		limit = t.gpt.move(size / t.sector)
		t.guard(size)
	} else if kind := t.entries()[last.Number-1][4]; kind == 0x05 || kind == 0x0f || kind == 0x85 {
		return Partition{}, fmt.Errorf("%w: the last partition, %d, is an extended one, and cannot grow", ErrTable, last.Number)
	} else {
		limit = min(limit, (1<<32-1)*t.sector) // where 32 bits end
	}
	if limit < last.End() {
		return Partition{}, fmt.Errorf("%w: the last partition ends at %d, and a disk of %d bytes has room up to %d", ErrTable, last.End(), size, limit)
	}
	if end := limit / align * align; end > last.End() {
		last.Size = end - last.Start
	}
	t.Partitions[i] = last
	t.record(last)
	return last, nil
}

// record writes where a partition ends into the table.
func (t *Table) record(p Partition) {
	if t.gpt != nil {
		t.gpt.setEnd(p.Number, p.End()/t.sector-1)
		return
	}
	e := t.entries()[p.Number-1]
	binary.LittleEndian.PutUint32(e[12:], uint32(p.Size/t.sector))
	copy(e[5:8], []byte{0xfe, 0xff, 0xff}) // cylinder, head and sector that cannot tell
}

// guard lets the MBR's protective entry cover a disk of size bytes.
func (t *Table) guard(size int64) {
	for _, e := range t.entries() {
		if e[4] == protected && binary.LittleEndian.Uint32(e[8:]) == 1 {
			binary.LittleEndian.PutUint32(e[12:], uint32(min(size/t.sector-1, 1<<32-1)))
		}
	}
}

// Write puts the table into a disk's first bytes, which hold what Parse read.
func (t *Table) Write(head []byte) {
	copy(head[mbrTable:mbrSize-2], t.mbr[mbrTable:])
	if t.gpt != nil {
		t.gpt.write(head)
	}
}

// Backup returns the copy of a GPT that stands at a disk's end, and where. For an
// MBR it returns nothing.
func (t *Table) Backup() (offset int64, data []byte) {
	if t.gpt == nil {
		return 0, nil
	}
	return t.gpt.backup()
}
