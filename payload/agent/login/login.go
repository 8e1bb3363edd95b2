// Package login lets people in at the machine's consoles, by a password: a shell on
// each screen and serial line that the kernel prints on.
//
// The main call is [Room.Serve], on the rooms that [New] makes. The package promises
// that nobody gets in who does not type the password that the hash was made from;
// that a wrong one is told, counted and makes the next try on that console wait, up
// to a minute, so that guessing takes for ever while the owner at another console
// does not notice; that what is typed as a password is neither shown nor kept; and
// that one console, whatever is on it, does not hold up another.
//
// Who stands at a console may be anybody, and a password proves less than a key. So
// there is a room only where the signed manifest, or the medium, has a hash.
package login

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/password"
)

var (
	// ErrIdle says that nobody was logged in for so long that the room closed.
	ErrIdle = errors.New("nobody is logged in")
	// ErrDeaf says that no console can be read.
	ErrDeaf = errors.New("no console can be read")
)

// Limits bound how people are let in.
type Limits struct {
	// Typing is how long the password is waited for.
	Typing time.Duration
	// Wrong is how long a console is closed after a wrong password. It doubles with
	// each one up to WrongMost, and starts anew with a right one.
	Wrong, WrongMost time.Duration
	// Idle ends a login over which not a byte went for so long. It is long, since
	// a file system check may be silent for hours.
	Idle time.Duration
	// Parting is how long programs may take to end.
	Parting time.Duration
	// Writing is how long a console may take for a KiB, before what is shown on it
	// is given up: 1.1 s at 9600 baud, but screens at serial lines can be stopped.
	Writing time.Duration
}

// DefaultLimits returns the limits that the agent uses.
func DefaultLimits() Limits {
	return Limits{
		Typing: time.Minute, Wrong: 2 * time.Second, WrongMost: time.Minute,
		Idle: 12 * time.Hour, Parting: time.Second, Writing: 5 * time.Minute,
	}
}

// Config says whom to let in, and to what.
type Config struct {
	// Hash is the password's, as [password.Parse] takes it.
	Hash string
	// Processes are those of the toolbox, or of the system.
	Processes *toolbox.Processes
	// Env is the environment beside [toolbox.Environ].
	Env []string
	// Dir is where shells begin.
	Dir string
	// Greeting is shown to who is in: lines of plain text.
	Greeting string
	// Log prints one line.
	Log    func(format string, args ...any)
	Limits Limits
}

// Room lets people in.
type Room struct {
	config Config
	hash   password.Hash

	leave    func(message string)
	leaving  chan struct{} // closed when all is to end
	farewell string        // set before that

	mu       sync.Mutex
	logins   int // so far
	inside   int // now
	lastSeen time.Time
}

// New returns a room that nobody is in.
func New(c Config) (*Room, error) {
	hash, err := password.Parse(c.Hash)
	if err != nil {
		return nil, fmt.Errorf("login: %w", err)
	}
	r := &Room{config: c, hash: hash, leaving: make(chan struct{})}
	var once sync.Once
	r.leave = func(message string) {
		once.Do(func() {
			r.farewell = message
			close(r.leaving)
		})
	}
	return r, nil
}

// Serve lets people in on all consoles of c until [Room.Stop], or ctx ends, or
// nobody was logged in for idle; 0 is for ever. It returns when all are out: nil
// after Stop, [ErrIdle], [ErrDeaf] or the error of ctx.
func (r *Room) Serve(ctx context.Context, c *console.Console, idle time.Duration) error {
	listening, deafen := context.WithCancel(ctx)
	heard := c.Listen(listening)
	err := r.serve(ctx, heard, c.Writer, idle)
	deafen()
	expired := time.After(time.Second)
	for open := true; open; {
		select {
		case _, open = <-heard:
		case <-expired: // a driver that hangs
			return err
		}
	}
	return err
}

// Stop lets nobody in any more, tells who is in the message, and ends what runs.
func (r *Room) Stop(message string) { r.leave(message) }

// Busy tells whether somebody is logged in.
func (r *Room) Busy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inside > 0
}

// serve is Serve without consoles.
func (r *Room) serve(ctx context.Context, heard <-chan console.Heard, open func(name string) (*os.File, error), idle time.Duration) error {
	seats := map[string]*seat{}
	var group sync.WaitGroup
	defer group.Wait()
	defer r.leave("This machine goes on.")
	r.seen(0)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case h, ok := <-heard:
			if !ok {
				return ErrDeaf
			}
			s := seats[h.Console]
			if s == nil {
				s = &seat{room: r, console: h.Console, typed: make(chan []byte, typedMost)}
				seats[h.Console] = s
				group.Add(1)
				guard.Go("a console", func() error { return s.run(open) }, func(err error) {
					if err != nil {
						r.config.Log("login: %s: %v", s.console, err)
					}
					group.Done()
				})
			}
			s.put(h.Data)
		case <-r.leaving:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if quiet := r.quiet(); idle > 0 && quiet >= idle {
				return fmt.Errorf("%w for %.0f s", ErrIdle, quiet.Seconds())
			}
		}
	}
}

// seen notes that somebody came (1), went (-1) or might (0), and returns the number
// of the last login.
func (r *Room) seen(change int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inside += change
	r.logins += max(0, change)
	r.lastSeen = time.Now()
	return r.logins
}

// quiet returns for how long nobody has been logged in.
func (r *Room) quiet() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inside > 0 {
		return 0
	}
	return time.Since(r.lastSeen)
}
