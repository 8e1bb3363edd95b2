// Package cachedisk finds the place on a machine's own disks where chunks of images
// are kept from one boot to the next.
//
// [Find] is the main call. It takes the file system that signed bytes name, or the
// partition for data on the stick that the machine was started from, or else any FAT
// or ext file system on which somebody made a folder farboot-cache, and opens the
// cache there (package imagecache).
//
// The package promises that
//
//   - the folder is made on the first two only, and nothing is written outside of it;
//   - a file system is writable from the first chunk that is kept until none was for
//     half a minute, so that a machine which is switched off in between leaves it as
//     clean as it was. Where somebody else has mounted it as well, it stays as it is;
//   - a file system that was not unmounted is read and not written to, its journal not
//     replayed: its system may be asleep, and would wake up to a disk that is not the
//     one it knows. It takes whoever names it, in signed bytes, to say that it is
//     nobody's. The stick's own is written to as well: FAT has no journal, and a
//     machine that lost power once is to have a cache again. One that says of itself
//     that it has errors is never written to;
//   - a disk that does not answer costs a bounded time;
//   - paths, /proc and /dev are used by Find and Close only, so that what was found
//     outlives a change of the root.
//
// What is read is no more trusted than what comes from a web server, and the kernel's
// drivers see file systems that anybody may have made. Drivers for disks have to be
// there. Encrypted disks, LVM and RAID are not looked into.
package cachedisk

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/imagecache"
	"github.com/farboot/farboot/payload/state"
)

// ErrNone: no file system has a cache, or may have one.
var ErrNone = errors.New("no disk has a folder " + imagecache.Dir)

const (
	// patience is how long one file system may take. A disk that spins up takes ten
	// seconds.
	patience = 20 * time.Second
	// appears is how long a disk is waited for that was there a minute ago, before
	// another kernel took over: USB storage takes two seconds.
	appears, look = 10 * time.Second, 250 * time.Millisecond
	// rest is how long after the last chunk a file system is made read-only again. A
	// boot that reads nothing new for so long is over, or waits for somebody.
	rest = 30 * time.Second
	// least and most bound a cache of which nobody said how large it may be, in bytes;
	// margin is what it always leaves to others. A live system reads some 500 MB.
	least, most, margin = 16 << 20, 4 << 30, 16 << 20
)

// Where says where a cache may be.
type Where struct {
	// Label and UUID are those of the file system that signed bytes name; one of them
	// is enough. Where it is there, no other is looked at.
	Label string `json:"label,omitzero"`
	UUID  string `json:"uuid,omitzero"`
	// Size is how many bytes the cache may take; 0 is half of the room there is, and at
	// most 4 GiB.
	Size int64 `json:"size,omitzero"`
	// Build is that of the medium, by which its stick is known.
	Build string `json:"build,omitzero"`
	// Seen is the UUID of the file system on which the cache was found already, see
	// [Found]: it is waited for a little, and comes first.
	Seen string `json:"seen,omitzero"`
	// Overlay is the label of a file system that the system itself writes to. A cache on
	// it leaves it writable: the kernel does not mount one both ways.
	Overlay string `json:"overlay,omitzero"`
}

// Found is a cache on a disk.
type Found struct {
	Cache *imagecache.Cache
	// Name is for people: "vfat on sdb3".
	Name string
	// UUID is the file system's.
	UUID string

	unmount func() error
}

// Close closes the cache, and unmounts the file system.
func (f *Found) Close() error { return errors.Join(f.Cache.Close(), f.unmount()) }

