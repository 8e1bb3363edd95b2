// Package source turns the inputs that a recipe names into verified bytes on
// this machine. [Resolve] finds out what they are, for the lock; [Fetch] brings
// what a lock says into the cache; the [Blobs] that it returns hand it out.
//
// The package promises that nothing is handed out but what the lock names, by
// size and SHA-256, and that a package says of itself what the lock says of it.
// With a lock no index is read, and with a warm cache no network is used.
//
// It does not read or write lock files, and it does not judge whether a lock
// belongs to a recipe (package lock does).
package source

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/object"
)

// parallel is how many downloads run at once: enough to hide the latency of a
// mirror, few enough to be no nuisance to it.
const parallel = 4

// maxUnlocked bounds what is kept in memory of a "url:" input while it is not locked
// yet, in bytes: its size is not known. What is larger is asked for twice.
const maxUnlocked = 64 << 20

// Classes of error, for errors.Is. What is wrong with the lock itself wraps
// lock.ErrStale.
var (
	// ErrGone: no mirror has the locked package any more.
	ErrGone = errors.New("gone from the mirror")
	// ErrImpostor: a package is not the one that its index or lock promised.
	ErrImpostor = errors.New("not the package that was promised")
)

// Error is a failure about one input, with the way out where one is known.
type Error struct {
	// Input is the input's name, as in the lock.
	Input string
	Err   error
	Hint  string
}

// Error implements error. The hint is the caller's to print.
func (e *Error) Error() string { return display(e.Input) + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Options are the means to resolve and fetch by.
type Options struct {
	// Cache and Client must be set.
	Cache  *cache.Cache
	Client *fetch.Client
	// Progress, where not nil, is told how many bytes of a download are there.
	// The number may go back. Calls never overlap.
	Progress func(name string, done, total int64)
	// Warn, where not nil, is told what went wrong without stopping the work:
	// a mirror that was passed over.
	Warn func(error)
	// Machine is the root folder of the machine whose apt configuration
	// counts; empty means "/".
	Machine string
	// Now is the operator's clock; nil means time.Now.
	Now func() time.Time
	// Previous is what the lock that is being renewed was made from; nil if
	// there is none. The same repositories in an older state are refused.
	Previous *lock.Archive
	// Keep, where not nil, is a lock whose packages and URLs [Resolve] takes as
	// they are, where the recipe still names them and its repositories are the
	// same; it looks up the others only.
	Keep *lock.Lock
}

// store fetches objects into the cache.
type store struct {
	cache    *cache.Cache
	client   *fetch.Client
	mu       sync.Mutex
	progress func(name string, done, total int64)
}

// newStore returns the store that o describes.
func newStore(o Options) *store {
	return &store{cache: o.Cache, client: o.Client, progress: o.Progress}
}

// get returns where the object lies, from the cache or from the first of urls
// that has it.
func (s *store) get(ctx context.Context, name string, urls []string, ref object.Ref) (string, error) {
	if path, ok := s.cache.Path(ref); ok {
		return path, nil
	}
	return s.cache.Put(ctx, ref, func(part *os.File) error {
		err := s.client.Object(ctx, urls, ref, part, func(done int64) { s.report(name, done, ref.Size) })
		if isGone(err) {
			return fmt.Errorf("%w: %w", ErrGone, err)
		}
		return err
	})
}

// report passes progress on.
func (s *store) report(name string, done, total int64) {
	if s.progress == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress(display(name), done, total)
}

// isGone tells whether every attempt ended in "not found".
func isGone(err error) bool {
	failed, ok := errors.AsType[*fetch.Error](err)
	if !ok {
		return false
	}
	for _, a := range failed.Attempts {
		if !errors.Is(a.Err, fetch.ErrNotFound) {
			return false
		}
	}
	return true
}

// display is an input's name for messages: a URL loses what may be secret, its
// user, query and fragment.
func display(name string) string {
	raw, ok := strings.CutPrefix(name, "url:")
	if !ok {
		return name
	}
	u, err := url.Parse(raw)
	if err != nil {
		return "url:(unreadable)"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return "url:" + u.String()
}
