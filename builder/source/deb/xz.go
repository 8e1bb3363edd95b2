package deb

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

	"github.com/ulikunitz/xz"
)

// The xz container, after the .xz file format 1.2.0, sections 2 to 4.
const (
	xzMagic      = "\xfd7zXZ\x00"
	xzFooterEnd  = "YZ"
	xzHeaderSize = 12 // of the stream header, and of the footer as well
	xzFilterLZMA = 0x21
	// maxIndex bounds the index, in bytes; 17 blocks have 140.
	maxIndex = 1 << 20
	// maxAhead is the largest block that is unpacked ahead in memory, in bytes.
	// xz -6 cuts 24 MiB, xz -9 192 MiB; larger ones are streamed.
	maxAhead = 32 << 20
	// maxWorkers bounds the memory: 4 x (32 MiB of data + 8 MiB of window).
	maxWorkers = 4
)

// xzReader unpacks the blocks of an xz stream at the same time. dpkg-deb cuts
// large members into blocks of 24 MiB, and the library unpacks 45 MB/s a core:
// for the 411 MB of a kernel package that is the difference between one core
// and all of them. Each block is handed to the library as a stream of its own.
type xzReader struct {
	src    member
	header []byte // of the stream; its flags are every block's
	blocks []xzBlock
	ahead  []chan xzResult // in the order of the blocks
	now    io.Reader

	ctx     context.Context
	cancel  context.CancelFunc
	workers sync.WaitGroup
}

// xzBlock is a record of the index, with the block's place in the file.
type xzBlock struct{ at, unpadded, plain int64 }

// xzResult is an unpacked block.
type xzResult struct {
	data []byte
	err  error
}

// newXZ reads the index of the one stream that m must be.
func newXZ(m member, window uint64) (io.ReadCloser, error) {
	blocks, err := readXZIndex(m)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if err := checkWindow(m, b, window); err != nil {
			return nil, err
		}
	}
	header := make([]byte, xzHeaderSize)
	if _, err := m.ReadAt(header, 0); err != nil {
		return nil, malformedBy(err, "xz header")
	}
	x := &xzReader{src: m, header: header, blocks: blocks, now: bytes.NewReader(nil)}
	x.ctx, x.cancel = context.WithCancel(context.Background())
	return x, nil
}

// Read implements io.Reader.
func (x *xzReader) Read(p []byte) (int, error) {
	for {
		n, err := x.now.Read(p)
		switch {
		case n > 0 && err == io.EOF: // of a block, not of the stream
			return n, nil
		case n > 0 || err != io.EOF:
			return n, err
		}
		if err := x.advance(); err != nil {
			return 0, err
		}
	}
}

// Close stops the workers. It returns when none of them reads any more.
func (x *xzReader) Close() error {
	x.cancel()
	x.workers.Wait()
	return nil
}

// advance makes the next block the current one and keeps the workers busy.
func (x *xzReader) advance() error {
	for len(x.blocks) > 0 && x.blocks[0].plain <= maxAhead && len(x.ahead) < min(runtime.GOMAXPROCS(0), maxWorkers) {
		x.ahead = append(x.ahead, x.start(x.blocks[0]))
		x.blocks = x.blocks[1:]
	}
	if len(x.ahead) > 0 {
		done := <-x.ahead[0]
		x.ahead = x.ahead[1:]
		x.now = bytes.NewReader(done.data)
		return done.err
	}
	if len(x.blocks) == 0 {
		return io.EOF
	}
	var err error
	x.now, err = x.open(x.blocks[0])
	x.blocks = x.blocks[1:]
	return err
}

// start unpacks a block in a worker.
func (x *xzReader) start(b xzBlock) chan xzResult {
	out := make(chan xzResult, 1)
	x.workers.Go(func() {
		data, err := x.unpack(b)
		out <- xzResult{data, err}
	})
	return out
}

// unpack returns the content of a block.
func (x *xzReader) unpack(b xzBlock) ([]byte, error) {
	const step = 1 << 20 // between looks at whether the reader was closed
	r, err := x.open(b)
	if err != nil {
		return nil, err
	}
	data := bytes.NewBuffer(make([]byte, 0, b.plain+bytes.MinRead))
	for {
		if err := x.ctx.Err(); err != nil {
			return nil, err
		}
		_, err := io.CopyN(data, r, step)
		if err == io.EOF {
			return data.Bytes(), nil
		}
		if err != nil {
			return nil, malformedBy(err, "xz block at %d", b.at)
		}
	}
}

// open returns a reader of one block: a stream made of the original's header,
// the block, and an index and a footer for it alone. The library verifies the
// block's check sum and that its sizes are those of the index.
func (x *xzReader) open(b xzBlock) (io.Reader, error) {
	block := io.NewSectionReader(x.src, b.at, align4(b.unpadded))
	tail := xzTail(b, x.header[6:8])
	r, err := xz.ReaderConfig{SingleStream: true}.NewReader(
		io.MultiReader(bytes.NewReader(x.header), bufio.NewReaderSize(block, 64<<10), bytes.NewReader(tail)))
	if err != nil {
		return nil, malformedBy(err, "xz block at %d", b.at)
	}
	return r, nil
}

