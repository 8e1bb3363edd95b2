package expand

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"
)

// xz reads the container of LZMA2 (The .xz File Format 1.1.0). The LZMA library
// has a reader as well, which takes the size of its window from the file, up to
// 4 GiB, and does not ask.
type xz struct {
	in    counter
	block *lzma.Reader2
	began int64 // where the block's data began
	check hash.Hash
	kind  byte  // of the check
	known int64 // blocks of the present stream
	open  bool  // within a stream
}

// counter counts the bytes that were read.
type counter struct {
	*bufio.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

func (c *counter) ReadByte() (byte, error) {
	b, err := c.Reader.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

// take reads n bytes.
func (c *counter) take(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := io.ReadFull(c, b)
	return b, early(err)
}

// early makes an end that must not be there one that is not mistaken for the end.
func early(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (x *xz) Read(p []byte) (int, error) {
	for {
		if x.block == nil {
			if err := x.next(); err != nil {
				return 0, err
			}
			continue
		}
		n, err := x.block.Read(p)
		x.check.Write(p[:n])
		if errors.Is(err, io.EOF) {
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// next reads up to the data of the next block, or to the end, which is io.EOF.
func (x *xz) next() error {
	if !x.open {
		return x.startStream()
	}
	size, err := x.in.ReadByte()
	if err != nil {
		return early(err)
	}
	if size == 0 {
		return x.endStream()
	}
	return x.startBlock(size)
}

// startStream reads the header of a stream, of which one must be there.
func (x *xz) startStream() error {
	if x.in.n > 0 {
		if _, err := x.in.Peek(1); err != nil {
			return err // io.EOF is the end
		}
	}
	h, err := x.in.take(12)
	if err != nil {
		return err
	}
	if string(h[:6]) != "\xfd7zXZ\x00" || h[6] != 0 || crc32.ChecksumIEEE(h[6:8]) != binary.LittleEndian.Uint32(h[8:]) {
		return errors.New("no xz stream begins like this")
	}
	x.kind, x.known, x.open = h[7], 0, true
	switch x.kind {
	case 0, 1:
		x.check = crc32.NewIEEE()
	case 4:
		x.check = crc64.New(crc64.MakeTable(crc64.ECMA))
	case 10:
		x.check = sha256.New()
	default:
		return fmt.Errorf("check %d is not known", x.kind)
	}
	return nil
}

// startBlock reads the header of a block. Its only filter must be LZMA2.
func (x *xz) startBlock(size byte) error {
	h, err := x.in.take(int(size)*4 + 3)
	if err != nil {
		return err
	}
	body, sum := h[:len(h)-4], h[len(h)-4:]
	if crc32.ChecksumIEEE(append([]byte{size}, body...)) != binary.LittleEndian.Uint32(sum) {
		return errors.New("a block's header fails its checksum")
	}
	r := bytes.NewReader(body[1:])
	for _, has := range []byte{0x40, 0x80} { // sizes, which the data tells as well
		if body[0]&has != 0 {
			if _, err := binary.ReadUvarint(r); err != nil {
				return err
			}
		}
	}
	var filter [3]byte
	if _, err := io.ReadFull(r, filter[:]); err != nil || body[0]&0x3f != 0 || filter[0] != 0x21 || filter[1] != 1 {
		return errors.New("a block has other filters than LZMA2")
	}
	window, err := lzma.DecodeDictCap(filter[2])
	if err != nil || window > MaxWindow {
		return fmt.Errorf("a block wants to look back %d bytes, at most %d are kept", window, MaxWindow)
	}
	x.check.Reset()
	x.began, x.known = x.in.n, x.known+1
	x.block, err = lzma.Reader2Config{DictCap: max(int(window), lzma.MinDictCap)}.NewReader2(&x.in)
	return early(err)
}

// endBlock reads what follows a block's data.
func (x *xz) endBlock() error {
	x.block = nil
	sum := x.check.Sum(nil)
	switch x.kind {
	case 0:
		sum = nil
	case 1, 4: // these are stored the other way round
		slices.Reverse(sum)
	}
	padding := int(-(x.in.n - x.began) & 3)
	end, err := x.in.take(padding + len(sum))
	if err != nil {
		return err
	}
	if !bytes.Equal(end[:padding], make([]byte, padding)) || !bytes.Equal(end[padding:], sum) {
		return errors.New("a block fails its checksum")
	}
	return nil
}

// endStream reads the index, whose first byte is gone, and the footer.
func (x *xz) endStream() error {
	began, sum := x.in.n-1, crc32.NewIEEE()
	sum.Write([]byte{0})
	in := summed{&x.in, sum}
	count, err := binary.ReadUvarint(in)
	if err != nil {
		return early(err)
	}
	if int64(count) != x.known {
		return fmt.Errorf("the index names %d blocks and there were %d", count, x.known)
	}
	for range 2 * count {
		if _, err := binary.ReadUvarint(in); err != nil {
			return early(err)
		}
	}
	for (x.in.n-began)%4 != 0 {
		if b, err := in.ReadByte(); err != nil || b != 0 {
			return errors.New("the index is not padded by zeros")
		}
	}
	end, err := x.in.take(16)
	if err != nil {
		return err
	}
	footer := end[4:]
	if binary.LittleEndian.Uint32(end) != sum.Sum32() || string(footer[8:]) != string([]byte{0, x.kind, 'Y', 'Z'}) ||
		binary.LittleEndian.Uint32(footer) != crc32.ChecksumIEEE(footer[4:10]) {
		return errors.New("the index or the footer fails its checksum")
	}
	x.open = false
	return nil
}

// summed adds to a checksum what it reads.
type summed struct {
	in  *counter
	sum hash.Hash32
}

func (s summed) ReadByte() (byte, error) {
	b, err := s.in.ReadByte()
	if err == nil {
		s.sum.Write([]byte{b})
	}
	return b, err
}
