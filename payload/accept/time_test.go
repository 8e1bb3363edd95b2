package accept_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// Whatever the clock says, a good manifest boots where nobody vouches for the
// time, and the doubts say what was not checked. A trusted clock decides.
func TestClocks(t *testing.T) {
	sim := newSim(t)
	s := publish(t, sim, 12)
	for _, c := range []struct {
		now clock.Time
		err error
		// by are the doubts beside the first, which is always there.
		by []string
	}{
		{unsure(time.Unix(0, 0)), nil, nil},
		{unsure(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)), nil, nil},
		{unsure(day0), nil, nil},
		{unsure(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)), nil, []string{
			"by this clock, the manifest expired on 2026-12-22", "by this clock, trust statement 1 expired on 2027-11-22",
		}},
		{trusted(day0.Add(-23 * time.Hour)), nil, nil}, // a desk that takes local time for UTC
		{trusted(day0), nil, nil},
		{trusted(time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)), accept.ErrExpired, nil},
	} {
		t.Run(name(c.now.Now, map[bool]string{true: "trusted", false: "not trusted"}[c.now.Trusted]), func(t *testing.T) {
			if c.err != nil {
				refuses(t, medium(sim, 1, state.Floor{}), s, c.now, c.err)
				return
			}
			a := boots(t, medium(sim, 1, state.Floor{}), s, c.now, 1)
			if c.now.Trusted {
				if len(a.Doubts) > 0 {
					t.Errorf("doubts %q", a.Doubts)
				}
				return
			}
			if len(a.Doubts) == 0 || !slices.Equal(a.Doubts[1:], c.by) {
				t.Errorf("doubts %q, want one and %q", a.Doubts, c.by)
			}
		})
	}
}

// A desk's clock was ahead when it issued a statement, a manifest, or both: no
// statement to come can mend that. A machine that knows the time boots, and says
// what is dated ahead; what is over it refuses all the same.
func TestDeskClockWasAhead(t *testing.T) {
	sim := newSim(t)
	sim.At = after(800)
	sim.Issue(nil)
	sim.At = after(801)
	s := publish(t, sim, 12)
	for _, now := range []time.Time{after(0), after(10), after(798)} {
		a := boots(t, medium(sim, 1, state.Floor{}), s, trusted(now), 2)
		if len(a.Doubts) != 2 || !strings.Contains(a.Doubts[0], "before the trust statement was issued on 2029-01-30") || !strings.Contains(a.Doubts[1], ": signed on 2029-01-31, the clock says ") {
			t.Errorf("%s: doubts %q", now, a.Doubts)
		}
	}
	if a := boots(t, medium(sim, 1, state.Floor{}), s, trusted(after(801)), 2); a.Doubts != nil {
		t.Errorf("doubts %q", a.Doubts)
	}
	refuses(t, medium(sim, 1, state.Floor{}), s, trusted(after(801+32)), accept.ErrExpired)
}

// A dead battery does not hide what any right clock would object to: a manifest
// that was signed after its statement had expired.
func TestDoubtsOfDeadClock(t *testing.T) {
	sim := newSim(t)
	sim.At = after(400)
	for _, now := range []clock.Time{unsure(time.Unix(0, 0)), unsure(day0)} {
		a := boots(t, medium(sim, 1, state.Floor{}), publish(t, sim, 12), now, 1)
		if want := []string{"by this clock, trust statement 1 expired on 2027-11-22"}; !slices.Equal(a.Doubts[1:], want) {
			t.Errorf("doubts %q, want the first and %q", a.Doubts, want)
		}
	}
}

// From a dead battery by way of https to an expiry that counts.
func TestTimeByHTTPS(t *testing.T) {
	sim := newSim(t)
	s := publish(t, sim, 12)
	c := clock.New(func() time.Time { return time.Unix(0, 0) })
	c.Raise(day0, "the medium's date")
	boots(t, medium(sim, 1, state.Floor{}), s, c.Time(), 1)
	c.Offer(after(40), "http://mirror", false)
	boots(t, medium(sim, 1, state.Floor{}), s, c.Time(), 1)
	c.Offer(after(40), "https://mirror", true)
	refuses(t, medium(sim, 1, state.Floor{}), s, c.Time(), accept.ErrExpired)
	sim.At = after(39)
	boots(t, medium(sim, 1, state.Floor{}), publish(t, sim, 13), c.Time(), 1)
}

