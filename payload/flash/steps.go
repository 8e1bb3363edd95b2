package flash

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/flash/table"
)

// look reads the disk's first MiB and tells what the disk holds.
func (w *writer) look() (state, error) {
	if _, err := w.dev.ReadAt(w.before, 0); err != nil {
		return foreign, fmt.Errorf("read at byte 0: %w", err)
	}
	held, _ := findMark(w.before, w.image)
	return held, nil
}

// same tells whether a disk without any mark has the image's ID.
func (w *writer) same() bool {
	_, other := findMark(w.before, w.image)
	t, err := table.Parse(w.before, w.dev.Sector())
	return err == nil && !other && t.ID != "" && t.ID == w.table.ID
}

// readHead reads the chunks with the image's first MiB, of which the rest of the
// way depends.
func (w *writer) readHead(ctx context.Context) error {
	buf, err := w.buffer(ctx)
	if err != nil {
		return err
	}
	defer func() { w.free <- buf }()
	w.meter.begin("download", 0)
	for i := range w.index.Chunks {
		if w.index.Start(i) >= table.Head {
			break
		}
		data, err := w.in.chunk(ctx, i, buf)
		if err == nil {
			err = w.in.verify(i, data)
		}
		if err != nil {
			return err
		}
		copy(w.head[w.index.Start(i):], data)
		w.have[i] = w.index.Chunks[i].End <= table.Head
	}
	return nil
}

// plan reads the image's table, and finds out what of the job cannot be done
// before the disk is touched.
func (w *writer) plan() (err error) {
	w.table, w.mark, err = examine(w.head, w.dev.Sector())
	if w.job.Plain {
		w.mark = 0
		if w.table, err = table.Parse(w.head, w.dev.Sector()); err != nil && !w.job.Grow && len(w.job.Files) == 0 {
			w.table, err = table.None(), nil
		}
	}
	if err != nil {
		return err
	}
	for _, f := range w.job.Files {
		if _, err := w.table.Partition(f.Partition); err != nil {
			return fmt.Errorf("%w: %w", ErrImage, err)
		}
	}
	if !w.job.Grow {
		return nil
	}
	grown, err := w.table.Grow(w.dev.Size())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrImage, err)
	}
	w.grown = &grown
	return nil
}

// compare finds the chunks that the disk holds already.
func (w *writer) compare(ctx context.Context) error {
	w.meter.begin("compare", w.index.Size())
	return w.each(ctx, "comparing", w.outside, func(t task) error {
		data, err := w.get(t.chunk, t.buf)
		switch {
		case err != nil:
			w.log("%v; it will be written anew", err)
		case w.holds(t.chunk, data):
			w.keep(t.chunk)
		}
		return nil
	})
}

// outside tells whether chunk i is all on the disk, with nothing of it held.
func (w *writer) outside(i int) bool {
	return w.index.Start(i) >= int64(len(w.head)) && w.index.Chunks[i].End <= w.tailAt
}

// begin takes away all by which the disk might boot, the first sector first, and
// leaves marks that say what has begun.
func (w *writer) begin() error {
	if err := w.dev.Zero(0, int64(w.dev.Sector())); err != nil {
		return fmt.Errorf("write at byte 0: %w", err)
	}
	if err := w.dev.Sync(); err != nil {
		return err
	}
	for _, at := range []int64{w.tailAt, 0} {
		if _, err := w.dev.WriteAt(w.marks(at), at); err != nil {
			return fmt.Errorf("write at byte %d: %w", at, err)
		}
	}
	if err := w.dev.Sync(); err != nil {
		return err
	}
	if err := w.dev.Rescan(); err != nil { // the old partitions are in nobody's way but a person's
		w.log("%s: the kernel keeps the old partitions: %v", w.dev.Node(), err)
	}
	return nil
}

// marks returns what the first MiB, or the last one, holds while the disk is not
// written. The slice is good until the next call.
func (w *writer) marks(at int64) []byte {
	begunMarks(w.scratch, w.image, at)
	if at == 0 {
		clear(w.scratch[:w.dev.Sector()])
	}
	return w.scratch
}

// zeroStep is how many bytes are zeroed between two looks at the progress.
const zeroStep = 64 << 20

