// Package clock is what a machine that boots makes of the time of day. Its own
// clock may have stopped years ago, and the network says what it likes.
//
// Make a [Clock] with [New]. [Clock.Raise] gives it a time that has passed for
// certain, [Clock.Offer] what others say, and [Clock.Time] returns what is
// believed, and whether it is good enough to refuse something for.
//
// # What trusted means
//
// A time is trusted if somebody vouches for it whom the medium's owner chose:
//
//   - the host of an https site that the medium names, whose certificate was
//     verified, in the Date of its answer;
//   - the firmware's clock, where the recipe says trust_rtc.
//
// That is weaker than the signature of a manifest, and is meant to be: trusted
// time refuses what is genuine and old, and lets nothing through that is not
// signed. Whoever holds the secret key of such a host's certificate can say any
// time that this package accepts. A certificate that has expired is no proof
// against that: the machine has no other time to judge it by than the very one
// that it asks for, so a thief of an old certificate can hold the time back, as
// far as the certificate's own end or the medium's build date. What he gains is
// what everyone has on a machine without trusted time: old, genuine manifests,
// not older than the floor.
//
// The last word that is vouched for counts, not the first: sites are asked one
// after the other, and a mirror that lies about the time must not have the next
// site's manifests refused.
//
// The package does not fetch, does not set the system's clock and never waits.
package clock

import (
	"sync"
	"time"
)

const (
	// MaxAhead is how far beyond the floor anybody may move a clock. Media are
	// read for years, not decades, and a certificate or key that is judged in
	// 2100 is none. 20 years, in days of 24 hours.
	MaxAhead = 20 * 365 * 24 * time.Hour
	// Notable is the least move that is news. Dates in HTTP are whole seconds
	// and minutes old where a cache sits on the way.
	Notable = time.Minute
)

// Time is the time of day as far as it is known.
type Time struct {
	Now time.Time
	// Trusted says that something may be refused because of Now.
	Trusted bool
	// Source is where Now comes from, for a person: "https://boot.example".
	Source string
}

// Clock runs on from the best time that it was given. It is safe for parallel
// use.
type Clock struct {
	now func() time.Time // ticks; only differences count

	mu      sync.Mutex
	at      time.Time // the tick at which it was base
	base    time.Time
	floor   time.Time
	trusted bool
	source  string
}

// New returns a Clock that starts with what now says, which nobody vouches for.
// It runs as now does, and not at all by what the system's clock is set to
// later, provided that now is [time.Now], whose differences are monotonic.
func New(now func() time.Time) *Clock {
	start := now()
	return &Clock{now: now, at: start, base: start.Round(0).UTC(), source: "the firmware's clock"}
}

// Time returns the present time.
func (c *Clock) Time() Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Time{Now: c.read(), Trusted: c.trusted, Source: c.source}
}

// Raise says that it cannot be earlier than floor, which is the date on which the
// medium was built. Dates of manifests are no floor but for [Clock.Offer], without
// anybody's word: the signer's clock may have been years ahead, and then no
// machine would take the true time from those who know it. It tells whether the clock had to be moved; then nobody
// vouches for it, whoever did before.
func (c *Clock) Raise(floor time.Time, what string) (moved bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if floor.After(c.floor) {
		c.floor = floor
	}
	if !c.read().Before(floor) {
		return false
	}
	c.set(floor, what, false)
	return true
}

// Offer takes a date that source gave, and tells whether that is news: the clock
// moved by [Notable] or more, or is trusted from now on.
//
// A date that somebody vouches for is taken, be it later or earlier than the
// clock, and the clock is trusted. Any other moves a clock that is not trusted
// forward and never back. No date before the floor is taken, nor one beyond it
// by more than [MaxAhead], and none at all before [Clock.Raise] was called.
func (c *Clock) Offer(date time.Time, source string, vouched bool) (news bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.read()
	switch {
	case date.Before(c.floor), date.After(c.floor.Add(MaxAhead)):
		return false
	case !vouched && (c.trusted || !date.After(before)):
		return false
	}
	news = vouched != c.trusted || date.Sub(before).Abs() >= Notable
	c.set(date, source, vouched)
	return news
}

// read returns the present time.
func (c *Clock) read() time.Time { return c.base.Add(c.now().Sub(c.at)) }

// set makes t the present time.
func (c *Clock) set(t time.Time, source string, trusted bool) {
	c.at, c.base = c.now(), t.Round(0).UTC()
	c.source, c.trusted = source, trusted
}
