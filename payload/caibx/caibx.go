// Package caibx reads and writes casync's index of a blob (.caibx): where each
// chunk of an image ends, and its SHA-256. A program that has an index it trusts
// can take the image from anybody, in any order, and check each chunk before it
// uses a byte of it.
//
// [Make] makes the index of an image, [Index.Encode] its file, and [Decode] reads
// one, made here, by casync or by desync. Decode accepts nothing that Encode would
// not write, but for the sizes and flags that are casync's own business, and
// bounds all that it reads; what it returns is as good as the signature over its
// bytes, which the caller checks.
//
// The package does not read or write chunk stores, knows no directory index
// (.caidx), and no other hash than SHA-256: it is two to three times as fast as
// casync's default, SHA-512/256, on every machine that has instructions for it.
package caibx

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"github.com/farboot/farboot/payload/object"
)

const (
	// DefaultChunk is the size of the chunks of an index that farboot makes, in
	// bytes. Of a compressed image 64 KiB chunks would be 12 % more, and the index
	// 16 times as large.
	DefaultChunk = 1 << 20
	// MaxChunk is the most that one chunk may have, in bytes. It bounds what a
	// reader holds in memory before it knows whether the bytes are right.
	MaxChunk = 16 << 20
	// MaxChunks is the most chunks that an index may have: an image of 4 TB in
	// chunks of 1 MiB.
	MaxChunks = 4 << 20
	// MaxFile is the most that a file with an index may have, in bytes.
	MaxFile = headSize + MaxChunks*itemSize + tailSize
)

// ErrMalformed is wrapped by every error of [Decode].
var ErrMalformed = errors.New("not a chunk index")

// Index says of what chunks an image consists.
type Index struct {
	// Min, Avg and Max are the bounds by which the chunks were cut, in bytes. They
	// are equal where the size is fixed. Only Max says something of the chunks.
	Min, Avg, Max int64
	// Chunks follow each other without gaps from the image's first byte on.
	Chunks []Chunk
}

// Chunk is one piece of an image.
type Chunk struct {
	// End is where it ends, in bytes from the image's beginning.
	End int64
	// ID is the SHA-256 of its bytes.
	ID object.ID
}

// Size is how many bytes the image has.
func (x *Index) Size() int64 {
	if len(x.Chunks) == 0 {
		return 0
	}
	return x.Chunks[len(x.Chunks)-1].End
}

// Start is where chunk i begins, in bytes from the image's beginning.
func (x *Index) Start(i int) int64 {
	if i == 0 {
		return 0
	}
	return x.Chunks[i-1].End
}

// Len is how many bytes chunk i has.
func (x *Index) Len(i int) int64 { return x.Chunks[i].End - x.Start(i) }

// At returns the chunk that holds the byte at offset, which must be within the
// image.
func (x *Index) At(offset int64) int {
	return sort.Search(len(x.Chunks), func(i int) bool { return x.Chunks[i].End > offset })
}

// Make reads an image to its end and returns its index, in chunks of the given
// size in bytes, the last one being what is left.
func Make(r io.Reader, chunk int) (*Index, error) {
	if chunk <= 0 || chunk > MaxChunk {
		return nil, fmt.Errorf("chunks of %d bytes, want 1 to %d", chunk, MaxChunk)
	}
	x := &Index{Min: int64(chunk), Avg: int64(chunk), Max: int64(chunk)}
	buf := make([]byte, chunk)
	for {
		n, err := fill(r, buf)
		if n > 0 {
			if len(x.Chunks) == MaxChunks {
				return nil, fmt.Errorf("image has more than %d chunks of %d bytes", MaxChunks, chunk)
			}
			x.Chunks = append(x.Chunks, Chunk{x.Size() + int64(n), sha256.Sum256(buf[:n])})
		}
		switch {
		case errors.Is(err, io.EOF):
			return x, nil
		case err != nil:
			return nil, err
		}
	}
}

// fill reads until buf is full. Its io.EOF is the reader's: io.ReadFull says
// io.ErrUnexpectedEOF at a good end within buf, which is what a decompressor says
// of a file that was cut.
func fill(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}

