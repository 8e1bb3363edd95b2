package chunks

import (
	"bytes"
	"fmt"
	"sync"

	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/imagecache"
	"github.com/farboot/farboot/payload/object"
)

// start brings chunks that follow each other, from the first on. free says that one
// of r.slots is taken for it already.
func (r *Reader) start(first int, run []*chunk, free bool) {
	r.work.Add(1)
	guard.Go("reading an image", func() error { return r.load(first, run, free) }, func(err error) {
		defer r.work.Done()
		guard.Tell(err, r.config.Log)
		for i := 0; i < len(run); i++ {
			if i = unfinished(run, i); i < len(run) {
				r.fail(first+i, run[i], err)
			}
		}
	})
}

// unfinished returns the next chunk of a run, from the i-th on, of which nothing is
// known.
func unfinished(run []*chunk, i int) int {
	for ; i < len(run); i++ {
		select {
		case <-run[i].done:
		default:
			return i
		}
	}
	return i
}

// fail says that a chunk cannot be had.
func (r *Reader) fail(i int, c *chunk, err error) {
	err = fmt.Errorf("%w: chunk %d, at byte %d: %w", ErrChunk, i, r.index.Start(i), err)
	if r.ctx.Err() == nil {
		r.config.Log("image: %v", err)
	}
	r.finish(c, nil, err)
}

// load brings chunks from the cache, and those that are not there from the source. A
// chunk that nobody has does not keep the others back, and neither does a network that
// is away those in the cache: only a request has a slot.
func (r *Reader) load(first int, run []*chunk, free bool) error {
	defer func() {
		if free {
			<-r.slots
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.bring()
	}()
	for k := 0; k < len(run); k = unfinished(run, k) {
		if r.fromCache(run[k]) {
			continue
		}
		n := 1
		for k+n < len(run) && (r.config.Cache == nil || !r.config.Cache.Has(run[k+n].id)) {
			n++
		}
		if !free {
			select {
			case r.slots <- struct{}{}:
				free = true
			case <-r.ctx.Done():
				return r.ctx.Err()
			}
		}
		r.count(func(s *Stats) { s.Requests++ })
		err := r.source.fetch(r.ctx, first+k, n, func(i int, data, packed []byte) { r.take(run[i-first], data, packed) })
		if r.ctx.Err() != nil {
			return r.ctx.Err()
		}
		if k = unfinished(run, k); err != nil {
			r.fail(first+k, run[k], err)
		}
	}
	return nil
}

// take hands on a chunk that the source has brought.
func (r *Reader) take(c *chunk, data, packed []byte) {
	size := len(packed)
	if packed == nil {
		size = len(data)
	}
	r.count(func(s *Stats) { s.Fetched++; s.Bytes += int64(size) })
	r.finish(c, data, nil)
	r.keeper.keep(c.id, data, packed)
}

// count changes the stats.
func (r *Reader) count(f func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.stats)
}

// fromCache takes a chunk from the cache, if it is there and right.
func (r *Reader) fromCache(c *chunk) bool {
	if r.config.Cache == nil {
		return false
	}
	packed, ok := r.config.Cache.Get(c.id)
	if !ok {
		return false
	}
	data, err := r.source.unpack.Unpack(packed, c.id, c.size)
	if err != nil {
		r.config.Log("image: the cache has a %v", err)
		r.config.Cache.Forget(c.id)
		return false
	}
	r.count(func(s *Stats) { s.Cached++ })
	r.finish(c, data, nil)
	return true
}

// keeper writes chunks to the cache, behind those who read them.
type keeper struct {
	cache *imagecache.Cache
	most  int64 // bytes that wait
	log   func(format string, args ...any)
	work  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	waiting []kept
	bytes   int64
	busy    bool // somebody is writing
	lost    int
	broken  bool // the cache cannot be written to
}

// kept is a chunk as it is kept.
type kept struct {
	id     object.ID
	packed []byte
}

// keep takes a chunk, packed or not, if there is room.
func (k *keeper) keep(id object.ID, data, packed []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.cache == nil || k.broken {
		return
	}
	if packed = bytes.Clone(packed); packed == nil {
		packed = Store(data)
	}
	if k.bytes+int64(len(packed)) > k.most {
		k.lost++
		return
	}
	k.waiting = append(k.waiting, kept{id, packed})
	k.bytes += int64(len(packed))
	if k.busy {
		return
	}
	k.busy = true
	k.work.Add(1)
	guard.Go("keeping an image", k.write, func(err error) {
		defer k.work.Done()
		guard.Tell(err, k.log)
		if err != nil {
			k.mu.Lock()
			defer k.mu.Unlock()
			k.broken, k.waiting = true, nil
			k.log("image: nothing more is kept: %v", err)
		}
	})
}

// write writes what waits until nothing does.
func (k *keeper) write() error {
	for {
		k.mu.Lock()
		if len(k.waiting) == 0 {
			k.busy = false
			k.mu.Unlock()
			return nil
		}
		next := k.waiting[0]
		k.waiting = k.waiting[1:]
		k.mu.Unlock()
		if err := k.cache.Put(next.id, next.packed); err != nil {
			return err
		}
		k.mu.Lock()
		k.bytes -= int64(len(next.packed))
		k.mu.Unlock()
	}
}

// dropped returns how many chunks were not kept for want of time.
func (k *keeper) dropped() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost
}

// close returns when all is written.
func (k *keeper) close() { k.work.Wait() }
