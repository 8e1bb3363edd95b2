package initrd

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"
)

// maxWindow bounds the memory for unpacking, in bytes. The kernel's own limit for
// zstd is 128 MiB (ZSTD_WINDOWSIZE_MAX in lib/decompress_unzstd.c).
const maxWindow = 128 << 20

// kinds are what compressed archives begin with (lib/decompress.c of the kernel).
var kinds = []struct {
	name, magic string
	open        func(*bufio.Reader) (io.ReadCloser, error)
}{
	{"gzip", "\x1f\x8b", openGzip},
	{"zstd", "\x28\xb5\x2f\xfd", openZstd},
	{"xz", "\xfd7zXZ\x00", func(r *bufio.Reader) (io.ReadCloser, error) {
		x, err := xz.ReaderConfig{DictCap: 8 << 20}.NewReader(r)
		return closer{x}, err
	}},
	{"lz4", "\x02\x21\x4c\x18", func(r *bufio.Reader) (io.ReadCloser, error) { return closer{lz4.NewReader(r)}, nil }},
	{"lzma", "\x5d\x00\x00", openLZMA},
	{"bzip2", "BZh", func(r *bufio.Reader) (io.ReadCloser, error) { return closer{bzip2.NewReader(r)}, nil }},
}

// closer is a reader that needs no closing.
type closer struct{ io.Reader }

func (closer) Close() error { return nil }

// nameOf names the compression of what begins so.
func nameOf(head []byte) string {
	for _, k := range kinds {
		if bytes.HasPrefix(head, []byte(k.magic)) {
			return k.name
		}
	}
	return fmt.Sprintf("%x", head)
}

// unpacker opens what begins with head.
func unpacker(r *bufio.Reader, head []byte) (io.ReadCloser, error) {
	for _, k := range kinds {
		if !bytes.HasPrefix(head, []byte(k.magic)) {
			continue
		}
		u, err := k.open(r)
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, k.name, err)
		}
		return u, nil
	}
	return nil, fmt.Errorf("%w: neither an archive nor compressed in a known way: %x", ErrMalformed, head)
}

// openGzip unpacks one member, to its last byte.
func openGzip(r *bufio.Reader) (io.ReadCloser, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, err
	}
	z.Multistream(false)
	return z, nil
}

// openLZMA unpacks the format of before xz, whose header says how much memory it takes.
func openLZMA(r *bufio.Reader) (io.ReadCloser, error) {
	head, err := r.Peek(5)
	if err != nil {
		return nil, err
	}
	if n := binary.LittleEndian.Uint32(head[1:]); n > maxWindow {
		return nil, fmt.Errorf("a dictionary of %d bytes", n)
	}
	l, err := lzma.NewReader(r)
	return closer{l}, err
}

// openZstd unpacks one frame, to its last byte.
func openZstd(r *bufio.Reader) (io.ReadCloser, error) {
	d, err := zstd.NewReader(&frame{r: r}, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

// frame reads one frame of a Zstandard stream and no more (RFC 8878, section 3.1.1):
// the decoder would read ahead into what follows.
type frame struct {
	r       *bufio.Reader
	left    int64 // of what was announced
	begun   bool
	last    bool
	sum     int64 // bytes of a checksum at the end
	decided bool
}

func (f *frame) Read(p []byte) (int, error) {
	if f.left == 0 {
		if err := f.advance(); err != nil {
			return 0, err
		}
	}
	n, err := f.r.Read(p[:min(int64(len(p)), f.left)])
	f.left -= int64(n)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// advance looks at how long the next part is: the frame's header, a block with the
// three bytes before it, or the checksum.
func (f *frame) advance() error {
	switch {
	case !f.begun:
		return f.header()
	case f.last && f.decided:
		return io.EOF
	case f.last:
		f.decided, f.left = true, f.sum
		if f.sum == 0 {
			return io.EOF
		}
		return nil
	}
	b, err := f.r.Peek(3)
	if err != nil {
		return errors.Join(io.ErrUnexpectedEOF, err)
	}
	h := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16
	f.last = h&1 != 0
	size := int64(h >> 3)
	if h>>1&3 == 1 { // one byte, repeated
		size = 1
	}
	f.left = 3 + size
	return nil
}

// header measures the frame's header (section 3.1.1.1).
func (f *frame) header() error {
	b, err := f.r.Peek(5)
	if err != nil {
		return errors.Join(io.ErrUnexpectedEOF, err)
	}
	d := b[4]
	single := d>>5&1 == 1
	n := int64(5) + []int64{0, 1, 2, 4}[d&3] + []int64{0, 2, 4, 8}[d>>6]
	if !single {
		n++ // the window's size
	} else if d>>6 == 0 {
		n++ // the content's size takes a byte then
	}
	f.begun, f.left, f.sum = true, n, int64(d>>2&1)*4
	return nil
}