// xzTail returns the index and the footer of a stream with the one block b.
func xzTail(b xzBlock, flags []byte) []byte {
	index := []byte{0, 1}
	index = binary.AppendUvarint(index, uint64(b.unpadded))
	index = binary.AppendUvarint(index, uint64(b.plain))
	for len(index)%4 != 0 {
		index = append(index, 0)
	}
	index = binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(index))

	footer := binary.LittleEndian.AppendUint32(nil, uint32(len(index)/4-1))
	footer = append(footer, flags...)
	tail := binary.LittleEndian.AppendUint32(index, crc32.ChecksumIEEE(footer))
	return append(append(tail, footer...), xzFooterEnd...)
}

// readXZIndex returns the blocks of the stream, which must fill m exactly:
// several streams, padding and trailing bytes are refused.
func readXZIndex(m member) ([]xzBlock, error) {
	ends := make([]byte, 2*xzHeaderSize)
	if m.Size() < int64(len(ends)) {
		return nil, malformed("xz: %d bytes", m.Size())
	}
	header, footer := ends[:xzHeaderSize], ends[xzHeaderSize:]
	if _, err := m.ReadAt(header, 0); err != nil {
		return nil, malformedBy(err, "xz header")
	}
	indexEnd := m.Size() - xzHeaderSize
	if _, err := m.ReadAt(footer, indexEnd); err != nil {
		return nil, malformedBy(err, "xz footer")
	}
	if string(header[:6]) != xzMagic || string(footer[10:]) != xzFooterEnd || !bytes.Equal(header[6:8], footer[8:10]) {
		return nil, malformed("not one whole xz stream")
	}
	indexSize := (int64(binary.LittleEndian.Uint32(footer[4:8])) + 1) * 4
	if indexSize < 8 || indexSize > min(maxIndex, indexEnd-xzHeaderSize) {
		return nil, malformed("xz: index of %d bytes", indexSize)
	}
	index := make([]byte, indexSize)
	if _, err := m.ReadAt(index, indexEnd-indexSize); err != nil {
		return nil, malformedBy(err, "xz index")
	}
	blocks, end, err := parseXZIndex(index)
	if err == nil && end != indexEnd-indexSize {
		err = malformed("xz: blocks end at %d, index starts at %d", end, indexEnd-indexSize)
	}
	return blocks, err
}

// parseXZIndex reads the records of an index and returns where the last block
// ends.
func parseXZIndex(index []byte) (blocks []xzBlock, end int64, err error) {
	body := index[:len(index)-4]
	if index[0] != 0 || crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(index[len(body):]) {
		return nil, 0, malformed("xz: the index's check sum does not fit")
	}
	r := bytes.NewReader(body[1:])
	count, err := binary.ReadUvarint(r)
	if err != nil || count > uint64(len(body)) {
		return nil, 0, malformed("xz: index of %d records", count)
	}
	end = xzHeaderSize
	for range count {
		unpadded, err1 := binary.ReadUvarint(r)
		plain, err2 := binary.ReadUvarint(r)
		if err1 != nil || err2 != nil || unpadded < 5 || unpadded > 1<<40 || plain > 1<<40 {
			return nil, 0, malformed("xz: index record out of range")
		}
		blocks = append(blocks, xzBlock{end, int64(unpadded), int64(plain)})
		end += align4(int64(unpadded))
	}
	return blocks, end, nil
}

// checkWindow refuses a block that asks for a larger window. The library would
// allocate it, 4 GiB included.
func checkWindow(m member, b xzBlock, window uint64) error {
	hdr := make([]byte, min(b.unpadded, 32))
	if _, err := m.ReadAt(hdr, b.at); err != nil {
		return malformedBy(err, "xz block at %d", b.at)
	}
	r := bytes.NewReader(hdr[2:])
	for _, present := range []byte{0x40, 0x80} { // packed and unpacked size
		if hdr[1]&present != 0 {
			if _, err := binary.ReadUvarint(r); err != nil {
				return malformedBy(err, "xz block at %d", b.at)
			}
		}
	}
	filter := make([]byte, 3) // id, length of the properties, size of the window
	if _, err := io.ReadFull(r, filter); err != nil || hdr[1]&3 != 0 || filter[0] != xzFilterLZMA || filter[1] != 1 {
		return malformedBy(err, "xz block at %d: want LZMA2 and no other filter", b.at)
	}
	bits := uint(filter[2])
	if bits > 40 || uint64(2|bits&1)<<(bits/2+11) > window {
		return malformed("xz block at %d: window of more than %d bytes", b.at, window)
	}
	return nil
}

// align4 rounds n up to a multiple of four.
func align4(n int64) int64 { return (n + 3) &^ 3 }