// Where the recipe requires the time, a machine without one boots nothing.
func TestRequireTime(t *testing.T) {
	sim := newSim(t)
	s := publish(t, sim, 12)
	strict := terms(state.Floor{})
	strict.RequireTime = true
	for _, at := range []time.Time{time.Unix(0, 0), day0, after(20_000)} {
		refuses(t, accept.New(sim.Store(1), strict), s, unsure(at), accept.ErrNoTime)
	}
	boots(t, accept.New(sim.Store(1), strict), s, trusted(day0), 1)
	refuses(t, accept.New(sim.Store(1), strict), s, trusted(after(31)), accept.ErrExpired)
}

// The manifest key ran out yesterday.
func TestKeyExpiredYesterday(t *testing.T) {
	sim := newSim(t)
	key := trusttest.NewKey(t, "short", day0, func(c *packet.Config) { c.KeyLifetimeSecs = 10 * 24 * 3600 })
	sim.Issue(func(st *trust.Statement) { sim.List(st, trusttest.Manifest, key) })
	s := site(sim.Files()).with(signed(t, sim, manifest.File, sample(sim, 12), key))
	boots(t, medium(sim, 1, state.Floor{}), s, trusted(after(9)), 2)
	refuses(t, medium(sim, 1, state.Floor{}), s, trusted(after(11)), accept.ErrExpired)
	a := boots(t, medium(sim, 1, state.Floor{}), s, unsure(after(11)), 2)
	if len(a.Doubts) != 2 || !strings.Contains(a.Doubts[1], "by this clock, key "+string(key.Fingerprint())) {
		t.Errorf("doubts %q", a.Doubts)
	}
}

// A mirror shows the same old manifest for ever: it runs out where the time is
// known, and its age is the caller's to show where not.
func TestFreeze(t *testing.T) {
	sim := newSim(t)
	s := publish(t, sim, 12)
	boots(t, medium(sim, 1, state.Floor{}), s, trusted(after(30)), 1)
	refuses(t, medium(sim, 1, state.Floor{}), s, trusted(after(31)), accept.ErrExpired)
	a := boots(t, medium(sim, 1, state.Floor{}), s, unsure(after(31)), 1)
	want := []string{
		"expiry of the manifest, 2026-12-22, and of trust statement 1, 2027-11-22",
		"by this clock, the manifest expired on 2026-12-22",
	}
	if !slices.Equal(a.Doubts, want) {
		t.Errorf("doubts %q, want %q", a.Doubts, want)
	}
}

// A mirror withholds statements: the last one that it shows runs out as well.
func TestFreezeOfStatements(t *testing.T) {
	sim := newSim(t)
	s := publish(t, sim, 12, func(m *manifest.Manifest) { m.Expires = after(1000) })
	boots(t, medium(sim, 1, state.Floor{}), s, trusted(after(365)), 1)
	refuses(t, medium(sim, 1, state.Floor{}), s, trusted(after(366)), accept.ErrExpired)
	a := boots(t, medium(sim, 1, state.Floor{}), s, unsure(after(366)), 1)
	if !strings.Contains(strings.Join(a.Doubts, "\n"), "by this clock, trust statement 1 expired on 2027-11-22") {
		t.Errorf("doubts %q", a.Doubts)
	}
}

// Dates that no state could keep.
func TestImpossibleDate(t *testing.T) {
	sim := newSim(t)
	for _, year := range []int{1999, 2200} {
		s := publish(t, sim, 12, func(m *manifest.Manifest) {
			m.Issued = time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC)
			m.Expires = m.Issued.AddDate(1, 0, 0)
		})
		refuses(t, medium(sim, 1, state.Floor{}), s, unsure(day0), manifest.ErrMalformed)
	}
}
