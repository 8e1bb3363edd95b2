package boot

import (
	"net/url"
	"time"

	"github.com/farboot/farboot/payload/clock"
)

// layout is how the log shows a time.
const layout = "2006-01-02 15:04 MST"

// startClock makes the firmware's clock no earlier than the medium, and trusted
// where the medium says so. What had been published then is dated by a signer's
// clock, which may have been ahead: it moves the clock, and binds nobody who knows
// better.
func (b *boot) startClock() {
	firmware := b.clock.Time()
	if b.clock.Raise(b.medium.Built, "the medium's date") {
		b.Log("clock: %s is before this medium was built", firmware.Now.Format(layout))
		b.setClock(b.medium.Built)
	}
	b.clock.Offer(b.medium.Floor.Issued, "what was published before", false)
	if b.medium.TrustRTC {
		b.clock.Offer(firmware.Now, firmware.Source, true)
	}
	b.tellTime()
}

// date takes the time that a server says it is. Only one that is trusted sets the
// system's clock, by which other servers' certificates are judged: a forged one
// would make them all look expired.
func (b *boot) date(date time.Time, from string, secure bool) {
	u, err := url.Parse(from)
	if err != nil || !b.clock.Offer(date, u.Scheme+"://"+u.Host, secure) {
		return
	}
	if secure {
		b.setClock(date)
	}
	b.tellTime()
}

// setClock sets the system's clock.
func (b *boot) setClock(t time.Time) {
	if err := b.SetClock(t); err != nil {
		b.fail("clock", err)
	}
}

// tellTime says what time it is, and whether that is good for anything.
func (b *boot) tellTime() {
	t := b.clock.Time()
	b.Log("clock: %s by %s, %s", t.Now.Format(layout), t.Source, trusted(t))
}

// doubtful words what a doubt is about: this machine's time, or the signer's.
func doubtful(t clock.Time) string {
	if t.Trusted {
		return "dated ahead"
	}
	return "time not verified"
}

// trusted words whether a time is.
func trusted(t clock.Time) string {
	if t.Trusted {
		return "trusted"
	}
	return "time not verified"
}
