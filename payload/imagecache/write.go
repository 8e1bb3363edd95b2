package imagecache

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/guard"
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
	err := c.opened()
	if err == nil {
		err = c.put(id, data)
	}
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
	if _, err := c.out.WriteAt(append(record, data...), s.size); err != nil {
		if c.out.Truncate(s.size) != nil {
			err = errors.Join(err, c.leave()) // who knows what it holds behind its end now
			c.last = nil
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
		if err := c.leave(); err != nil {
			return err
		}
		c.last = nil
	}
	for c.total()+n > c.limits.Size {
		if !c.evict() {
			return fmt.Errorf("%w: %d bytes are allowed", ErrFull, c.limits.Size)
		}
	}
	if c.last == nil {
		return c.begin()
	}
	if c.out != nil {
		return nil
	}
	var err error
	c.out, err = c.root.OpenFile(nameOf(c.last.number), os.O_WRONLY, 0)
	return err
}

// begin makes a new segment the last.
func (c *Cache) begin() error {
	c.number++
	out, err := c.root.OpenFile(nameOf(c.number), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	f, err := c.root.Open(nameOf(c.number))
	if err != nil {
		return errors.Join(err, out.Close())
	}
	c.out = out
	s := &segment{number: c.number, file: f}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use(s)
	c.segments, c.last = append(c.segments, s), s
	return nil
}

// opened makes sure that the door is open, for a while.
func (c *Cache) opened() error {
	if c.door.Shut != nil {
		if c.rest == nil {
			c.rest = guard.AfterFunc(c.door.Rest, "shutting a cache", c.rested, func(error) {})
		}
		c.rest.Reset(c.door.Rest)
	}
	if !c.open && c.door.Open != nil {
		if err := c.door.Open(); err != nil {
			return err
		}
	}
	c.open = true
	return nil
}

// rested shuts the door, since nothing was written for long enough. Nobody waits to
// be told of an error; what it cost will be found damaged.
func (c *Cache) rested() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.shut()
}

// shut makes sure that all is on the disk, and shuts the door if it is open.
func (c *Cache) shut() error {
	err := c.leave()
	if c.rest != nil {
		c.rest.Stop()
	}
	if c.open && c.door.Shut != nil {
		c.door.Shut()
	}
	c.open = false
	return err
}

// leave makes sure that the last segment is on the disk, and ends writing to it.
func (c *Cache) leave() error {
	if c.out == nil {
		return nil
	}
	err := errors.Join(c.out.Sync(), c.out.Close())
	c.out = nil
	return err
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
	if err := c.root.Remove(nameOf(s.number)); err != nil {
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
