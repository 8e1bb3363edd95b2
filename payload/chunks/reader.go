package chunks

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/object"
)

// Reader is an image that is fetched as it is read. It is safe for parallel use.
//
// What is read lies in memory for a while, in the order of its last use. Who reads
// one chunk after the other finds the next ones there: the window that is read
// ahead begins with one chunk and doubles with each, up to Limits.Ahead. Chunks that
// follow each other are asked for together. Reads that want the same chunk share one
// request.
type Reader struct {
	source *source
	id     object.ID // the index's
	index  *caibx.Index
	config Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	slots  chan struct{} // one for each request under way
	keeper keeper
	work   sync.WaitGroup

	mu      sync.Mutex // guards what follows
	held    map[object.ID]*chunk
	used    list.List // of the *chunk that are there, the last used first
	memory  int64     // bytes of all that is held
	coming  int64     // bytes of those under way
	streams []stream  // the last used first
	profile profile
	stats   Stats
}

// chunk is one that is there, or under way.
type chunk struct {
	id   object.ID
	size int64
	at   *list.Element // nil is under way
	done chan struct{} // closed when data or err is set
	data []byte
	err  error

	ahead  bool // it was brought for the profile, and nobody asked for it yet
	missed bool // a read waits for it that had to ask for it itself
}

// Stats tell what a Reader has done.
type Stats struct {
	// Reads are chunks that were asked for, Cached those of all chunks that came
	// from the cache, Fetched those that came from servers, in so many Requests.
	Reads, Cached, Fetched, Requests int
	// Bytes is what Fetched took on the wire, but for headers.
	Bytes int64
	// Dropped are chunks that were not kept, since the cache was too slow.
	Dropped int
	// Failed are chunks that nobody had right.
	Failed int
}

// newReader returns a Reader of what a source has.
func newReader(s *source, c Config) (*Reader, error) {
	l := &c.Limits
	l.Request = min(l.Request, l.Memory/4)
	if s.index.Max > l.Memory/8 && len(s.index.Chunks) > 0 {
		return nil, fmt.Errorf("%w: chunks of up to %d bytes, where %d may be held", ErrImage, s.index.Max, l.Memory)
	}
	r := &Reader{source: s, index: s.index, config: c, slots: make(chan struct{}, l.Requests*s.pipes(l.Request)), held: map[object.ID]*chunk{}}
	r.profile.read = make([]bool, len(s.index.Chunks))
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.keeper = keeper{cache: c.Cache, most: l.Keep, log: c.Log}
	return r, nil
}

// Size is how many bytes the image has.
func (r *Reader) Size() int64 { return r.index.Size() }

// Stats returns what was done so far.
func (r *Reader) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats
	s.Dropped = r.keeper.dropped()
	return s
}

// Close ends all requests and reads, and returns when what is to be kept is written.
func (r *Reader) Close() error {
	r.cancel()
	r.work.Wait()
	r.keeper.close()
	return nil
}

