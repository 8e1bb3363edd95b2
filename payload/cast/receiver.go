package cast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/guard"
)

// Config says what is received.
type Config struct {
	Image *Image
	// Read reads one packet; net.UDPConn has it. It fails with net.ErrClosed once
	// that is closed, which the caller does after [Receiver.Close].
	Read func(packet []byte) (n int, from netip.AddrPort, err error)
	// Sites ought to have the image's file.
	Sites *fetch.Mirrors
	// Post sends a report to a sender; nil sends none.
	Post func(ctx context.Context, url string, body []byte) error
	// Machine names this one in reports.
	Machine string
	Limits  Limits
	// Log prints one line; nil is silence.
	Log func(format string, args ...any)
}

// Stats count what a receiver has done.
type Stats struct {
	// Cast and Fetched count the chunks that were handed on: those of which all or
	// some pieces came by the cast, and those that came by HTTP alone.
	Cast, Fetched int
	// Repaired is how many bytes came by HTTP, and Forged how many chunks did not
	// hash to what they should after the cast.
	Repaired int64
	Forged   int
	// Peak is the most bytes of packed chunks that were held at a time.
	Peak int64
}

// Receiver receives one image.
type Receiver struct {
	config Config
	unpack *chunks.Unpacker
	name   string // of the file
	ended  chan struct{}
	reader chan struct{} // closed when nobody reads
	posts  sync.WaitGroup
	post   chan struct{} // a report is due

	mu      sync.Mutex // guards what follows
	changed *sync.Cond
	book    *book
	stats   Stats
	stage   string // "" before Receive, while nobody knows what is missing
	why     string // it failed
	started time.Time
	heard   time.Time // a frame that does not say that it is over
	useful  time.Time // a chunk of the cast, or its wait was heard
	gained  time.Time // any chunk
	word    Word      // the last one
	senders map[netip.AddrPort]time.Time
}

// New returns a Receiver that listens. It hands on nothing before Receive.
func New(c Config) *Receiver {
	if c.Log == nil {
		c.Log = func(string, ...any) {}
	}
	now := time.Now()
	r := &Receiver{
		config: c, unpack: chunks.NewUnpacker(c.Limits.Workers + c.Limits.Repairs), name: c.Image.File.Path(),
		ended: make(chan struct{}), reader: make(chan struct{}), post: make(chan struct{}, 1),
		book: newBook(c.Image, c.Limits), senders: map[netip.AddrPort]time.Time{},
		started: now, useful: now, gained: now,
	}
	r.changed = sync.NewCond(&r.mu)
	guard.Go("listening to a cast", r.listen, func(err error) {
		guard.Tell(err, c.Log)
		if err != nil {
			c.Log("cast: nothing more is heard: %v", err)
		}
		close(r.reader)
	})
	if c.Post != nil {
		r.posts.Add(1)
		guard.Go("reporting to a cast", r.report, func(err error) {
			guard.Tell(err, c.Log)
			r.posts.Done()
		})
	}
	return r
}

// Close ends the receiver, and tells the sender what has become of it.
func (r *Receiver) Close(why error) {
	r.mu.Lock()
	r.stage = Done
	if why != nil {
		r.stage, r.why = Failed, why.Error()
	}
	r.mu.Unlock()
	close(r.ended)
	r.posts.Wait()
}

// Stats returns what has been done so far.
func (r *Receiver) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.stats
}

// listen reads packets until there are none.
func (r *Receiver) listen() error {
	packet := make([]byte, MaxFrame+1)
	for {
		n, from, err := r.config.Read(packet)
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if f, err := DecodeFrame(packet[:n]); err == nil && f.Session == r.config.Image.session {
			r.hear(f, from)
		}
	}
}

// hear takes a frame.
func (r *Receiver) hear(f Frame, from netip.AddrPort) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.Data == nil {
		r.listenTo(f.Word, from, now)
		return
	}
	r.heard = now
	if r.word.State != Asking {
		r.word.State = Sending
	}
	whole := len(r.book.full)
	r.book.take(f, now)
	r.stats.Peak = max(r.stats.Peak, r.book.memory)
	if len(r.book.full) > whole {
		r.changed.Broadcast()
	}
}

// maxSenders bounds those who get reports. There is one, and who forges words.
const maxSenders = 4

// listenTo takes a sender's word.
func (r *Receiver) listenTo(w Word, from netip.AddrPort, now time.Time) {
	if w.State == Asking && r.word.State != Asking {
		r.due()
	}
	waits := w.State == Waiting && r.word.State <= Waiting // who sends does not wait again, and who lies might say so
	if r.word = w; w.State != Over {
		r.heard = now
	}
	if waits && r.stats.Cast == 0 && now.Sub(r.started) < r.config.Limits.Wait {
		r.useful, r.gained = now, now
	}
	if w.Port == 0 {
		return
	}
	to := netip.AddrPortFrom(from.Addr().Unmap(), w.Port)
	if _, known := r.senders[to]; !known {
		if len(r.senders) == maxSenders {
			oldest := to
			for s, at := range r.senders {
				if oldest == to || at.Before(r.senders[oldest]) {
					oldest = s
				}
			}
			delete(r.senders, oldest)
		}
		r.due()
	}
	r.senders[to] = now
}

// due makes a report go out soon.
func (r *Receiver) due() {
	select {
	case r.post <- struct{}{}:
	default:
	}
}

// live tells whether chunks of which nothing is here are worth waiting for. That it is
// over counts once nothing else was heard for a while: anybody can say so.
func (r *Receiver) live(now time.Time) bool {
	l := r.config.Limits
	since, most := r.heard, l.Quiet
	if since.IsZero() {
		since, most = r.started, l.Join
	}
	if r.word.State == Over {
		most = l.Over
	}
	return now.Sub(since) < most && (r.heard.IsZero() || now.Sub(r.useful) < l.Patience)
}

// report sends reports until the receiver has ended, the last one then.
func (r *Receiver) report() error {
	ctx := context.Background() // each report has its time
	tick := time.NewTicker(r.config.Limits.Post)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.post:
		case <-r.ended:
			for range 3 { // without the last one the machine would pass for silent
				if r.tell(ctx) == nil {
					break
				}
			}
			return nil
		}
		_ = r.tell(ctx) // the next one says as much
	}
}

// postTime bounds a report to one sender: that of a liar may lead nowhere.
const postTime = 2 * time.Second

// tell sends a report to whom it may concern.
func (r *Receiver) tell(ctx context.Context) error {
	body, to, err := r.status()
	for _, s := range to {
		ctx, cancel := context.WithTimeout(ctx, postTime)
		err = errors.Join(err, r.config.Post(ctx, "http://"+s.String()+Path, body))
		cancel()
	}
	return err
}

// status returns a report, and where it goes.
func (r *Receiver) status() ([]byte, []netip.AddrPort, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.book
	s := Status{
		Session: fmt.Sprintf("%x", r.config.Image.session), Machine: r.config.Machine, Stage: r.stage, Error: r.why,
		Have: b.total - b.left, Total: b.total, Pieces: b.pieces, Lost: b.lost, Repaired: r.stats.Repaired,
		Missing: RunsOf(len(b.state), func(i int) bool { return b.state[i] == missing || b.state[i] == arriving }).String(),
	}
	var to []netip.AddrPort
	for sender, at := range r.senders {
		if r.stage != "" && time.Since(at) < 10*r.config.Limits.Post {
			to = append(to, sender)
		}
	}
	body, err := s.Encode()
	return body, to, err
}
