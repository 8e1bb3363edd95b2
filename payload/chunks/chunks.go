// Package chunks reads images that lie on web servers, as if they were files here.
//
// An image is cut into chunks, and an index (package caibx) that somebody signed
// says what each of them hashes to. The bytes themselves may lie anywhere, in one
// of three layouts, which [Image] describes:
//
//   - one seekable Zstandard file: each chunk is a frame, so that it is a Range of
//     the file, and "zstd -d" makes the image of it;
//   - a .castr tree as casync and desync have it: each chunk is a file of one frame,
//     named by its hash, so that versions of an image share what they have in common;
//   - the image itself, as it is, also on a server that has never heard of this.
//
// [Open] takes an Image and gives a [Reader], an io.ReaderAt. It promises that no
// byte is returned that the index does not vouch for, whoever sent it and from
// whatever cache it came; that it holds no more memory than [Limits] say; and that a
// network that is away makes reads wait, not fail. A read fails where every site was
// asked for a chunk and none has the right one: that error is [ErrChunk].
//
// [Unpacker] and [Store] are the form of a single chunk, [DecodeTable] and
// [Table.Encode] where the chunks lie in a seekable file. Package builder/chunker
// makes all of this.
//
// The package makes no block device, and does not judge whether the index is the
// right one.
package chunks

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/object"
)

var (
	// ErrWrong: bytes are not the chunk that they should be.
	ErrWrong = errors.New("wrong chunk")
	// ErrChunk: a chunk cannot be had from anybody.
	ErrChunk = errors.New("no site has this chunk of the image right")
	// ErrImage: what describes an image contradicts itself.
	ErrImage = errors.New("not an image that can be read")
)

// MaxPacked bounds a chunk of n bytes as it is packed: what an encoder adds to bytes
// that it cannot compress (ZSTD_COMPRESSBOUND of zstd.h), and room for a checksum.
func MaxPacked(n int64) int64 { return n + n>>8 + 128 }

// Unpacker unpacks chunks, several at a time.
type Unpacker struct{ zstd *zstd.Decoder }

// NewUnpacker returns an Unpacker for so many goroutines; more wait for each other.
func NewUnpacker(parallel int) *Unpacker {
	// SHA-256 will tell more than the frames' checksums, which take 4 % of the time.
	d, err := zstd.NewReader(nil, zstd.IgnoreChecksum(true), zstd.WithDecoderConcurrency(parallel), zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxMemory(caibx.MaxChunk))
	if err != nil {
		panic(err) // these options are right or wrong for ever
	}
	return &Unpacker{d}
}

// Unpack returns the chunk of n bytes that a .cacnk file holds, and makes sure that
// it is the right one. No more than n bytes come out, whatever the file says of
// itself. An error is [ErrWrong].
func (u *Unpacker) Unpack(packed []byte, id object.ID, n int64) ([]byte, error) {
	if n < 1 || n > caibx.MaxChunk || int64(len(packed)) > MaxPacked(n) {
		return nil, fmt.Errorf("%w: %d bytes for a chunk of %d", ErrWrong, len(packed), n)
	}
	data, err := u.zstd.DecodeAll(packed, make([]byte, 0, n))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrong, err)
	}
	if err := check(data, id, n); err != nil {
		return nil, err
	}
	return data, nil
}

// check wants data to be a chunk.
func check(data []byte, id object.ID, n int64) error {
	if int64(len(data)) != n {
		return fmt.Errorf("%w: %d bytes, want %d", ErrWrong, len(data), n)
	}
	if got := object.ID(sha256.Sum256(data)); got != id {
		return fmt.Errorf("%w: sha256 %s, want %s", ErrWrong, got, id)
	}
	return nil
}

// Store packs a chunk without compressing it, for readers of .cacnk files: a frame
// of raw blocks (RFC 8878, section 3.1.1). A machine that boots has better to do
// than to compress what it keeps.
func Store(data []byte) []byte {
	const block = 128 << 10 // the most that one may have
	b := make([]byte, 0, len(data)+9+3*(len(data)/block+1))
	b = append(b, 0x28, 0xb5, 0x2f, 0xfd, 0xa0) // magic; the size follows in 4 bytes, there is no window
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	for {
		part := data[:min(len(data), block)]
		data = data[len(part):]
		head := uint32(len(part)) << 3 // of type 0, raw
		if len(data) == 0 {
			head |= 1 // the last one
		}
		b = append(b, byte(head), byte(head>>8), byte(head>>16))
		b = append(b, part...)
		if len(data) == 0 {
			return b
		}
	}
}
