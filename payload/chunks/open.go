package chunks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/imagecache"
	"github.com/farboot/farboot/payload/object"
)

// Limits bound what a [Reader] takes. Start from [DefaultLimits].
type Limits struct {
	// Memory is how many bytes of chunks are held, read ahead and under way. Each
	// request has two chunks more, and each read that waits may have one. A machine
	// with 768 MB boots a live system with 32 MiB of it; one chunk may have an eighth.
	Memory int64
	// Requests are under way at a time, and of chunks that are files of their own up to
	// four times as many. Beyond a few a link only gets shorter queues in other places;
	// one is kept for what is waited for.
	Requests int
	// Request is how many bytes of the image one asks for: with less, latency
	// counts; with more, others wait.
	Request int64
	// Ahead is how far is read ahead, in bytes, of somebody who reads one chunk
	// after the other. At 100 MB/s and 50 ms of latency 5 MB are on their way.
	Ahead int64
	// Streams is how many such readers are told apart, as files that are read at
	// the same time.
	Streams int
	// Keep is how many bytes wait to be written to the cache. A stick may write
	// slower than the network brings; what would wait longer is not kept.
	Keep int64
}

// DefaultLimits returns the limits of an agent.
func DefaultLimits() Limits {
	return Limits{Memory: 32 << 20, Requests: 4, Request: 4 << 20, Ahead: 8 << 20, Streams: 8, Keep: 8 << 20}
}

// FetchLimits returns limits for the client of a Reader: those of fetch, but a
// server that was away is asked again every few seconds. Somebody waits in a read.
func FetchLimits() fetch.Limits {
	l := fetch.DefaultLimits()
	l.BackoffMax, l.Stall, l.IdleTime = 5*time.Second, 10*time.Second, 5*time.Minute
	l.IdleConns = 16
	return l
}

// Config says how an image is read.
type Config struct {
	// Client asks servers, and Sites are those that ought to have the image's
	// objects. See [FetchLimits].
	Client *fetch.Client
	Sites  *fetch.Mirrors
	// Cache keeps chunks; nil is none. Several readers may share it.
	Cache *imagecache.Cache
	// Profile is the object that says what will be read; nil is not known. One that
	// cannot be had, or is another image's, costs nothing but what it would save.
	Profile *object.Ref
	Limits  Limits
	// Log prints one line; nil is silence.
	Log func(format string, args ...any)
}

// Open returns a Reader of an image. Index and seek table are taken from the cache
// or else from the sites, which are not waited for as reads are.
func Open(ctx context.Context, img Image, c Config) (*Reader, error) {
	if err := img.Check(); err != nil {
		return nil, err
	}
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	data, err := c.object(ctx, img.Index)
	if err != nil {
		return nil, fmt.Errorf("index of the image: %w", err)
	}
	index, err := caibx.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	s := &source{mirrors: c.Sites, index: index, unpack: NewUnpacker(c.Limits.Requests)}
	switch {
	case img.Castr:
		s.castr = CastrDir
	case img.Zst != nil:
		s.file, s.size = img.Zst.File.Path(), img.Zst.File.Size
		s.starts, err = c.starts(ctx, img.Zst, index)
	default:
		s.mirrors, s.size = fetch.NewMirrors(c.Client, c.Log, img.URLs...), index.Size()
	}
	if err != nil {
		return nil, err
	}
	r, err := newReader(s, c)
	if err != nil {
		return nil, err
	}
	r.id = img.Index.SHA256
	if c.Profile != nil {
		r.follow(c.profile(ctx, r))
	}
	return r, nil
}

// profile returns the profile, or none.
func (c *Config) profile(ctx context.Context, r *Reader) Profile {
	var p Profile
	err := fmt.Errorf("%w: %d bytes", ErrProfile, c.Profile.Size)
	if c.Profile.Size <= MaxProfileFile {
		var data []byte
		if data, err = c.object(ctx, *c.Profile); err == nil {
			p, err = DecodeProfile(data, r.id, len(r.index.Chunks))
		}
	}
	if err != nil {
		c.Log("image: boot profile: %v", err)
	}
	return p
}

// starts returns where the chunks begin in a seekable file, and where the last one
// ends.
func (c *Config) starts(ctx context.Context, z *Zst, index *caibx.Index) ([]int64, error) {
	data, err := c.object(ctx, z.Table)
	if err != nil {
		return nil, fmt.Errorf("seek table of the image: %w", err)
	}
	table, err := DecodeTable(data, index)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrImage, err)
	}
	if table.FileSize() != z.File.Size {
		return nil, fmt.Errorf("%w: by its table the file has %d bytes, want %d", ErrImage, table.FileSize(), z.File.Size)
	}
	starts := make([]int64, 1, len(table)+1)
	for i, n := range table {
		starts = append(starts, starts[i]+n)
	}
	return starts, nil
}

// object returns a small object, from the cache or the sites.
func (c *Config) object(ctx context.Context, ref object.Ref) ([]byte, error) {
	if c.Cache != nil {
		if packed, ok := c.Cache.Get(ref.SHA256); ok {
			if data, err := NewUnpacker(1).Unpack(packed, ref.SHA256, ref.Size); err == nil {
				return data, nil
			}
			c.Cache.Forget(ref.SHA256)
		}
	}
	if c.Sites == nil {
		return nil, fmt.Errorf("object %s: %w: there is no site", ref.SHA256, fetch.ErrNotFound)
	}
	data := make(memory, ref.Size)
	if err := c.Sites.Object(ctx, ref, data, nil); err != nil {
		return nil, err
	}
	if c.Cache != nil && ref.Size <= caibx.MaxChunk {
		if err := c.Cache.Put(ref.SHA256, Store(data)); err != nil {
			c.Log("image: %v", err)
		}
	}
	return data, nil
}

// memory is where an object goes.
type memory []byte

// WriteAt implements io.WriterAt.
func (m memory) WriteAt(p []byte, offset int64) (int, error) {
	if offset < 0 || offset+int64(len(p)) > int64(len(m)) {
		return 0, errors.New("beyond the object's end")
	}
	return copy(m[offset:], p), nil
}
