package table

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"slices"
)

// gpt is a GPT's primary header and its array of partitions.
type gpt struct {
	sector int64
	header []byte // a whole sector
	array  []byte
	entry  int // bytes of one entry
}

// Fields of the header, by their offset (UEFI 2.10, table 5.5).
const (
	gptSignature = "EFI PART"
	gptHeader    = 92
	gptSize      = 12 // of the header
	gptCRC       = 16
	gptThis      = 24
	gptOther     = 32
	gptFirst     = 40 // that partitions may use
	gptLast      = 48
	gptGUID      = 56
	gptArray     = 72
	gptCount     = 80
	gptEntry     = 84
	gptArrayCRC  = 88
	// maxEntries is what is read of a table: 32 times what everybody makes.
	maxEntries = 4096
)

var le = binary.LittleEndian

// readGPT reads the primary table of a disk that an MBR says to have one.
func (t *Table) readGPT(head []byte) error {
	if int64(len(head)) < 2*t.sector || string(head[t.sector:t.sector+8]) != gptSignature {
		if other := int64(512 + 4096 - t.sector); len(head) > int(other)+8 && string(head[other:other+8]) == gptSignature {
			return fmt.Errorf("%w: it is made for sectors of %d bytes, and the disk has %d", ErrTable, other, t.sector)
		}
		return fmt.Errorf("%w: the GPT that the MBR guards is missing", ErrTable)
	}
	g := &gpt{sector: t.sector, header: slices.Clone(head[t.sector : 2*t.sector])}
	h := g.header
	if size := le.Uint32(h[gptSize:]); size < gptHeader || int64(size) > t.sector || g.headerCRC() != le.Uint32(h[gptCRC:]) {
		return fmt.Errorf("%w: the GPT's header fails its checksum", ErrTable)
	}
	count, entry, at := le.Uint32(h[gptCount:]), le.Uint32(h[gptEntry:]), le.Uint64(h[gptArray:])
	if count == 0 || count > maxEntries || entry < 128 || entry > 4096 || entry&(entry-1) != 0 ||
		at < 2 || at > Head/512 || le.Uint64(h[gptThis:]) != 1 {
		return fmt.Errorf("%w: the GPT has %d entries of %d bytes at sector %d", ErrTable, count, entry, at)
	}
	start, n := int64(at)*t.sector, int64(count)*int64(entry)
	if start+n > int64(len(head)) {
		return fmt.Errorf("%w: the GPT is not within the first %d bytes", ErrTable, len(head))
	}
	g.array, g.entry = slices.Clone(head[start:start+n]), int(entry)
	if crc32.ChecksumIEEE(g.array) != le.Uint32(h[gptArrayCRC:]) {
		return fmt.Errorf("%w: the GPT's partitions fail their checksum", ErrTable)
	}
	t.gpt, t.End, t.ID = g, start+n, hex.EncodeToString(h[gptGUID:gptGUID+16])
	return t.readEntries()
}

// readEntries reads the partitions of the GPT.
func (t *Table) readEntries() error {
	number := 0
	for e := range slices.Chunk(t.gpt.array, t.gpt.entry) {
		number++
		if [16]byte(e) == [16]byte{} {
			continue
		}
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if first < 2 || last < first || last > 1<<50 {
			return fmt.Errorf("%w: partition %d reaches from sector %d to %d", ErrTable, number, first, last)
		}
		t.Partitions = append(t.Partitions, Partition{number, int64(first) * t.sector, int64(last-first+1) * t.sector})
	}
	return nil
}

// headerCRC is the checksum that the header ought to have.
func (g *gpt) headerCRC() uint32 {
	h := slices.Clone(g.header[:le.Uint32(g.header[gptSize:])])
	le.PutUint32(h[gptCRC:], 0)
	return crc32.ChecksumIEEE(h)
}

// sectors is how many sectors the array takes.
func (g *gpt) sectors() int64 { return (int64(len(g.array)) + g.sector - 1) / g.sector }

// move sets the end of the disk, in sectors, and returns where the last partition
// may end, in bytes.
func (g *gpt) move(sectors int64) (limit int64) {
	last := sectors - 1 - g.sectors() // the first sector of the backup's array
	le.PutUint64(g.header[gptOther:], uint64(sectors-1))
	le.PutUint64(g.header[gptLast:], uint64(last-1))
	return last * g.sector
}

// setEnd sets the last sector of a partition.
func (g *gpt) setEnd(number int, last int64) {
	le.PutUint64(g.array[(number-1)*g.entry+40:], uint64(last))
}

// seal sets the checksums.
func (g *gpt) seal() {
	le.PutUint32(g.header[gptArrayCRC:], crc32.ChecksumIEEE(g.array))
	le.PutUint32(g.header[gptCRC:], g.headerCRC())
}

// write puts header and array where they belong on a disk's beginning.
func (g *gpt) write(head []byte) {
	g.seal()
	copy(head[g.sector:], g.header)
	copy(head[int64(le.Uint64(g.header[gptArray:]))*g.sector:], g.array)
}

// backup returns the copy at the disk's end: the array, then a header that names
// itself and the primary one the other way round.
func (g *gpt) backup() (offset int64, data []byte) {
	g.seal()
	copied := gpt{sector: g.sector, header: slices.Clone(g.header), array: g.array, entry: g.entry}
	at := le.Uint64(g.header[gptOther:])
	first := int64(at) - g.sectors()
	le.PutUint64(copied.header[gptThis:], at)
	le.PutUint64(copied.header[gptOther:], 1)
	le.PutUint64(copied.header[gptArray:], uint64(first))
	copied.seal()
	data = make([]byte, g.sectors()*g.sector)
	copy(data, g.array)
	return first * g.sector, append(data, copied.header...)
}