// The format, of little-endian 64-bit numbers throughout (src/caformat.h and
// src/caindex.c of casync 2):
//
//	48, index magic, flags, min, avg, max
//	2^64-1, table magic
//	end, SHA-256         (for each chunk)
//	0, 0, 48, size of the table from its header to its end, tail magic
const (
	headSize  = 64
	tableHead = 16 // the part of the table that precedes its items
	itemSize  = 40
	tailSize  = 40

	indexMagic = 0x96824d9c7b129ff9
	tableMagic = 0xe75b9e112f17417d
	tailMagic  = 0x4b4f050e5549ecd1
	toTheEnd   = 1<<64 - 1 // size of a table that is not known beforehand

	flagSHA512  = 0x2000000000000000 // SHA-512/256 in the place of SHA-256
	flagNodump  = 0x8000000000000000 // these two, which casync sets, say what it
	flagExclude = 0x1000000000000000 // leaves out of directories, not of blobs
)

// Encode returns the index as the bytes of a file. An index that [Decode] would
// not take is refused.
func (x *Index) Encode() ([]byte, error) {
	if err := x.check(); err != nil {
		return nil, err
	}
	b := make([]byte, 0, headSize+len(x.Chunks)*itemSize+tailSize)
	b = append(b, numbers(48, indexMagic, flagNodump|flagExclude, uint64(x.Min), uint64(x.Avg), uint64(x.Max), toTheEnd, tableMagic)...)
	for _, c := range x.Chunks {
		b = append(binary.LittleEndian.AppendUint64(b, uint64(c.End)), c.ID[:]...)
	}
	return append(b, tailOf(len(x.Chunks))...), nil
}

// tailOf returns the end of a file with n chunks.
func tailOf(n int) []byte {
	return numbers(0, 0, 48, uint64(tableHead+n*itemSize+tailSize), tailMagic)
}

// Decode reads the bytes of a file with an index.
func Decode(file []byte) (*Index, error) {
	n := (len(file) - headSize - tailSize) / itemSize
	if len(file) > MaxFile || len(file) < headSize+tailSize || len(file) != headSize+n*itemSize+tailSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(file))
	}
	x, err := decodeHead(file[:headSize])
	if err != nil {
		return nil, err
	}
	items, tail := file[headSize:len(file)-tailSize], file[len(file)-tailSize:]
	if !bytes.Equal(tail, tailOf(n)) {
		return nil, fmt.Errorf("%w: its end is missing", ErrMalformed)
	}
	x.Chunks = make([]Chunk, n)
	for i := range x.Chunks {
		item := items[i*itemSize:]
		x.Chunks[i] = Chunk{int64(binary.LittleEndian.Uint64(item)), object.ID(item[8:itemSize])}
	}
	if err := x.check(); err != nil {
		return nil, err
	}
	return x, nil
}

// numbers returns the bytes of 64-bit numbers.
func numbers(all ...uint64) []byte {
	var b []byte
	for _, v := range all {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// decodeHead reads what precedes the items.
func decodeHead(head []byte) (*Index, error) {
	var v [headSize / 8]uint64
	for i := range v {
		v[i] = binary.LittleEndian.Uint64(head[8*i:])
	}
	switch {
	case v[0] != 48 || v[1] != indexMagic || v[6] != toTheEnd || v[7] != tableMagic:
		return nil, fmt.Errorf("%w: no .caibx begins like this", ErrMalformed)
	case v[2]&flagSHA512 != 0:
		return nil, fmt.Errorf("%w: made with SHA-512/256, want --digest=sha256", ErrMalformed)
	case v[2]&^(flagNodump|flagExclude) != 0:
		return nil, fmt.Errorf("%w: made of a directory, or with unknown flags: %#x", ErrMalformed, v[2])
	}
	return &Index{Min: int64(v[3]), Avg: int64(v[4]), Max: int64(v[5])}, nil
}

// check tells what is wrong with an index.
func (x *Index) check() error {
	if x.Min < 1 || x.Avg < x.Min || x.Max < x.Avg || x.Max > MaxChunk {
		return fmt.Errorf("%w: chunks of %d, %d and %d bytes", ErrMalformed, x.Min, x.Avg, x.Max)
	}
	if len(x.Chunks) > MaxChunks {
		return fmt.Errorf("%w: %d chunks", ErrMalformed, len(x.Chunks))
	}
	fixed := x.Min == x.Max
	for i := range x.Chunks {
		n := x.Len(i)
		if n < 1 || n > x.Max || fixed && n != x.Max && i < len(x.Chunks)-1 {
			return fmt.Errorf("%w: chunk %d has %d bytes", ErrMalformed, i, n)
		}
	}
	return nil
}
