package capture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/object"
)

// Result is what was written.
type Result struct {
	Image string `json:"image"` // a seekable Zstandard file, a frame a chunk
	Index string `json:"index"` // its casync index
	Size  int64  `json:"size"`  // of the disk, in bytes
	Read  int64  `json:"read"`  // of which were read
	// Packed is the size of Image, in bytes.
	Packed int64 `json:"packed"`
}

// The names of the two files, behind the one that the user gave.
const (
	ImageSuffix = ".img.zst"
	IndexSuffix = ".caibx"
)

// Write reads a disk, all but what is free, and writes NAME.img.zst and NAME.caibx. Each
// appears when it is whole, in the place of an older one. progress, where
// not nil, is told how much of the disk is done.
func Write(ctx context.Context, d *Disk, p *Plan, name string, progress func(done, total int64)) (Result, error) {
	r := Result{Image: name + ImageSuffix, Index: name + IndexSuffix, Size: d.Size}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return Result{}, err
	}
	out, err := renameio.NewPendingFile(r.Image, renameio.WithPermissions(0o644))
	if err != nil {
		return Result{}, err
	}
	defer out.Cleanup() //nolint:errcheck // nothing to be done
	from := newImage(d, p)
	r.Read = from.reads
	x, table, err := pack(ctx, out, from, func(done int64) {
		if progress != nil {
			progress(done, d.Size)
		}
	})
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", d.Name, err)
	}
	index, err := x.Encode()
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", d.Name, err)
	}
	end, err := table.Encode(x)
	if err == nil {
		_, err = out.Write(end)
	}
	if err == nil {
		err = out.CloseAtomicallyReplace()
	}
	if err == nil {
		err = renameio.WriteFile(r.Index, index, 0o644)
	}
	if err != nil {
		return Result{}, err
	}
	r.Packed = table.FileSize()
	return r, nil
}

// image reads a disk from end to end, with zeros for what is free.
type image struct {
	at, size int64
	free     []extent // what is free from at on
	rows     []extent // what is read from the disk from at on
	from     io.Reader
	reads    int64
}

// tooSmall is how much of free space is read all the same, in bytes, since it costs more to
// pass over: a seek, or a dd.
const tooSmall = 256 << 10

// newImage returns the image of a disk.
func newImage(d *Disk, p *Plan) *image {
	var large []extent
	for _, f := range p.free {
		if f.end-f.start >= tooSmall {
			large = append(large, f)
		}
	}
	m := &image{size: d.Size, free: p.free, rows: without(extent{0, d.Size}, large)}
	for _, e := range m.rows {
		m.reads += e.end - e.start
	}
	m.from = d.stream(m.rows)
	return m
}

// fill fills data with what comes next. At the end of the image it fills less.
func (m *image) fill(data []byte) (int, error) {
	data = data[:min(int64(len(data)), m.size-m.at)]
	here := extent{m.at, m.at + int64(len(data))}
	clear(data)
	for len(m.rows) > 0 && m.rows[0].start < here.end {
		e := extent{max(m.rows[0].start, here.start), min(m.rows[0].end, here.end)}
		if _, err := io.ReadFull(m.from, data[e.start-here.start:e.end-here.start]); err != nil {
			return 0, fmt.Errorf("byte %d: %w", e.start, err)
		}
		if e.end < m.rows[0].end {
			break
		}
		m.rows = m.rows[1:]
	}
	for len(m.free) > 0 && m.free[0].start < here.end {
		e := extent{max(m.free[0].start, here.start), min(m.free[0].end, here.end)}
		clear(data[e.start-here.start : e.end-here.start])
		if e.end < m.free[0].end {
			break
		}
		m.free = m.free[1:]
	}
	m.at = here.end
	return len(data), nil
}

// packed is a chunk, and what became of it.
type packed struct {
	id    object.ID
	end   int64
	frame []byte
}

// pack writes the chunks of an image, each as a frame, several at a time and in order.
func pack(ctx context.Context, w io.Writer, from *image, done func(int64)) (*caibx.Index, chunks.Table, error) {
	workers := runtime.GOMAXPROCS(0)
	// The level is that of package chunker.
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(workers), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, nil, err
	}
	defer e.Close()
	x := &caibx.Index{Min: caibx.DefaultChunk, Avg: caibx.DefaultChunk, Max: caibx.DefaultChunk}
	var table chunks.Table
	zeros := make([]byte, caibx.DefaultChunk)
	nothing := packed{sha256.Sum256(zeros), 0, e.EncodeAll(zeros, nil)}
	one := func(data []byte, end int64) packed {
		if bytes.Equal(data, zeros) {
			return packed{nothing.id, end, nothing.frame}
		}
		return packed{sha256.Sum256(data), end, e.EncodeAll(data, nil)}
	}
	g, ctx := errgroup.WithContext(ctx)
	queue := make(chan chan packed, workers)
	g.Go(func() error { return from.deal(ctx, g, queue, one) })
	g.Go(func() error {
		for result := range queue {
			select {
			case c := <-result:
				if len(x.Chunks) == caibx.MaxChunks {
					return errors.New("the disk is too large for an image")
				}
				x.Chunks = append(x.Chunks, caibx.Chunk{End: c.end, ID: c.id})
				table = append(table, int64(len(c.frame)))
				if _, err := w.Write(c.frame); err != nil {
					return err
				}
				done(c.end)
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return nil
	})
	err = g.Wait()
	return x, table, err
}

// deal reads the image chunk by chunk, has each packed by one, and queues where the result
// will be.
func (m *image) deal(ctx context.Context, g *errgroup.Group, queue chan<- chan packed, one func([]byte, int64) packed) error {
	defer close(queue)
	for m.at < m.size {
		data := make([]byte, caibx.DefaultChunk)
		n, err := m.fill(data)
		if err != nil {
			return err
		}
		end, result := m.at, make(chan packed, 1)
		select {
		case queue <- result:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		g.Go(func() error {
			result <- one(data[:n], end)
			return nil
		})
	}
	return nil
}
