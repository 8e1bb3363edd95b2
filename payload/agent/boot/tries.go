package boot

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
)

// Entries with a watchdog are watched over reboots as well: one that leads back
// here too soon, or through the watchdog, has failed. When it had come up, an
// hour later perhaps, all is forgiven. Counts are of one manifest; another one is
// another chance.

// tryKey is by what an entry is remembered: 16 digits of the hash of what it
// says, so that one with another kernel, in a machine's own document say, is
// another one.
func tryKey(e manifest.Entry) string {
	data, err := json.Marshal(e)
	if err != nil {
		return "" // of an unknown kind, which is never started
	}
	return object.OfBytes(data).SHA256.String()[:16]
}

// settled decides what became of the starts that a state remembers.
func (b *boot) settled(s state.State) state.State {
	tries := map[string]state.Try{}
	for key, try := range s.Tries {
		if try.Started != 0 {
			after := b.power.Unix() - try.Started
			if !b.Bark() && (after < 0 || after > try.Bound) {
				continue
			}
			try.Failures += min(1, 255-try.Failures)
			try.Started = 0
			b.fail("memory", fmt.Errorf("%w %s after it was started, %d times now", errCameBack, time.Duration(after)*time.Second, try.Failures))
		}
		tries[key] = try
	}
	s.Tries = tries
	return s
}

// failures returns how often in a row the entry has failed.
func (b *boot) failures(a *accept.Accepted, name string) uint8 {
	f, g := a.Floor(), b.state.Floor
	if f.Epoch != g.Epoch || f.Version != g.Version || f.SHA256 != g.SHA256 {
		return 0
	}
	return b.state.Tries[tryKey(a.Manifest.Entries[name])].Failures
}

// order puts the entries that failed too often behind the others. They are not
// left out: a machine that does not try is stranded for certain.
func (b *boot) order(a *accept.Accepted, names []string) []string {
	bad := func(name string) bool { return b.failures(a, name) >= b.limits.Failures }
	var last []string
	for _, name := range names {
		if bad(name) {
			b.fail(name, fmt.Errorf("%w %d times, others are tried first", errCameBack, b.failures(a, name)))
			last = append(last, name)
		}
	}
	return append(slices.DeleteFunc(slices.Clone(names), bad), last...)
}

// tried returns the state to remember before an entry is started. When it is
// called the firmware's clock shows what it did at the start, and what passed
// since, whatever the system's clock was set to.
func (b *boot) tried(j job, watched time.Duration) state.State {
	s := b.state
	s.Crashes = 0
	if j.from == nil {
		return s
	}
	raised := j.from.Floor()
	if s.Floor = s.Floor.Raise(raised); s.Floor.Version != b.state.Floor.Version || s.Floor.Epoch != b.state.Floor.Epoch {
		s.Tries = nil
	}
	s.Tries = maps.Clone(s.Tries)
	if watched > 0 {
		if s.Tries == nil {
			s.Tries = map[string]state.Try{}
		}
		key := tryKey(j.entry)
		s.Tries[key] = state.Try{
			Failures: s.Tries[key].Failures,
			Started:  max(b.power.Add(time.Since(b.started)).Unix(), 1),
			Bound:    int64((watched + b.limits.Firmware).Seconds()),
		}
	}
	return s
}
