package boot

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/manifest"
)

// Limits says how long each stage may take and what comes after it. A stage that
// ends without success is followed by its next-best answer:
//
//	network   the next card with a lease; then the end of the round
//	memory    the medium's own floor
//	trust     the last good statement of any site
//	manifest  once more on the same site; the other sites' manifests, the newest
//	          first; the next network
//	choose    the next older manifest
//	menu      the first entry
//	obtain    pauses and the next mirrors; the next entry
//	work      (script, rescue, flash) the next entry; where all are done, rounds
//	          go on and wait for news
//	hand over the next entry; the end of the round
//	round     after some, the entries that the medium carries
//
// At the end of a round the agent waits visibly and starts over with the network.
// No stage ends in a shell, and none ends for good.
type Limits struct {
	// Drivers is how long the first look at the hardware may take. It takes
	// under 1 s on a PC; a storage or fibre card can probe for many seconds.
	Drivers time.Duration
	// Network bounds the way to a lease.
	Network network.Limits
	// Documents bounds requests for statements and manifests. They are small and
	// there is more than one site, so a dead one is left soon.
	Documents fetch.Limits
	// Manifest bounds all requests to one site for its statements, its manifest
	// and this machine's document. 64 statements are 128 requests, which over a
	// satellite (600 ms) take 77 s.
	Manifest time.Duration
	// Publication is the pause before a site is asked once more whose files do
	// not fit each other: statements, manifest and signatures are files of their
	// own, and a publication that is under way has renamed only some.
	Publication time.Duration
	// Gather is how long, once a site's manifest is good, the other sites are
	// waited for, because theirs may be newer. A healthy site on the other side
	// of the world answers its three or four requests within a second.
	Gather time.Duration
	// Objects bounds requests for kernels and initrds. Their total time is
	// bound by the size and the least rate, since the link may be 64 kbit/s.
	Objects fetch.Limits
	// Object bounds the time for one of them from all mirrors. 0 is no bound.
	Object time.Duration
	// Fallback is after how many failed rounds the medium's own entries are
	// tried: a switch that starts together with the machine takes two minutes.
	Fallback int
	// Firmware is how long a machine may need from a reset to the agent. A system
	// that comes back before its watchdog's time and this are over counts as one
	// that did not come up.
	Firmware time.Duration
	// Failures is how often that may happen to an entry before the others of the
	// machine are tried first.
	Failures uint8
	// Reports is how often an entry that works for long is reported: whoever looks
	// sees it move, and a thousand machines do not flood their server.
	Reports time.Duration
	// News is how often the log tells how far a download is.
	News time.Duration
	// Flush is how long the last lines may take to leave a serial port: 4 KiB
	// at 9600 baud are 4 s.
	Flush time.Duration
	// Backoff is the pause after a first round. It doubles with each further
	// one, and a random part of up to a quarter is added, so that a fleet that
	// lost power together does not come back in the same moment. It stays below
	// BackoffMax.
	Backoff, BackoffMax time.Duration
	// Crash is how long the agent shows why it gave up before it reboots: long
	// enough to read, or to photograph, a trace. It doubles with each boot in a
	// row that crashed, with the same random part, as long as it stays below
	// CrashMax. A machine without a memory counts no further than one.
	Crash, CrashMax time.Duration
}

// DefaultLimits returns the limits that the agent uses.
func DefaultLimits() Limits {
	documents := fetch.DefaultLimits()
	documents.Attempts = 2
	return Limits{
		Drivers:     20 * time.Second,
		Network:     network.DefaultLimits(),
		Documents:   documents,
		Manifest:    2 * time.Minute,
		Publication: time.Second,
		Gather:      3 * time.Second,
		Objects:     fetch.DefaultLimits(),
		Fallback:    3,
		Firmware:    2 * time.Minute,
		Failures:    2,
		Reports:     time.Minute,
		News:        5 * time.Second,
		Flush:       5 * time.Second,
		Backoff:     2 * time.Second,
		BackoffMax:  time.Minute,
		Crash:       time.Minute,
		CrashMax:    40 * time.Minute,
	}
}

// Tighten returns l with each limit that is set to less in t: an operator who
// knows his network need not wait as long as one who does not.
func (l Limits) Tighten(t *manifest.Limits) Limits {
	if t == nil {
		return l
	}
	l.Network.Lease = sooner(l.Network.Lease, t.Network)
	l.Manifest = sooner(l.Manifest, t.Manifest)
	l.Objects.Stall, l.Documents.Stall = sooner(l.Objects.Stall, t.Stall), sooner(l.Documents.Stall, t.Stall)
	if l.Object == 0 {
		l.Object = math.MaxInt64
	}
	if l.Object = sooner(l.Object, t.Object); l.Object == math.MaxInt64 {
		l.Object = 0
	}
	l.Objects.Attempts, l.Documents.Attempts = fewer(l.Objects.Attempts, t.Attempts), fewer(l.Documents.Attempts, t.Attempts)
	l.Fallback = fewer(l.Fallback, t.Rounds)
	l.BackoffMax = sooner(l.BackoffMax, t.Pause)
	return l
}

// sooner returns the shorter of a time and of seconds, if there are any.
func sooner(d time.Duration, seconds int) time.Duration {
	if seconds <= 0 {
		return d
	}
	return min(d, time.Duration(seconds)*time.Second)
}

// fewer returns the smaller of two numbers, if there is a second one.
func fewer(n, than int) int {
	if than <= 0 {
		return n
	}
	return min(n, than)
}

// pause returns how long to wait after the given number of failed rounds, 1 or more.
func (l Limits) pause(rounds int) time.Duration { return double(l.Backoff, l.BackoffMax, rounds) }

// double returns d after the first failure, twice as much after each further one,
// and a random part of up to a quarter on top, in all not more than most.
func double(d, most time.Duration, failures int) time.Duration {
	most = most * 4 / 5
	for i := 1; i < failures && d < most; i++ {
		d *= 2
	}
	d = min(d, most)
	return d + rand.N(d/4+1)
}
