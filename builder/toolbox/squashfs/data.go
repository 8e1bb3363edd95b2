package squashfs

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"
)

const (
	// noFragment stands where a file's end shares no block.
	noFragment = 1<<32 - 1
	// rawBlock marks, in the length of a block, that it is not compressed.
	rawBlock = 1 << 24
)

// content is where a file's bytes are.
type content struct {
	start    uint64   // of the first block
	sizes    []uint32 // of the blocks, compressed
	fragment uint32   // the fragment block that holds the end, or noFragment
	offset   uint32   // of the end in there
}

// fragment is a block that holds the ends of several files.
type fragment struct {
	start uint64
	size  uint32
}

// newEncoder returns the compressor of all blocks. The best level of this
// library comes to what the zstd program calls 11. Frames have no check sum,
// and no window that is larger than their block, which is as much as the kernel
// provides for (fs/squashfs/zstd_wrapper.c).
func newEncoder() (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true), zstd.WithWindowSize(MaxBlock), zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)))
}

// job is a block on its way into the image.
type job struct {
	data   []byte
	packed []byte
	done   chan struct{}
	// put is told where the block lies and how long it is there.
	put func(start uint64, size uint32)
}

// press compresses blocks on all cores and writes them in the order in which
// they come.
type press struct {
	image   *image
	encoder *zstd.Encoder
	queue   chan *job // in their order
	work    chan *job
	group   *errgroup.Group
	failed  chan struct{}
	tail    []byte // of the fragment block that is being filled
}

func newPress(im *image) *press {
	n := runtime.GOMAXPROCS(0)
	p := &press{image: im, encoder: im.encoder, queue: make(chan *job, 2*n), work: make(chan *job, 2*n), group: new(errgroup.Group), failed: make(chan struct{})}
	for range n {
		p.group.Go(func() error {
			for j := range p.work {
				j.packed = p.encoder.EncodeAll(j.data, nil)
				close(j.done)
			}
			return nil
		})
	}
	p.group.Go(p.collect)
	return p
}

// collect writes the blocks.
func (p *press) collect() error {
	var err error
	for j := range p.queue {
		<-j.done
		if err != nil {
			continue // let those who send get on
		}
		data, size := j.packed, uint32(len(j.packed))
		if len(data) >= len(j.data) {
			data, size = j.data, uint32(len(j.data))|rawBlock
		}
		j.put(p.image.at, size)
		if err = p.image.append(data); err != nil {
			close(p.failed)
		}
	}
	return err
}

// block sends a block on its way. The press keeps data.
func (p *press) block(data []byte, put func(start uint64, size uint32)) error {
	select {
	case <-p.failed:
		return errPress
	default:
	}
	j := &job{data: data, done: make(chan struct{}), put: put}
	p.work <- j
	p.queue <- j
	return nil
}

// errPress stands in for the error that finish returns.
var errPress = errors.New("squashfs: writing failed")

// finish waits until all is written.
func (p *press) finish() error {
	if len(p.tail) > 0 {
		_ = p.endFragment() // an error here is the one that Wait returns
	}
	close(p.work)
	close(p.queue)
	return p.group.Wait()
}

// endFragment sends the fragment block on its way.
func (p *press) endFragment() error {
	f := &fragment{}
	p.image.fragments = append(p.image.fragments, f)
	data := p.tail
	p.tail = nil
	return p.block(data, func(start uint64, size uint32) { f.start, f.size = start, size })
}

// file stores a file's content, of which c tells the place once the press has
// finished.
func (p *press) file(n *node) error {
	c := &n.data
	c.fragment = noFragment
	if n.Size == 0 {
		return nil
	}
	r, err := n.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", n.Path, err)
	}
	defer r.Close()
	size := int64(p.image.Block)
	c.sizes = make([]uint32, n.Size/size)
	for i := range c.sizes {
		data := make([]byte, size)
		if _, err := io.ReadFull(r, data); err != nil {
			return fmt.Errorf("%s: %w", n.Path, err)
		}
		put := func(start uint64, size uint32) {
			if i == 0 {
				c.start = start
			}
			c.sizes[i] = size
		}
		if err := p.block(data, put); err != nil {
			return err
		}
	}
	return p.end(n, r, int(n.Size%size))
}

// end stores the last bytes of a file, less than a block, in a fragment block.
func (p *press) end(n *node, r io.Reader, size int) error {
	if size > 0 {
		if len(p.tail)+size > p.image.Block {
			if err := p.endFragment(); err != nil {
				return err
			}
		}
		n.data.fragment, n.data.offset = uint32(len(p.image.fragments)), uint32(len(p.tail))
		p.tail = append(p.tail, make([]byte, size)...)
		if _, err := io.ReadFull(r, p.tail[len(p.tail)-size:]); err != nil {
			return fmt.Errorf("%s: %w", n.Path, err)
		}
	}
	if k, err := r.Read(make([]byte, 1)); k > 0 || err == nil {
		return fmt.Errorf("%w: %q has more than %d bytes", ErrEntry, n.Path, n.Size)
	}
	return nil
}

// hash returns the SHA-256 of a file's content.
func (n *node) hash() (sum [32]byte, err error) {
	r, err := n.Open()
	if err != nil {
		return sum, fmt.Errorf("%s: %w", n.Path, err)
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		return sum, fmt.Errorf("%s: %w", n.Path, err)
	}
	return [32]byte(h.Sum(nil)), nil
}
