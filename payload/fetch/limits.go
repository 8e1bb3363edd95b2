package fetch

import (
	"math/rand/v2"
	"time"
)

// Limits bounds everything that a server decides: how much, how long, how
// often. A zero field is a limit of zero, so start from [DefaultLimits].
type Limits struct {
	// HeaderBytes bounds the header of one answer. Real ones have under 2 KiB.
	HeaderBytes int64
	// Redirects bounds the hops of one request. One is common (http to https);
	// more than three is a loop.
	Redirects int
	// Connect bounds name lookup and TCP connect. TCP repeats a lost SYN after
	// 1, 3 and 7 s, so 10 s forgives three losses.
	Connect time.Duration
	// Answer bounds the time from the start of a request to the end of the
	// answer's header: lookup, connect, TLS and redirects included.
	Answer time.Duration
	// Stall is the longest silence within a body, and the span over which
	// MinRate is measured. A link that is pulled and plugged again needs about
	// 10 s; spanning tree holds a port for 30 s.
	Stall time.Duration
	// MinRate is the slowest body that is waited for, in bytes per second. The
	// slowest real link, 64 kbit/s, brings 8000; a drip brings 10.
	MinRate int64
	// Attempts bounds the requests in a row, to one URL, that bring nothing new.
	Attempts int
	// Progress is how many new bytes make an attempt count as progress. It keeps
	// a server from being asked once for every byte.
	Progress int64
	// Backoff is the pause after a first failure. It doubles with each further
	// one up to BackoffMax; a random part of up to one half is taken off, so
	// that a thousand machines do not come back in the same moment.
	Backoff, BackoffMax time.Duration
	// RetryAfterMax bounds the pause that a server may ask for.
	RetryAfterMax time.Duration
	// IdleConns and IdleTime bound the connections kept open to one host
	// between requests.
	IdleConns int
	IdleTime  time.Duration
	// Trial is the span over which the rate of one of several [Mirrors] is
	// measured, and how long it may be silent while another has not failed. Two
	// lost packets in a row cost TCP 3 s.
	Trial time.Duration
	// Forget is how long Mirrors holds a rate or a failure for news. Congestion
	// and restarts of servers are over in minutes.
	Forget time.Duration
	// Parallel bounds the objects that Mirrors fetches at a time. More than a
	// few connections fill no link better, and each has its buffers.
	Parallel int
}

// DefaultLimits returns the limits that the agent and the builder use.
func DefaultLimits() Limits {
	return Limits{
		HeaderBytes:   64 << 10,
		Redirects:     3,
		Connect:       10 * time.Second,
		Answer:        30 * time.Second,
		Stall:         30 * time.Second,
		MinRate:       1 << 10,
		Attempts:      5,
		Progress:      64 << 10,
		Backoff:       time.Second,
		BackoffMax:    30 * time.Second,
		RetryAfterMax: time.Minute,
		IdleConns:     8,
		IdleTime:      30 * time.Second,
		Trial:         3 * time.Second,
		Forget:        2 * time.Minute,
		Parallel:      3,
	}
}

// pause returns how long to wait after the given number of failures in a row,
// where the server has asked for a pause of asked, or of 0.
func (l Limits) pause(failures int, asked time.Duration) time.Duration {
	d := l.Backoff
	for i := 1; i < failures && d < l.BackoffMax; i++ {
		d *= 2
	}
	d = min(d, l.BackoffMax)
	d -= rand.N(d/2 + 1)
	return max(d, min(asked, l.RetryAfterMax))
}
