package chunks

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/farboot/farboot/payload/caibx"
)

// Table says where the chunks lie in a seekable Zstandard file: what each of them
// takes there, in bytes, from the file's first byte on. The file ends with the table
// itself.
type Table []int64

// ErrTable is wrapped by every error of [DecodeTable].
var ErrTable = errors.New("not a seek table")

// The seek table is a frame that decoders skip (contrib/seekable_format of zstd,
// zstd_seekable_compression_format.md, version 0.1.0), of little-endian numbers:
//
//	0x184D2A5E, size of what follows
//	compressed size, size       (for each frame)
//	number of frames, flags (a byte), 0x8F92EAB1
const (
	skippable  = 0x184D2A5E
	seekable   = 0x8F92EAB1
	tableHead  = 8
	tableItem  = 8
	tableTail  = 9
	maxEncoded = tableHead + caibx.MaxChunks*tableItem + tableTail
)

// Encode returns the table as the file has it, for the chunks of an index.
func (t Table) Encode(x *caibx.Index) ([]byte, error) {
	if err := t.check(x); err != nil {
		return nil, err
	}
	n := len(t)
	b := binary.LittleEndian.AppendUint32(make([]byte, 0, encodedSize(len(t))), skippable)
	b = binary.LittleEndian.AppendUint32(b, uint32(n*tableItem+tableTail))
	for i, packed := range t {
		b = binary.LittleEndian.AppendUint32(b, uint32(packed))
		b = binary.LittleEndian.AppendUint32(b, uint32(x.Len(i)))
	}
	b = binary.LittleEndian.AppendUint32(b, uint32(n))
	b = append(b, 0)
	return binary.LittleEndian.AppendUint32(b, seekable), nil
}

// TableSize is how many bytes the table has of a file with the chunks of an index.
func TableSize(x *caibx.Index) int64 { return encodedSize(len(x.Chunks)) }

// encodedSize is how many bytes Encode makes of n chunks.
func encodedSize(n int) int64 { return int64(tableHead + n*tableItem + tableTail) }

// FileSize is how many bytes the seekable file has.
func (t Table) FileSize() int64 {
	size := encodedSize(len(t))
	for _, n := range t {
		size += n
	}
	return size
}

// DecodeTable reads the table of a file with the chunks of an index. It accepts
// nothing that [Table.Encode] would not write: one frame a chunk, without checksums.
func DecodeTable(data []byte, x *caibx.Index) (Table, error) {
	n := len(x.Chunks)
	if len(data) > maxEncoded || int64(len(data)) != encodedSize(n) {
		return nil, fmt.Errorf("%w: %d bytes for %d chunks", ErrTable, len(data), n)
	}
	word := func(at int) uint32 { return binary.LittleEndian.Uint32(data[at:]) }
	tail := len(data) - tableTail
	if word(0) != skippable || word(4) != uint32(len(data)-tableHead) || word(tail) != uint32(n) || data[tail+4] != 0 || word(tail+5) != seekable {
		return nil, fmt.Errorf("%w: it does not begin and end like one", ErrTable)
	}
	t := make(Table, n)
	for i := range t {
		at := tableHead + i*tableItem
		if t[i] = int64(word(at)); int64(word(at+4)) != x.Len(i) {
			return nil, fmt.Errorf("%w: frame %d has %d bytes, and the chunk %d", ErrTable, i, word(at+4), x.Len(i))
		}
	}
	if err := t.check(x); err != nil {
		return nil, err
	}
	return t, nil
}

// check tells what is wrong with a table.
func (t Table) check(x *caibx.Index) error {
	if len(t) != len(x.Chunks) {
		return fmt.Errorf("%w: %d frames for %d chunks", ErrTable, len(t), len(x.Chunks))
	}
	for i, n := range t {
		if n < 1 || n > MaxPacked(x.Len(i)) {
			return fmt.Errorf("%w: frame %d takes %d bytes", ErrTable, i, n)
		}
	}
	return nil
}
