// Package cast sends an image to a whole room at once, by UDP multicast, to receivers
// of package payload/cast.
//
// [Dial] opens the way to a group, [New] makes a [Sender], and [Sender.Run] casts: it
// waits for machines, sends a pass, asks what is missing, sends that to all as long as
// two or more lack something, and then leaves the rest to HTTP. Machines tell the
// Sender, which is an http.Handler, how far they are.
//
// It promises that each machine that was ever heard of is in the [Room] in the end: it
// is done, it has failed and says why, or it went silent. [ErrRoom] names those that are
// not done. No machine slows the others: a rate that is not set follows what most of
// the room takes.
//
// It does not check the image: receivers do, each chunk. It does not know who reports:
// a report is a claim, and can at most cost further passes.
package cast

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/cast"
)

// ErrRoom: not every machine has the image.
var ErrRoom = errors.New("not every machine has the image")

// Limits bound a cast. Start from [DefaultLimits].
type Limits struct {
	// Machines is how many are told apart.
	Machines int
	// Passes is how many are sent at most.
	Passes int
	// Word is the time between two words, Ask how long answers are waited for after a
	// pass: machines report every 2 s.
	Word, Ask time.Duration
	// Silent is after how long without a report a machine is given up, and Stall the
	// same of a room in which nothing changes any more.
	Silent, Stall time.Duration
}

// DefaultLimits returns the limits of the command.
func DefaultLimits() Limits {
	return Limits{
		Machines: 1024, Passes: 5, Word: time.Second, Ask: 4 * time.Second,
		Silent: 30 * time.Second, Stall: 15 * time.Minute,
	}
}

// Config says what is cast.
type Config struct {
	Image *cast.Image
	// File has the bytes of the image's file.
	File io.ReaderAt
	// Send sends packets; see [Dial].
	Send func(packets [][]byte) error
	// Rate is in bits per second, headers of all layers included. Learn lets it fall
	// to a tenth of that, and rise again, as machines lose packets.
	Rate  int64
	Learn bool
	// Port is where the Sender takes reports.
	Port uint16
	// Machines is how many are waited for, for Wait at most; 0 is Wait in any case.
	Machines int
	Wait     time.Duration
	Limits   Limits
	// Log prints one line, and Progress is told about the room once a second; nil is
	// nobody.
	Log      func(format string, args ...any)
	Progress func(Room)
}

// Sender casts one image.
type Sender struct {
	config  Config
	session string

	mu    sync.Mutex // guards what follows
	room  map[string]*Machine
	now   Room // but for the machines
	rate  int64
	moved time.Time // when something in the room changed last
	known map[string]loss

	news    chan struct{} // somebody has reported
	due     time.Time     // when the next batch is
	word    time.Time     // when the last word was sent
	packets [][]byte      // of a batch
	buffer  []byte        // of a chunk
}

// New returns a Sender that has sent nothing.
func New(c Config) *Sender {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	if c.Progress == nil {
		c.Progress = func(Room) {}
	}
	return &Sender{
		config: c, session: fmt.Sprintf("%x", c.Image.Session()), room: map[string]*Machine{},
		news: make(chan struct{}, 1), rate: c.Rate, now: Room{State: cast.Waiting}, known: map[string]loss{},
	}
}

// Run casts until every machine that was heard of has ended or gone silent. It returns
// the room as it is then; the error is ErrRoom, that of File or Send, or ctx's.
func (s *Sender) Run(ctx context.Context) (Room, error) {
	err := s.run(ctx)
	s.mu.Lock()
	s.now.State = cast.Over
	s.mu.Unlock()
	room := s.Room()
	if err == nil {
		return room, room.judge(s.config.Machines)
	}
	return room, errors.Join(err, s.speak(true)) // so that nobody waits for more
}

// run takes the steps of a cast.
func (s *Sender) run(ctx context.Context) error {
	if err := s.wait(ctx); err != nil {
		return err
	}
	before := 0
	for pass := 1; pass <= s.config.Limits.Passes; pass++ {
		runs, n, lacking := s.missing()
		if pass > 1 && (lacking < 2 || n > before*3/4) {
			break
		}
		if before = n; n == 0 {
			break
		}
		s.config.Log("pass %d: %d chunks", pass, n)
		if err := s.pass(ctx, pass, runs); err != nil {
			return err
		}
		if err := s.ask(ctx); err != nil {
			return err
		}
	}
	return s.finish(ctx)
}

// wait waits for machines.
func (s *Sender) wait(ctx context.Context) error {
	enough := func(r Room) bool { return s.config.Machines > 0 && len(r.Machines) >= s.config.Machines }
	return s.until(ctx, cast.Waiting, s.config.Wait, enough)
}

// ask lets machines say what they lack, once those that are at work have spoken.
func (s *Sender) ask(ctx context.Context) error {
	start := time.Now()
	return s.until(ctx, cast.Asking, s.config.Limits.Ask, func(r Room) bool {
		if len(r.Machines) == 0 {
			return false
		}
		for _, m := range r.Machines {
			if !m.Ended() && !m.Silent && m.Stage != cast.Finishing && m.Heard.Before(start.Add(s.config.Limits.Ask/4)) {
				return false
			}
		}
		return true
	})
}

// finish waits for the end of all machines.
func (s *Sender) finish(ctx context.Context) error {
	s.mu.Lock()
	s.moved = time.Now()
	s.mu.Unlock()
	none := time.Now().Add(s.config.Limits.Ask) // a machine may have been heard of just now
	return s.until(ctx, cast.Over, 0, func(r Room) bool {
		for _, m := range r.Machines {
			if !m.Ended() && !m.Silent {
				s.mu.Lock()
				defer s.mu.Unlock()
				return time.Since(s.moved) > s.config.Limits.Stall
			}
		}
		return len(r.Machines) > 0 || time.Now().After(none)
	})
}

// until sends words of a state until enough says so, most is over or ctx ends.
func (s *Sender) until(ctx context.Context, state cast.State, most time.Duration, enough func(Room) bool) error {
	s.mu.Lock()
	s.now.State = state
	s.mu.Unlock()
	start := time.Now()
	for first := true; ; first = false {
		if err := s.speak(first); err != nil {
			return err
		}
		room := s.Room()
		s.config.Progress(room)
		if enough(room) || state != cast.Over && time.Since(start) >= most {
			return nil
		}
		pause := max(s.config.Limits.Word-time.Since(s.word), time.Millisecond)
		if state != cast.Over {
			pause = min(pause, most-time.Since(start))
		}
		select {
		case <-time.After(pause):
		case <-s.news:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// speak sends a word, if one is due.
func (s *Sender) speak(now bool) error {
	if !now && time.Since(s.word) < s.config.Limits.Word {
		return nil
	}
	s.word = time.Now()
	s.mu.Lock()
	f := cast.Frame{Session: s.config.Image.Session(), Word: cast.Word{State: s.now.State, Pass: uint8(min(s.now.Pass, 255)), Port: s.config.Port}}
	s.mu.Unlock()
	return s.config.Send([][]byte{f.Append(nil)})
}
