// Package imagecache keeps chunks of images in a folder of a local file system, so
// that the next boot need not fetch them again.
//
// [Open] opens a folder, [Cache.Get] and [Cache.Put] read and add a chunk by its
// hash, so that images which have chunks in common share them. It is made for a
// stick with FAT: chunks lie one behind the other in a few large files, the
// segments, which are only ever appended to and removed.
//
// The package promises that a power cut at any moment, torn writes, flipped bits and
// whatever else a disk may hold cost at most the chunks that they hit, and that the
// folder takes no more room than it may. It does not promise who wrote a chunk: a
// checksum tells what is damaged, and the hash by which it was asked for whether it
// is the right one. That the caller must check.
//
// # What is on the disk
//
//	farboot-cache/00000001.seg    records, one behind the other
//
// A record is a head of 48 bytes and its chunk, as the caller packed it. The head,
// of little-endian numbers:
//
//	0   "FBC1"
//	4   how many bytes follow the head, uint32
//	8   SHA-256 by which the chunk is asked for
//	40  CRC-32C of what follows the head
//	44  CRC-32C of the first 44 bytes
//
// The first head that is none ends a segment: what follows was torn off, and is
// never written behind of.
package imagecache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/object"
)

// Dir is what the folder is called, wherever it lies.
const Dir = "farboot-cache"

// MaxRecord bounds one chunk as it is packed, in bytes: what package caibx allows,
// and room for the packing.
const MaxRecord = 17 << 20

// Errors of [Open] and [Cache.Put].
var (
	// ErrBusy: another program uses the folder.
	ErrBusy = errors.New("cache is in use")
	// ErrFull: the folder is allowed, or has, too little room for one segment.
	ErrFull = errors.New("cache has no room")
)

// Limits bound what a cache takes.
type Limits struct {
	// Size is how many bytes all segments may take. Where that is not enough, the one
	// goes that was not used for longest; before Open only its age is known.
	Size int64
	// Segment is how many bytes one may have. It is what is lost at a time when
	// room is needed; many small ones make many files.
	Segment int64
}

// DefaultLimits returns limits for a folder of the given size in bytes: segments of
// 64 MiB, smaller where there would be less than eight.
func DefaultLimits(size int64) Limits {
	return Limits{Size: size, Segment: min(64<<20, max(size/8, 1<<20))}
}

// Door lets a cache write to its file system only while it has something to write,
// so that a machine that is switched off at any other time leaves it clean. The zero
// Door always stands open.
type Door struct {
	// Open is called before the first write, and Shut after Rest without any, and on
	// Close. Nothing in the folder is open for writing when Shut is called. What keeps
	// it from doing its work is for itself to tell.
	Open func() error
	Shut func()
	Rest time.Duration
}

// Cache is an open folder. It is safe for parallel use.
type Cache struct {
	root   *os.Root // the folder, wherever paths lead meanwhile
	limits Limits
	door   Door
	lock   *os.File // the folder as well

	writing sync.Mutex  // held by who changes files, before mu
	last    *segment    // which is appended to; nil is none yet
	number  int         // the highest there is
	out     *os.File    // the last one, open for writing, or nil
	open    bool        // the door is
	rest    *time.Timer // until it is shut; nil is no door

	mu       sync.RWMutex // guards what follows
	segments []*segment   // the oldest first
	places   map[object.ID]place
	uses     int
	stats    Stats
}

// segment is a file of records.
type segment struct {
	number int
	file   *os.File
	size   int64
	used   int // when it was last, counted in uses since Open; 0 is never
}

// place is where a chunk lies.
type place struct {
	segment *segment
	offset  int64 // of what follows the head
	size    int64
	sum     uint32
}

// Stats tell what was done with a cache since it was opened.
type Stats struct {
	// Chunks and Bytes are what it holds now.
	Chunks int
	Bytes  int64
	// Hits are chunks that were read, Damaged those that were not what they should
	// be, and Added those that were written.
	Hits, Damaged, Added int
	// Evicted are segments that were removed for room.
	Evicted int
}

// Open opens the cache in the folder dir, which is made if need be. One that
// another program has open is [ErrBusy].
func Open(dir string, l Limits) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	return OpenBehind(Door{}, dir, l)
}

// OpenBehind opens the cache in a folder that is there, behind a door that is shut.
func OpenBehind(d Door, dir string, l Limits) (*Cache, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	lock, err := root.Open(".")
	if err != nil {
		return nil, fmt.Errorf("cache: %w", errors.Join(err, root.Close()))
	}
	c := &Cache{root: root, limits: l, door: d, lock: lock, places: map[object.ID]place{}}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrBusy, dir, err), c.Close())
	}
	if err := c.scan(); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// scan reads the heads of all records.
