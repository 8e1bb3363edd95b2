package squashfs

import (
	"encoding/binary"
)

// metaSize is how much metadata is compressed together, in bytes.
const metaSize = 8 << 10

// stored marks, in the length of a block of metadata, that it is not
// compressed.
const stored = 1 << 15

// metadata is a table of inodes, folders or the like: blocks of 8 KiB, each
// with its length in front.
type metadata struct {
	pack    func([]byte) []byte
	done    []byte // whole blocks, compressed
	pending []byte // less than a block
	starts  []int  // where in done each block starts
}

// place is a place in a table: the start of the compressed block, and an offset
// in the block once it is expanded.
type place struct {
	block  uint32
	offset uint16
}

// here returns the place of what is written next.
func (m *metadata) here() place { return place{uint32(len(m.done)), uint16(len(m.pending))} }

// Write adds data. It never fails.
func (m *metadata) Write(data []byte) (int, error) {
	n := len(data)
	for len(data) > 0 {
		k := min(len(data), metaSize-len(m.pending))
		m.pending = append(m.pending, data[:k]...)
		data = data[k:]
		if len(m.pending) == metaSize {
			m.flush()
		}
	}
	return n, nil
}

// flush ends the block that is being filled, if there is one.
func (m *metadata) flush() {
	if len(m.pending) == 0 {
		return
	}
	m.starts = append(m.starts, len(m.done))
	data, mark := m.pack(m.pending), uint16(0)
	if len(data) >= len(m.pending) {
		data, mark = m.pending, stored
	}
	m.done = binary.LittleEndian.AppendUint16(m.done, uint16(len(data))|mark)
	m.done = append(m.done, data...)
	m.pending = m.pending[:0]
}

// bytes returns the whole table.
func (m *metadata) bytes() []byte {
	m.flush()
	return m.done
}

// record builds what the format calls a structure: little-endian numbers.
type record []byte

func (r record) u16(v int) record    { return binary.LittleEndian.AppendUint16(r, uint16(v)) }
func (r record) u32(v uint32) record { return binary.LittleEndian.AppendUint32(r, v) }
func (r record) u64(v uint64) record { return binary.LittleEndian.AppendUint64(r, v) }
func (r record) text(s string) record {
	return append(r, s...)
}