// blank writes the image's empty parts, which a disk can do without being sent
// every byte.
func (w *writer) blank(ctx context.Context) error {
	for i := 0; i < len(w.index.Chunks); {
		n := i
		for n < len(w.index.Chunks) && w.index.Chunks[n].ID == w.empty && w.outside(n) && !w.have[n] &&
			w.index.Chunks[n].End-w.index.Start(i) <= zeroStep {
			n++
		}
		if n == i {
			i++
			continue
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		start := w.index.Start(i)
		if err := w.dev.Zero(start, w.index.Start(n)-start); err != nil {
			return fmt.Errorf("write at byte %d: %w", start, err)
		}
		for ; i < n; i++ {
			w.keep(i)
		}
	}
	return nil
}

// body writes what the disk lacks, but for its first and last MiB.
func (w *writer) body(ctx context.Context) error {
	w.meter.begin("write", w.index.Size())
	w.meter.start(w.done())
	if err := w.blank(ctx); err != nil {
		return err
	}
	fill := w.stream
	if w.job.Receive != nil {
		fill = w.receive
	}
	if err := fill(ctx); err != nil {
		return err
	}
	return w.dev.Sync()
}

// stream writes what the disk lacks in order, from the source.
func (w *writer) stream(ctx context.Context) error {
	return w.parallel(ctx, "writing", w.produce, func(t task) error {
		if err := w.in.verify(t.chunk, t.buf[:w.index.Len(t.chunk)]); err != nil {
			return err
		}
		if err := w.put(t.chunk, t.buf); err != nil {
			return err
		}
		w.keep(t.chunk)
		return nil
	})
}

// receive writes what the disk lacks as it comes.
func (w *writer) receive(ctx context.Context) error {
	w.in.close()
	return w.job.Receive(ctx, w.lacks, func(i int, data []byte) error {
		buf, err := w.buffer(ctx)
		if err != nil {
			return err
		}
		defer func() { w.free <- buf }()
		copy(buf, data)
		if err := w.put(i, buf); err != nil {
			return err
		}
		w.keep(i)
		return nil
	})
}

// lacks tells whether the disk does not hold chunk i.
func (w *writer) lacks(i int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.have[i]
}

// produce reads the chunks that the disk lacks.
func (w *writer) produce(ctx context.Context, tasks chan<- task) error {
	for i := range w.index.Chunks {
		if !w.lacks(i) {
			continue
		}
		buf, err := w.buffer(ctx)
		if err != nil {
			return err
		}
		if _, err := w.in.chunk(ctx, i, buf); err != nil {
			w.free <- buf
			return err
		}
		tasks <- task{i, buf}
	}
	if err := w.in.end(ctx); err != nil {
		w.log("%v; the image is whole all the same", err)
		w.job.Source.Wrong(err)
	}
	return nil
}

// verify reads all of the image back from the disk, but for what is held, in whose
// places there must still be the marks: a disk that has less room than it says
// would have put other bytes over them.
func (w *writer) verify(ctx context.Context) error {
	w.in.close()
	w.meter.begin("verify", w.index.Size())
	err := w.each(ctx, "reading back", func(int) bool { return true }, func(t task) error {
		data, err := w.get(t.chunk, t.buf)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrReadBack, err)
		}
		if !w.holds(t.chunk, data) {
			return w.misread(t.chunk, sha256.Sum256(data))
		}
		w.meter.add(w.index.Len(t.chunk))
		return nil
	})
	if err != nil {
		return err
	}
	got := aligned(table.Head)
	defer unaligned(got)
	for _, at := range []int64{0, w.tailAt} {
		if _, err := w.dev.ReadAt(got, at); err != nil {
			return fmt.Errorf("%w: read at byte %d: %w", ErrReadBack, at, err)
		}
		if !bytes.Equal(got, w.marks(at)) {
			return fmt.Errorf("%w: %w: what was written elsewhere has come to byte %d", ErrReadBack, ErrFake, at)
		}
	}
	return nil
}

// misread tells what is wrong with a disk that gives other bytes for chunk i.
func (w *writer) misread(i int, sum [32]byte) error {
	at := w.index.Start(i)
	if j := slices.IndexFunc(w.index.Chunks, func(c caibx.Chunk) bool { return c.ID == sum }); j >= 0 {
		return fmt.Errorf("%w: %w: at byte %d it gives what was written at %d", ErrReadBack, ErrFake, at, w.index.Start(j))
	}
	return fmt.Errorf("%w, at byte %d: it is broken, or has less room than it says", ErrReadBack, at)
}