// Find opens the cache of this machine. Its file system is mounted below c.Dir. Where
// there is none the error is [ErrNone].
func Find(ctx context.Context, c local.Config, w Where) (*Found, error) {
	volumes, err := w.volumes(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		p := &place{Volume: v, config: c, dir: filepath.Join(c.Dir, "cache-"+v.Partition), named: w.names(v), ours: w.stick(v), shared: w.Overlay != "" && v.Label == w.Overlay}
		found, err := within(ctx, func() (*Found, error) { return p.open(w.Size) })
		switch {
		case err == nil:
			return found, nil
		case !errors.Is(err, ErrNone):
			c.Log("cache: %s on %s: %v", v.Kind, v.Partition, err)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return nil, ErrNone
}

// volumes lists the file systems that come into question, in the order in which they
// do. What is expected to be there is waited for.
func (w Where) volumes(ctx context.Context, c local.Config) ([]local.Volume, error) {
	deadline := time.Now().Add(appears)
	for {
		all, err := local.Volumes(ctx, c)
		if err != nil {
			return nil, err
		}
		seen := w.Seen == "" || slices.ContainsFunc(all, func(v local.Volume) bool { return v.UUID == w.Seen })
		if seen || ctx.Err() != nil || time.Now().After(deadline) {
			slices.SortStableFunc(all, func(a, b local.Volume) int { return w.rank(a) - w.rank(b) })
			return all, nil
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
		}
	}
}

// rank orders file systems, the first to be taken with the lowest.
func (w Where) rank(v local.Volume) int {
	switch {
	case w.names(v):
		return 0
	case w.Seen != "" && v.UUID == w.Seen:
		return 1
	case w.stick(v):
		return 2
	}
	return 3
}

// names tells whether signed bytes mean a file system.
func (w Where) names(v local.Volume) bool {
	return w.Label != "" && v.Label == w.Label && (w.UUID == "" || v.UUID == w.UUID) || w.Label == "" && w.UUID != "" && v.UUID == w.UUID
}

// stick tells whether a file system is the one for data on the medium's stick.
func (w Where) stick(v local.Volume) bool {
	return w.Build != "" && v.PartitionName == state.DataName && slices.Contains(v.Neighbours, state.PartitionName(w.Build))
}

// within returns what f does, or gives up and lets it close what it finds.
func within(ctx context.Context, f func() (*Found, error)) (*Found, error) {
	type result struct {
		found *Found
		err   error
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	done := make(chan result, 1)
	var found *Found
	guard.Go("opening a cache", func() (err error) { found, err = f(); return err }, func(err error) { done <- result{found, err} })
	select {
	case r := <-done:
		return r.found, r.err
	case <-ctx.Done():
		guard.Go("leaving a cache", func() error {
			if r := <-done; r.err == nil {
				return r.found.Close()
			}
			return nil
		}, func(error) {})
		return nil, fmt.Errorf("no answer: %w", ctx.Err())
	}
}

// place is a file system that may have a cache.
type place struct {
	local.Volume
	config local.Config
	dir    string // where it is mounted
	named  bool   // signed bytes mean it
	ours   bool   // it is that of the stick
	shared bool   // the system writes to it as well

	root   *os.File // of the file system
	mounts *os.File // the list of mounts
}

// open mounts it, and opens the cache on it.
func (p *place) open(size int64) (*Found, error) {
	unmount, err := p.mount()
	if err != nil {
		return nil, err
	}
	cache, err := p.cache(size)
	if err != nil {
		return nil, errors.Join(err, unmount())
	}
	return &Found{Cache: cache, Name: p.Kind + " on " + p.Partition, UUID: p.UUID, unmount: unmount}, nil
}

// cache opens the folder, and makes it where that is allowed.
func (p *place) cache(size int64) (*imagecache.Cache, error) {
	dir := filepath.Join(p.dir, imagecache.Dir)
	info, err := os.Lstat(dir)
	switch {
	case err == nil && !info.IsDir():
		return nil, fmt.Errorf("%w: %s is no folder", ErrNone, imagecache.Dir)
	case errors.Is(err, os.ErrNotExist) && !p.named && !p.ours:
		return nil, ErrNone
	case errors.Is(err, os.ErrNotExist):
		err = p.make(dir)
	}
	if err != nil {
		return nil, err
	}
	if size, err = p.room(dir, size); err != nil {
		return nil, err
	}
	door := imagecache.Door{Open: p.writable, Shut: p.readOnly, Rest: rest}
	if p.shared {
		if err := p.writable(); err != nil {
			return nil, err
		}
		door = imagecache.Door{}
	}
	return imagecache.OpenBehind(door, dir, imagecache.DefaultLimits(size))
}

// make makes the folder.
func (p *place) make(dir string) error {
	if err := p.writable(); err != nil {
		return err
	}
	defer p.readOnly()
	return os.Mkdir(dir, 0o755)
}

// room returns how many bytes a cache may take that may take size.
func (p *place) room(dir string, size int64) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	room := int64(s.Bavail) * s.Bsize
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0, err
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil {
			room += info.Size()
		}
	}
	if size == 0 {
		size = min(most, room/2)
	}
	if size = min(size, room-margin); size < least {
		return 0, fmt.Errorf("%d MiB are free, which is too little for a cache", room>>20)
	}
	return size, nil
}
