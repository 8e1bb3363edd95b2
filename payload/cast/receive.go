package cast

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/guard"
)

// Receive brings the chunks of which want is true and hands each of them on once,
// checked, in any order. take is called by several goroutines at a time; where it takes
// long the cast goes on without this machine, which has to ask for more later. The
// first error of take is Receive's. Others say that no site has a chunk right, or are
// [ErrStalled]. It is called once.
func (r *Receiver) Receive(ctx context.Context, want func(i int) bool, take func(i int, data []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.mu.Lock()
	r.book.want(want)
	r.gained, r.started, r.stage = time.Now(), time.Now(), Receiving
	r.mu.Unlock()
	r.due()
	w := &work{Receiver: r, ctx: ctx, take: take}
	var group sync.WaitGroup
	start := func(n int, where string, f func() error) {
		for range n {
			group.Add(1)
			guard.Go(where, f, func(err error) {
				if err != nil {
					cancel(err)
				}
				group.Done()
			})
		}
	}
	start(r.config.Limits.Workers, "unpacking a cast", w.check)
	start(r.config.Limits.Repairs, "repairing a cast", w.repair)
	start(1, "watching a cast", w.watch)
	group.Wait()
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stage = Finishing
	r.due()
	return nil
}

// work is a Receive under way.
type work struct {
	*Receiver
	ctx  context.Context
	take func(i int, data []byte) error
}

// watch keeps the time until all is there.
func (w *work) watch() error {
	tick := time.NewTicker(max(w.config.Limits.Settle/4, time.Millisecond))
	defer tick.Stop()
	defer w.changed.Broadcast()
	for {
		now := time.Now()
		w.mu.Lock()
		w.book.settle(now)
		left, gained := w.book.left, w.gained
		w.changed.Broadcast()
		w.mu.Unlock()
		switch {
		case left == 0:
			return nil
		case now.Sub(gained) > w.config.Limits.Stall:
			return fmt.Errorf("%w for %s, %d are missing", ErrStalled, w.config.Limits.Stall, left)
		}
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			return nil // whose error it is
		}
	}
}

// next waits until find finds something. It returns false at the end.
func (w *work) next(find func() bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		switch {
		case w.ctx.Err() != nil || w.book.left == 0:
			return false
		case find():
			return true
		}
		w.changed.Wait()
	}
}

// check hands on chunks that are whole.
func (w *work) check() error {
	var p *part
	for w.next(func() bool { p = w.book.toCheck(); return p != nil }) {
		x := w.config.Image.Index
		data, err := w.unpack.Unpack(p.data, x.Chunks[p.chunk].ID, x.Len(p.chunk))
		if err != nil {
			w.mu.Lock()
			w.book.wrong(p)
			if w.stats.Forged++; w.stats.Forged == 1 {
				w.config.Log("cast: chunk %d is not what was published: packets are forged or damaged; it is asked for by HTTP: %v", p.chunk, err)
			}
			w.changed.Broadcast()
			w.mu.Unlock()
			continue
		}
		w.mu.Lock()
		w.book.free(p)
		w.useful = time.Now()
		w.mu.Unlock()
		if err := w.deliver(p.chunk, data, &w.stats.Cast); err != nil {
			return err
		}
	}
	return nil
}

// deliver hands on a chunk.
func (w *work) deliver(i int, data []byte, count *int) error {
	if err := w.take(i, data); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.book.done(i)
	w.gained = time.Now()
	*count++
	if w.book.left == 0 {
		w.changed.Broadcast()
	}
	return nil
}

// repair asks sites for what is missing of chunks, and for whole ones.
func (w *work) repair() error {
	var p *part
	var first, n int
	for w.next(func() bool {
		if p = w.book.toRepair(); p != nil {
			return true
		}
		first, n = w.book.toFetch(w.live(time.Now()))
		return n > 0
	}) {
		if p != nil {
			w.patch(p)
		} else if err := w.fetch(first, n); err != nil {
			return err
		}
	}
	return nil
}

// patch asks for what a part lacks. What nobody has is missing as a whole then.
func (w *work) patch(p *part) {
	img := w.config.Image
	var err error
	for _, gap := range w.book.gaps(p) {
		if err == nil {
			err = w.config.Sites.Pieces(w.ctx, fetch.Pieces{
				Name: w.name, Size: img.File.Size, Offset: img.starts[p.chunk] + gap[0], Lens: []int64{gap[1] - gap[0]},
				Take: func(_ int, data []byte) error {
					copy(p.data[gap[0]:gap[1]], data)
					w.mu.Lock()
					defer w.mu.Unlock()
					w.stats.Repaired += int64(len(data))
					return nil
				},
			})
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.book.repaired(p, err == nil)
	w.changed.Broadcast()
}

// fetch asks for n whole chunks.
func (w *work) fetch(first, n int) error {
	img := w.config.Image
	var failed error
	err := w.config.Sites.Pieces(w.ctx, fetch.Pieces{
		Name: w.name, Size: img.File.Size, Offset: img.starts[first], Lens: img.Table[first : first+n],
		Take: func(k int, packed []byte) error {
			i := first + k
			data, err := w.unpack.Unpack(packed, img.Index.Chunks[i].ID, img.Index.Len(i))
			if err != nil || failed != nil {
				return err
			}
			w.mu.Lock()
			w.stats.Repaired += int64(len(packed))
			w.mu.Unlock()
			failed = w.deliver(i, data, &w.stats.Fetched)
			return nil
		},
	})
	if failed != nil || err == nil || w.ctx.Err() != nil {
		return failed
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := first; i < first+n; i++ {
		w.book.lacking(i)
	}
	if w.live(time.Now()) { // the cast may bring it all the same
		return nil
	}
	return fmt.Errorf("chunks %d to %d of the image: %w", first, first+n-1, err)
}