func (c *Cache) scan() error {
	entries, err := fs.ReadDir(c.root.FS(), ".")
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	for _, e := range entries { // sorted by name, and so by number
		n, ok := numberOf(e.Name())
		if c.number = max(c.number, n); ok && e.Type().IsRegular() {
			if err := c.scanSegment(n); err != nil {
				return fmt.Errorf("cache: %w", err)
			}
		}
	}
	return nil
}

// scanSegment reads the heads of the next segment. The last one is gone on with if
// it is whole.
func (c *Cache) scanSegment(n int) error {
	f, err := c.root.Open(nameOf(n))
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	s := &segment{number: n, file: f, size: info.Size()}
	end := records(f, s.size, func(id object.ID, p place) {
		p.segment = s
		c.places[id] = p
	})
	if c.last = nil; end == s.size {
		c.last = s
	}
	c.segments = append(c.segments, s)
	return nil
}

// numberOf reads the name of a segment.
func numberOf(name string) (int, bool) {
	digits, ok := strings.CutSuffix(name, ".seg")
	n, err := strconv.ParseUint(digits, 10, 31)
	if !ok || err != nil || len(digits) != 8 {
		return 0, false
	}
	return int(n), true
}

// nameOf is what a segment is called.
func nameOf(n int) string { return fmt.Sprintf("%08d.seg", n) }

// The head of a record.
const (
	headSize = 48
	magic    = "FBC1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head returns the head of a record.
func head(id object.ID, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(magic), uint32(len(data)))
	b = append(b, id[:]...)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(data, castagnoli))
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// sumOf returns the checksum of the chunk that a head is of.
func sumOf(head []byte) uint32 { return binary.LittleEndian.Uint32(head[40:]) }

// records tells of each record of a segment of size bytes, and returns where they
// end.
func records(r io.ReaderAt, size int64, found func(object.ID, place)) (end int64) {
	for end < size {
		id, p, ok := readHead(r, end)
		if !ok || p.offset+p.size > size {
			break
		}
		found(id, p)
		end = p.offset + p.size
	}
	return end
}

// readHead reads the head at an offset, if there is one.
func readHead(r io.ReaderAt, offset int64) (object.ID, place, bool) {
	var b [headSize]byte
	if _, err := r.ReadAt(b[:], offset); err != nil {
		return object.ID{}, place{}, false
	}
	n := int64(binary.LittleEndian.Uint32(b[4:]))
	if string(b[:4]) != magic || n > MaxRecord || crc32.Checksum(b[:44], castagnoli) != binary.LittleEndian.Uint32(b[44:]) {
		return object.ID{}, place{}, false
	}
	return object.ID(b[8:40]), place{offset: offset + headSize, size: n, sum: sumOf(b[:])}, true
}

// Has tells whether the cache seems to hold a chunk, at no cost.
func (c *Cache) Has(id object.ID) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.places[id]
	return ok
}

// Get returns a chunk as it was put, if it is there undamaged. What is damaged is
// forgotten, so that it can be put again.
func (c *Cache) Get(id object.ID) ([]byte, bool) {
	c.mu.RLock()
	p, ok := c.places[id]
	var data []byte
	if ok {
		data = make([]byte, p.size)
		_, err := p.segment.file.ReadAt(data, p.offset)
		ok = err == nil && crc32.Checksum(data, castagnoli) == p.sum
	}
	c.mu.RUnlock()
	if p.segment == nil {
		return nil, false
	}
	if !ok {
		c.forget(id, p)
		return nil, false
	}
	c.mu.Lock()
	c.use(p.segment)
	c.stats.Hits++
	c.mu.Unlock()
	return data, true
}

// use remembers that a segment was used.
func (c *Cache) use(s *segment) {
	c.uses++
	s.used = c.uses
}

// Forget says that what Get returned is not the chunk: somebody wrote another one.
func (c *Cache) Forget(id object.ID) {
	c.mu.RLock()
	p := c.places[id]
	c.mu.RUnlock()
	c.forget(id, p)
}

// forget drops a place, unless it is another one meanwhile.
func (c *Cache) forget(id object.ID, p place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.segment != nil && c.places[id] == p {
		delete(c.places, id)
		c.stats.Damaged++
	}
}

// Stats returns what was done so far.
func (c *Cache) Stats() Stats {
	c.mu.RLock()
	defer c.mu.RUnlock()
	s := c.stats
	s.Chunks = len(c.places)
	for _, seg := range c.segments {
		s.Bytes += seg.size
	}
	return s
}

// Close makes sure that all is on the disk, as far as it can, and closes the folder.
func (c *Cache) Close() error {
	c.writing.Lock()
	defer c.writing.Unlock()
	errs := []error{c.shut()}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.segments {
		errs = append(errs, s.file.Close())
	}
	clear(c.places)
	c.segments, c.last = nil, nil
	errs = append(errs, c.lock.Close(), c.root.Close())
	if err := errors.Join(errs...); err != nil && !errors.Is(err, fs.ErrClosed) {
		return fmt.Errorf("cache: %w", err)
	}
	return nil
}
