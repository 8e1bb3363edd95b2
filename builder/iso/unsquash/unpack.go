package unsquash

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz/lzma"
)

// unpacker unpacks a block into at most so many bytes.
type unpacker func(packed []byte, most int) ([]byte, error)

// unpackerFor returns the unpacker of a superblock's compression.
func unpackerFor(id uint16) (unpacker, error) {
	switch id {
	case 1:
		return unzlib, nil
	case 2:
		return unlzma, nil
	case 4:
		return unxz, nil
	case 5:
		return unlz4, nil
	case 6:
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(16<<20))
		if err != nil {
			return nil, err
		}
		return func(packed []byte, most int) ([]byte, error) { return d.DecodeAll(packed, make([]byte, 0, most)) }, nil
	case 3:
		return nil, fmt.Errorf("%w: lzo", ErrCompression)
	}
	return nil, fmt.Errorf("%w: number %d", ErrCompression, id)
}

func unzlib(packed []byte, most int) ([]byte, error) {
	r, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return drain(r, most)
}

func unlzma(packed []byte, most int) ([]byte, error) {
	if len(packed) >= 5 && binary.LittleEndian.Uint32(packed[1:]) > maxDict {
		return nil, errors.New("dictionary is too large")
	}
	r, err := lzma.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return drain(r, most)
}

func unlz4(packed []byte, most int) ([]byte, error) {
	out := make([]byte, most)
	n, err := lz4.UncompressBlock(packed, out)
	if err != nil {
		return nil, err
	}
	return out[:n], nil
}

// drain reads at most so many bytes.
func drain(r io.Reader, most int) ([]byte, error) {
	out := make([]byte, most)
	n, err := io.ReadFull(r, out)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return out[:n], nil
	}
	return out, err
}

// Of the .xz file format 1.2.0, sections 2 to 5.
const (
	xzHeader  = 12
	xzIDX86   = 4
	xzIDLZMA2 = 0x21
	maxDict   = 16 << 20 // mksquashfs takes the block's size at most
	xzSizes   = 0xc0     // of the block's flags: one bit for each of two sizes
)

// unxz unpacks the one block of an .xz stream. The library does not know the filter
// for x86, which mksquashfs takes where it helps. The checksum is not looked at: what
// is made of the content is named by its hash.
func unxz(packed []byte, most int) ([]byte, error) {
	bad := errors.New("not one block of xz")
	if len(packed) < xzHeader+8 || string(packed[:6]) != "\xfd7zXZ\x00" {
		return nil, bad
	}
	head := packed[xzHeader:]
	size := (int(head[0]) + 1) * 4
	if head[0] == 0 || size > len(head) {
		return nil, bad
	}
	data, filters := head[size:], head[2:size]
	for sizes := head[1] & xzSizes; sizes != 0; sizes &= sizes - 1 {
		_, n := binary.Uvarint(filters)
		if n <= 0 {
			return nil, bad
		}
		filters = filters[n:]
	}
	if len(filters) < 2 {
		return nil, bad
	}
	x86 := head[1]&3 == 1
	if x86 {
		if filters[0] != xzIDX86 || filters[1] != 0 {
			return nil, fmt.Errorf("%w: xz filter %d", ErrCompression, filters[0])
		}
		filters = filters[2:]
	} else if head[1]&3 != 0 {
		return nil, fmt.Errorf("%w: %d xz filters", ErrCompression, head[1]&3+1)
	}
	if len(filters) < 3 || filters[0] != xzIDLZMA2 || filters[1] != 1 || filters[2] > 40 {
		return nil, fmt.Errorf("%w: xz filter %d", ErrCompression, filters[0])
	}
	r, err := lzma.Reader2Config{DictCap: min(dictSize(filters[2]), maxDict)}.NewReader2(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	out, err := drain(r, most)
	if err == nil && x86 {
		unfilterX86(out)
	}
	return out, err
}

// dictSize is the size of a dictionary as section 5.3.1 writes it.
func dictSize(b byte) int {
	if b == 40 {
		return 1<<32 - 1
	}
	return int(2|b&1) << (b/2 + 11)
}

// unfilterX86 makes the targets of calls and jumps relative again, as the filter made
// them absolute (liblzma's simple/x86.c).
func unfilterX86(b []byte) {
	allowed := [8]bool{true, true, true, false, true, false, false, false}
	number := [8]uint32{0, 1, 2, 2, 3, 3, 3, 3}
	edge := func(b byte) bool { return b == 0 || b == 0xff }
	mask, last := uint32(0), -1
	for i := 0; i < len(b)-4; i++ {
		if b[i]&0xfe != 0xe8 {
			continue
		}
		distance := i - last
		last = i
		if distance > 3 {
			mask = 0
		} else if mask = mask << (distance - 1) & 7; mask != 0 && (!allowed[mask] || edge(b[i+4-int(number[mask])])) {
			mask = mask<<1 | 1
			continue
		}
		if !edge(b[i+4]) {
			mask = mask<<1 | 1
			continue
		}
		target := binary.LittleEndian.Uint32(b[i+1:])
		for {
			target -= uint32(i) + 5
			shift := number[mask] * 8
			if mask == 0 || !edge(byte(target>>(24-shift))) {
				break
			}
			target ^= 1<<(32-shift) - 1
		}
		target &= 0x01ffffff
		target |= -(target & 0x01000000)
		binary.LittleEndian.PutUint32(b[i+1:], target)
		i += 4
	}
}