// ReadAt implements io.ReaderAt. It waits as long as it takes for the network to
// come back. Its errors are [ErrChunk], fs.ErrClosed and io.EOF.
func (r *Reader) ReadAt(p []byte, offset int64) (int, error) {
	if offset < 0 {
		return 0, fmt.Errorf("%w: offset %d", fs.ErrInvalid, offset)
	}
	n, end := 0, min(offset+int64(len(p)), r.Size())
	for n < len(p) && offset < end {
		i := r.index.At(offset)
		data, err := r.chunk(i, r.index.At(end-1))
		if err != nil {
			return n, err
		}
		k := copy(p[n:], data[offset-r.index.Start(i):])
		n, offset = n+k, offset+int64(k)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// chunk returns chunk i of a read that goes on to chunk last.
func (r *Reader) chunk(i, last int) ([]byte, error) {
	c := r.want(i, last)
	select {
	case <-c.done:
		return c.data, c.err
	case <-r.ctx.Done():
		return nil, fs.ErrClosed
	}
}

// want returns chunk i, which may be under way, and starts what is missing of the
// read and of what lies ahead of it.
func (r *Reader) want(i, last int) *chunk {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stats.Reads++
	r.profile.asked(i)
	last = r.ahead(i, last)
	c := r.held[r.index.Chunks[i].ID]
	if c == nil {
		run := r.run(i, last)
		c = run[0]
		c.missed = true
		r.profile.missed++
		r.start(i, run, false)
	} else if r.profile.used(c); c.at != nil {
		r.used.MoveToFront(c.at)
	}
	r.readAhead(i, last)
	r.bring()
	return c
}

// readAhead starts requests for what is missing between chunk i and chunk last, if it
// pays: once that is half of it, where several chunks make one request, and only where
// a request is free that nobody who waits has need of.
func (r *Reader) readAhead(i, last int) {
	near := last
	if r.source.together() {
		near = max(i+1, i+(last-i)/2)
	}
	for k := i + 1; k <= last; k++ {
		if r.held[r.index.Chunks[k].ID] != nil {
			continue
		}
		if k > near || r.coming+r.config.Limits.Request > r.config.Limits.Memory/2 || len(r.slots) >= cap(r.slots)-1 {
			return
		}
		select {
		case r.slots <- struct{}{}:
		default:
			return
		}
		run := r.run(k, last)
		r.start(k, run, true)
		k += len(run) - 1
		near = last
	}
}

// run makes chunks of the first, which is missing, and of those up to last that are
// missing, follow it without a gap and fit into its request.
func (r *Reader) run(first, last int) []*chunk {
	var run []*chunk
	var size int64
	for k := first; k <= last; k++ {
		id, n := r.index.Chunks[k].ID, r.index.Len(k)
		if r.held[id] != nil || len(run) > 0 && (size+n > r.config.Limits.Request || !r.source.together() || r.coming+n > r.config.Limits.Memory/2) {
			break
		}
		c := &chunk{id: id, size: n, done: make(chan struct{})}
		r.held[id] = c
		size += n
		r.memory += n
		r.coming += n
		run = append(run, c)
	}
	r.evict()
	return run
}

// evict drops what was not used for longest, as far as there is too much.
func (r *Reader) evict() {
	for r.memory > r.config.Limits.Memory && r.used.Len() > 0 {
		c := r.used.Remove(r.used.Back()).(*chunk)
		delete(r.held, c.id)
		r.memory -= c.size
		r.profile.used(c)
	}
}

// finish says what became of a chunk.
func (r *Reader) finish(c *chunk, data []byte, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.data, c.err = data, err
	r.coming -= c.size
	if c.missed {
		r.profile.missed--
	}
	if err != nil { // the next read tries again
		delete(r.held, c.id)
		r.memory -= c.size
		r.profile.used(c)
		if !errors.Is(err, context.Canceled) {
			r.stats.Failed++
		}
	} else {
		c.at = r.used.PushFront(c)
	}
	close(c.done)
}

// stream is somebody who reads one chunk after the other.
type stream struct {
	next   int   // the chunk that is expected
	window int64 // how far is read ahead, in bytes
}

// ahead returns up to which chunk a read of chunks i to last and what comes after it
// are to be brought, as far as that can wait in memory, and remembers that i was read.
func (r *Reader) ahead(i, last int) int {
	most := min(r.config.Limits.Ahead, r.config.Limits.Memory/4)
	s := stream{next: i + 1}
	for k, old := range r.streams {
		if i != old.next && i != old.next-1 {
			continue
		}
		if s = old; i == s.next {
			s.next++
			s.window = min(max(2*s.window, r.index.Max), most)
		}
		r.streams = append(r.streams[:k], r.streams[k+1:]...)
		break
	}
	r.streams = append([]stream{s}, r.streams[:min(len(r.streams), r.config.Limits.Streams-1)]...)
	end := r.index.Chunks[i].End
	window := max(s.window, min(r.index.Chunks[last].End-end, most))
	return r.index.At(min(end+window, r.Size()) - 1)
}
