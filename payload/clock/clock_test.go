package clock_test

import (
	"testing"
	"time"

	"github.com/farboot/farboot/payload/clock"
)

var built = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// fake is a firmware's clock that the test moves.
type fake struct{ time.Time }

func (f *fake) now() time.Time { return f.Time }

// start returns a clock of a machine whose firmware says rtc, with a medium that
// was built at built.
func start(rtc time.Time) (*clock.Clock, *fake) {
	f := &fake{rtc}
	c := clock.New(f.now)
	c.Raise(built, "the medium's date")
	return c, f
}

func expect(t *testing.T, c *clock.Clock, want clock.Time) {
	t.Helper()
	if got := c.Time(); !got.Now.Equal(want.Now) || got.Trusted != want.Trusted || got.Source != want.Source {
		t.Errorf("it is %s, trusted %v, by %s; want %s, %v, %s",
			got.Now, got.Trusted, got.Source, want.Now, want.Trusted, want.Source)
	}
}

const firmware = "the firmware's clock"

// A clock before the floor is raised to it and runs on; one after it stays.
func TestRaise(t *testing.T) {
	for _, rtc := range []time.Time{{}, time.Unix(0, 0), time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), built.Add(-1)} {
		c, f := start(rtc)
		expect(t, c, clock.Time{Now: built, Source: "the medium's date"})
		f.Time = f.Add(time.Minute)
		expect(t, c, clock.Time{Now: built.Add(time.Minute), Source: "the medium's date"})
		if c.Raise(built.Add(time.Second), "something older") {
			t.Errorf("%s: raised by a floor that it has passed", rtc)
		}
	}
	for _, rtc := range []time.Time{built, built.Add(time.Hour), time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)} {
		c, _ := start(rtc)
		expect(t, c, clock.Time{Now: rtc, Source: firmware})
	}
}

// A trusted clock that a floor contradicts is no longer trusted.
func TestRaiseEndsTrust(t *testing.T) {
	c, _ := start(built)
	c.Offer(built.Add(time.Hour), "https://a", true)
	if !c.Raise(built.Add(2*time.Hour), "a later medium") {
		t.Error("not raised")
	}
	expect(t, c, clock.Time{Now: built.Add(2 * time.Hour), Source: "a later medium"})
}

// Dates that nobody vouches for move an untrusted clock forward, within bounds.
func TestOfferUnvouched(t *testing.T) {
	hour := built.Add(time.Hour)
	for name, c := range map[string]struct {
		rtc, date time.Time
		news      bool
		want      clock.Time
	}{
		"forward":      {built, hour, true, clock.Time{Now: hour, Source: "http://a"}},
		"from 1970":    {time.Unix(0, 0), hour, true, clock.Time{Now: hour, Source: "http://a"}},
		"a little":     {built, built.Add(59 * time.Second), false, clock.Time{Now: built.Add(59 * time.Second), Source: "http://a"}},
		"back":         {hour, built, false, clock.Time{Now: hour, Source: firmware}},
		"below floor":  {time.Unix(0, 0), built.Add(-1), false, clock.Time{Now: built, Source: "the medium's date"}},
		"far":          {built, built.Add(clock.MaxAhead), true, clock.Time{Now: built.Add(clock.MaxAhead), Source: "http://a"}},
		"too far":      {built, built.Add(clock.MaxAhead + 1), false, clock.Time{Now: built, Source: firmware}},
		"end of time":  {built, time.Unix(1<<62, 0), false, clock.Time{Now: built, Source: firmware}},
		"no time":      {built, time.Time{}, false, clock.Time{Now: built, Source: firmware}},
		"back of 2040": {built.AddDate(14, 0, 0), hour, false, clock.Time{Now: built.AddDate(14, 0, 0), Source: firmware}},
	} {
		t.Run(name, func(t *testing.T) {
			clk, _ := start(c.rtc)
			if news := clk.Offer(c.date, "http://a", false); news != c.news {
				t.Errorf("news = %v, want %v", news, c.news)
			}
			expect(t, clk, c.want)
		})
	}
}

// Dates that somebody vouches for set the clock, back as well, and end what
// others say; the last one counts.
func TestOfferVouched(t *testing.T) {
	day, week := built.AddDate(0, 0, 1), built.AddDate(0, 0, 7)
	c, f := start(built.AddDate(14, 0, 0)) // 2040
	if !c.Offer(day, "https://a", true) {
		t.Error("from 2040 to the right day is no news")
	}
	expect(t, c, clock.Time{Now: day, Trusted: true, Source: "https://a"})
	if c.Offer(week, "http://evil", false) {
		t.Error("a date without anybody's word moved a trusted clock")
	}
	if c.Offer(day.Add(time.Second), "https://a", true) {
		t.Error("a second is news")
	}
	f.Time = f.Add(time.Second)
	expect(t, c, clock.Time{Now: day.Add(2 * time.Second), Trusted: true, Source: "https://a"})
	for _, bad := range []time.Time{{}, built.Add(-1), built.Add(clock.MaxAhead + 1)} {
		if c.Offer(bad, "https://evil", true) {
			t.Errorf("took %s", bad)
		}
	}
	expect(t, c, clock.Time{Now: day.Add(2 * time.Second), Trusted: true, Source: "https://a"})
	if !c.Offer(week, "https://b", true) {
		t.Error("a week is no news")
	}
	expect(t, c, clock.Time{Now: week, Trusted: true, Source: "https://b"})
}

// A firmware's clock that the recipe trusts must pass the floor, as any other.
func TestTrustedFirmware(t *testing.T) {
	for rtc, want := range map[time.Time]bool{
		time.Unix(0, 0): false, built.Add(-time.Second): false, built: true, built.AddDate(0, 0, 1): true, built.AddDate(30, 0, 0): false,
	} {
		c, _ := start(rtc)
		c.Offer(rtc, firmware, true)
		if got := c.Time().Trusted; got != want {
			t.Errorf("at %s: trusted %v, want %v", rtc, got, want)
		}
	}
}

// What the system's clock is set to does not show: differences of time.Now are
// monotonic.
func TestMonotonic(t *testing.T) {
	c := clock.New(time.Now)
	if d := time.Until(c.Time().Now).Abs(); d > time.Hour {
		t.Errorf("starts %s away from the system's clock", d)
	}
	c.Raise(built.AddDate(2, 0, 0), "the medium's date")
	if got := c.Time().Now; got.Before(built.AddDate(2, 0, 0)) {
		t.Errorf("runs backwards: %s", got)
	}
}
