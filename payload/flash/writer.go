package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"sync"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/flash/table"
	"github.com/farboot/farboot/payload/flash/tailor"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/object"
)

// writer is one disk on its way to hold an image.
type writer struct {
	dev     Device
	job     Job
	index   *caibx.Index
	image   object.ID // names the image: the hash of its index
	in      reader
	meter   meter
	log     func(format string, args ...any)
	before  []byte // the disk's first MiB as it was
	scratch []byte // of one MiB

	// head and tail are what the first and the last MiB will hold. They are kept
	// from the disk until all else is there.
	head, tail []byte
	tailAt     int64
	table      *table.Table
	grown      *table.Partition // the last one, where it is to grow
	mark       int64            // where the mark goes, 0 is nowhere

	free chan []byte // buffers of one chunk

	empty object.ID // of a chunk of zeros
	zeros []byte    // such a chunk

	mu   sync.Mutex
	have []bool // the chunks that the disk holds, or head and tail
}

// buffers is how many chunks are in memory at a time: enough for as many threads
// as do any good, with one under way from the decompressor and one to it.
func buffers() int { return workers() + 2 }

// workers is how many threads hash, read and write. More than four do not make a
// disk faster; two keep it busy while one hashes.
func workers() int { return min(max(runtime.GOMAXPROCS(0), 2), 4) }

// newWriter returns a writer that has not touched the disk.
func newWriter(dev Device, job Job, image object.ID) *writer {
	w := &writer{
		dev: dev, job: job, index: job.Index, image: image, log: job.Log,
		in:      reader{source: job.Source, index: job.Index, format: job.Format},
		meter:   meter{tell: job.Progress},
		head:    aligned(table.Head),
		tail:    aligned(table.Head),
		tailAt:  dev.Size() - table.Head,
		before:  aligned(table.Head),
		scratch: aligned(table.Head),
		free:    make(chan []byte, buffers()),
		have:    make([]bool, len(job.Index.Chunks)),
	}
	w.zeros = make([]byte, job.Index.Max)
	w.empty = sha256.Sum256(w.zeros)
	for range buffers() {
		w.free <- aligned(roundUp(int(job.Index.Max), dev.Sector()))
	}
	if w.log == nil {
		w.log = func(string, ...any) {}
	}
	if w.job.tailor == nil {
		w.job.tailor = tailor.Do
	}
	return w
}

// imageID names an image by its index: the hash of the file as this project writes
// it, which a manifest names.
func imageID(x *caibx.Index) (object.ID, error) {
	file, err := x.Encode()
	if err != nil {
		return object.ID{}, fmt.Errorf("%w: %w", ErrImage, err)
	}
	return sha256.Sum256(file), nil
}

// roundUp returns the next multiple of unit.
func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// close frees what the writer holds.
func (w *writer) close() {
	w.in.close()
	for range buffers() {
		unaligned(<-w.free)
	}
	unaligned(w.head)
	unaligned(w.tail)
	unaligned(w.before)
	unaligned(w.scratch)
}

// piece is a part of a chunk that lies all on the disk, or all in what is held.
type piece struct {
	held []byte // nil is on the disk
	at   int64
	data []byte
}

// pieces cuts the bytes at an offset of the image where what is held begins and
// ends.
func (w *writer) pieces(at int64, data []byte) []piece {
	var all []piece
	for len(data) > 0 {
		p, end := piece{at: at}, w.tailAt
		switch {
		case at < int64(len(w.head)):
			p.held, end = w.head[at:], int64(len(w.head))
		case at >= w.tailAt:
			p.held, end = w.tail[at-w.tailAt:], w.dev.Size()
		}
		n := min(int64(len(data)), end-at)
		p.data = data[:n]
		all = append(all, p)
		at, data = at+n, data[n:]
	}
	return all
}

// put writes chunk i, which buf begins with. What follows it in its last sector
// becomes zeros.
func (w *writer) put(i int, buf []byte) error {
	n := int(w.index.Len(i))
	padded := buf[:roundUp(n, w.dev.Sector())]
	clear(padded[n:])
	for _, p := range w.pieces(w.index.Start(i), padded) {
		if p.held != nil {
			copy(p.held, p.data)
		} else if _, err := w.dev.WriteAt(p.data, p.at); err != nil {
			return fmt.Errorf("write at byte %d: %w", p.at, err)
		}
	}
	return nil
}

// get reads chunk i into buf, and returns it.
func (w *writer) get(i int, buf []byte) ([]byte, error) {
	n := int(w.index.Len(i))
	for _, p := range w.pieces(w.index.Start(i), buf[:roundUp(n, w.dev.Sector())]) {
		if p.held != nil {
			copy(p.data, p.held)
		} else if _, err := w.dev.ReadAt(p.data, p.at); err != nil {
			return nil, fmt.Errorf("read at byte %d: %w", p.at, err)
		}
	}
	return buf[:n], nil
}

// holds tells whether data is chunk i. Zeros, which images are full of, are
// compared: that is ten times as fast as a hash.
func (w *writer) holds(i int, data []byte) bool {
	id := w.index.Chunks[i].ID
	return id == w.empty && bytes.Equal(data, w.zeros) || id == sha256.Sum256(data)
}

// keep records that chunk i is where it belongs.
func (w *writer) keep(i int) {
	w.mu.Lock()
	w.have[i] = true
	w.mu.Unlock()
	w.meter.add(w.index.Len(i))
}

// done is how many bytes of the image are where they belong.
func (w *writer) done() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int64
	for i, have := range w.have {
		if have {
			n += w.index.Len(i)
		}
	}
	return n
}

// task is one chunk for a worker.
type task struct {
	chunk int
	buf   []byte
}

// parallel calls produce, which sends tasks, and work for each of them, in several
// threads. It returns the first error of either; produce must end when its ctx
// does. A task's buffer goes back to w.free by itself.
func (w *writer) parallel(ctx context.Context, where string, produce func(context.Context, chan<- task) error, work func(task) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	tasks := make(chan task)
	var group sync.WaitGroup
	group.Add(workers())
	for range workers() {
		guard.Go(where, func() error {
			for t := range tasks {
				if ctx.Err() == nil {
					if err := guard.Call(where, func() error { return work(t) }); err != nil {
						cancel(err)
					}
				}
				w.free <- t.buf
			}
			return nil
		}, func(error) { group.Done() })
	}
	err := guard.Call(where, func() error { return produce(ctx, tasks) })
	if err != nil {
		cancel(err)
	}
	close(tasks)
	group.Wait()
	return context.Cause(ctx)
}

// each calls work for the chunks of which want is true, with a buffer, in several
// threads.
func (w *writer) each(ctx context.Context, where string, want func(i int) bool, work func(task) error) error {
	return w.parallel(ctx, where, func(ctx context.Context, tasks chan<- task) error {
		for i := range w.index.Chunks {
			if !want(i) {
				continue
			}
			buf, err := w.buffer(ctx)
			if err != nil {
				return err
			}
			tasks <- task{i, buf}
		}
		return nil
	}, work)
}

// buffer waits for a buffer of one chunk.
func (w *writer) buffer(ctx context.Context) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	select {
	case buf := <-w.free:
		return buf, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
