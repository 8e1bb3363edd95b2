// Package xz compresses to the .xz format as a kernel reads it: LZMA2 and
// CRC32. The one call is [Encode], or [EncodeProgram] for x86 programs. [Begin] and
// [Finish] are for bare LZMA, as GRUB's core image has it.
//
// It exists for size. ulikunitz/xz takes each match as it comes; this package
// weighs the matches of a stretch of input against each other by what they cost
// ("optimal parsing", as xz -6 does). The modules of all wired NICs, 44.8 MB,
// become 8.0 instead of 10.1 MB (xz -6: 7.8), and without that a netboot medium
// does not fit its 25 MB.
//
// The format is that of "The .xz File Format" 1.2.1 and of LZMA2 as in
// linux/lib/xz/xz_dec_lzma2.c. Same input, same output. The package does not
// decompress, and works on bytes in memory, not on streams.
package xz

import (
	"encoding/binary"
	"hash/crc32"
)

// DictSize is the window in bytes that matches lie in, and what a reader must
// hold to unpack.
const DictSize = 1 << dictBits

const (
	dictBits = 23
	// dictByte is DictSize as a block header has it (section 5.3.1).
	dictByte = (dictBits - 12) * 2
	// Numbers of filters (section 5.3).
	filterX86   = 0x04
	filterLZMA2 = 0x21
	// checkCRC32 is the check's number. Kernels know no other but "none".
	checkCRC32 = 0x01
)

// Encode returns data, which must be smaller than 2 GiB, as one .xz stream.
// Streams may follow each other. It needs 8 bytes of memory per byte in the
// window, 2 MB and the result, and runs at 1 to 3 MB/s.
func Encode(data []byte) []byte {
	return encode(data, data, []byte{0, filterLZMA2, 1, dictByte, 0, 0, 0})
}

// EncodeProgram is Encode for data that is mostly an x86 program, linked: such
// data becomes smaller. A kernel needs CONFIG_XZ_DEC_X86, which is on unless an expert
// turned it off. What is not linked yet, as kernel modules are, becomes larger.
func EncodeProgram(data []byte) []byte {
	return encode(data, x86(data), []byte{1, filterX86, 0, filterLZMA2, 1, dictByte, 0})
}

// encode returns the stream of data, of which the filters before the last made
// filtered. The filters are as in a block's header: their number less one and the flags
// for sizes, of which there are none, then each by number, length of its properties
// and these; padded.
func encode(data, filtered, filters []byte) []byte {
	flags := []byte{0, checkCRC32}
	out := append([]byte{0xfd, '7', 'z', 'X', 'Z', 0}, flags...)
	out = appendCRC(out, flags)

	header := len(out)
	out = append(out, byte((1+len(filters)+crc32.Size)/4-1)) // its size in words less one
	out = append(out, filters...)
	out = appendCRC(out, out[header:])
	out = appendLZMA2(out, filtered)
	unpadded := len(out) - header + crc32.Size
	out = pad(out)
	out = appendCRC(out, data)

	index := len(out)
	out = append(out, 0, 1) // an index with one record
	out = binary.AppendUvarint(out, uint64(unpadded))
	out = binary.AppendUvarint(out, uint64(len(data)))
	out = pad(out)
	out = appendCRC(out, out[index:])

	footer := binary.LittleEndian.AppendUint32(nil, uint32((len(out)-index)/4-1))
	footer = append(footer, flags...)
	out = appendCRC(out, footer)
	out = append(out, footer...)
	return append(out, 'Y', 'Z')
}

// pad appends zeros up to a multiple of 4 bytes; every part of the format
// begins at one.
func pad(out []byte) []byte { return append(out, make([]byte, -len(out)&3)...) }

// appendCRC appends the CRC32 of data.
func appendCRC(out, data []byte) []byte {
	return binary.LittleEndian.AppendUint32(out, crc32.ChecksumIEEE(data))
}
