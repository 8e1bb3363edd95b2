package imagecache

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/object"
)

// Put adds a chunk, as the caller packed it, unless it is there. Room is made by
// removing old segments. It returns once the kernel has the bytes: the disk gets
// them when a segment is full and on Close, since a stick that is made to write
// each chunk at once takes ten times as long.
func (c *Cache) Put(id object.ID, data []byte) error {
	if len(data) > MaxRecord || int64(headSize+len(data)) > c.limits.Segment {
		return fmt.Errorf("%w: a chunk of %d bytes, in segments of %d", ErrFull, len(data), c.limits.Segment)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.Has(id) {
		return nil
	}
	err := c.put(id, data)
	if errors.Is(err, unix.ENOSPC) && c.evict() { // the disk has less than the cache may take
		err = c.put(id, data)
	}
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}

// put appends a record to the last segment, or to a new one.
func (c *Cache) put(id object.ID, data []byte) error {
	n := int64(headSize + len(data))
	if err := c.room(n); err != nil {
		return err
	}
	s := c.last
	p := place{segment: s, offset: s.size + headSize, size: int64(len(data))}
	record := head(id, data)
	p.sum = sumOf(record)
	// One write, so that the head is never there for long without its chunk.
	if _, err := s.file.WriteAt(append(record, data...), s.size); err != nil {
		if s.file.Truncate(s.size) != nil {
			c.last = nil // who knows what it holds behind its end now
		}
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s.size += n
	c.places[id] = p
	c.stats.Added++
	c.use(s)
	return nil
}

// room makes sure that the last segment can take n bytes more.
func (c *Cache) room(n int64) error {
	if c.last != nil && c.last.size+n > c.limits.Segment {
		if err := c.last.file.Sync(); err != nil {
			return err
		}
		c.last = nil
	}
	for c.total()+n > c.limits.Size {
		if !c.evict() {
			return fmt.Errorf("%w: %d bytes are allowed", ErrFull, c.limits.Size)
		}
	}
	if c.last != nil {
		return nil
	}
	c.number++
	f, err := os.OpenFile(c.path(c.number), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	s := &segment{number: c.number, file: f}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use(s)
	c.segments, c.last = append(c.segments, s), s
	return nil
}

// total is how many bytes all segments have.
func (c *Cache) total() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	var n int64
	for _, s := range c.segments {
		n += s.size
	}
	return n
}

// evict removes the segment that was not used for longest, and tells whether there
// was one. The one that is appended to stays.
func (c *Cache) evict() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	victim := -1
	for i, s := range c.segments {
		if s != c.last && (victim < 0 || s.used < c.segments[victim].used) {
			victim = i
		}
	}
	if victim < 0 {
		return false
	}
	s := c.segments[victim]
	if err := os.Remove(c.path(s.number)); err != nil {
		return false
	}
	s.file.Close()
	for id, p := range c.places {
		if p.segment == s {
			delete(c.places, id)
		}
	}
	c.segments = append(c.segments[:victim:victim], c.segments[victim+1:]...)
	c.stats.Evicted++
	return true
}
