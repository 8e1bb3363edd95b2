package boot

import (
	"errors"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// What was remembered binds this boot as well, on a machine without any place for
// it: when the newer manifest's kernel did not start after all, an older one is a
// rollback.
func TestRememberedBindsThisBoot(t *testing.T) {
	l := newSimLab(t)
	newer := l.publish(t, 13)
	older := l.publish(t, 12)
	l.execute = func() error {
		newer.put(manifest.Signature, nil)
		return errors.New("kexec: no")
	}
	l.stopOn = "(round 3)"
	if err := l.run(t); err == nil || l.executed != 1 {
		t.Errorf("started %d times, %v", l.executed, err)
	}
	saw(t, l.lab, "manifest: version 13 ", "manifest: [untrusted] ", "manifest: [rollback] "+older.URL)
	if len(l.saved) != 1 || l.saved[0].Floor.Version != 13 {
		t.Errorf("saved %+v", l.saved)
	}
}

// clocked returns a machine with a dead battery that has read its memory.
func clocked(t *testing.T, onMedium, remembered state.Floor) *boot {
	t.Helper()
	l := newSimLab(t)
	l.ahead = ago(time.Unix(0, 0))
	l.memory.Floor, l.places = remembered, []string{"partition sdb2"}
	b := newBoot(l.rooms(), Medium{Settings: settings.Settings{Built: built, Floor: onMedium}, Store: l.keys.Store}, quick())
	b.startClock()
	b.recall()
	return b
}

// What a machine remembers moves a clock that stopped, and vouches for nothing;
// so does what the medium knows to be published.
func TestMemoryMovesTheClock(t *testing.T) {
	ahead := floor(12)
	ahead.Issued = built.AddDate(0, 1, 0)
	for name, b := range map[string]*boot{
		"this machine's memory":     clocked(t, state.Floor{}, ahead),
		"what was published before": clocked(t, ahead, state.Floor{}),
	} {
		if now := b.clock.Time(); now.Trusted || now.Source != name || now.Now.Before(ahead.Issued) {
			t.Errorf("it is %s by %s, want %s by %s", now.Now, now.Source, ahead.Issued, name)
		}
	}
}

// A desk's clock was years ahead when something was published. Machines that
// remember it, and media built since, take the true time from an https site all
// the same.
func TestFloorFromTheFuture(t *testing.T) {
	ahead := floor(12)
	ahead.Issued = built.AddDate(3, 0, 0)
	for name, b := range map[string]*boot{
		"remembered": clocked(t, state.Floor{}, ahead), "on the medium": clocked(t, ahead, state.Floor{}), "both": clocked(t, ahead, ahead),
	} {
		b.date(built.AddDate(0, 0, 1), "https://a/manifest.json", true)
		if now := b.clock.Time(); !now.Trusted || now.Source != "https://a" || now.Now.After(built.AddDate(0, 0, 2)) {
			t.Errorf("%s: it is %s by %s, trusted %v", name, now.Now, now.Source, now.Trusted)
		}
		b.date(built.Add(-time.Hour), "https://a/manifest.json", true)
		if now := b.clock.Time(); now.Now.Before(built) {
			t.Errorf("%s: set back to %s, before the medium was built", name, now.Now)
		}
	}
}

// A thief of the root key serves a statement 2 of his own to a machine that has
// met the owner's: the log says so, by whose memory, and the owner's site boots it.
func TestForkIsNotFollowed(t *testing.T) {
	l := newSimLab(t)
	thief := l.sim.Fork()
	l.sim.Issue(nil)
	l.places = []string{"partition sdb2"}
	owner := l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
	thief.Rotate(trusttest.Manifest)
	thief.Issue(nil)
	good := l.sim
	l.sim, l.sites = thief, nil
	forged := l.publish(t, 13)
	l.sim, l.sites = good, []string{forged.URL}
	l.lines, l.loaded, l.executed = nil, nil, 0
	refused(t, l.lab, l.run(t), "manifest: [rollback] ")
	saw(t, l.lab, "trust: [equivocation] "+forged.URL)
	l.lines, l.sites = nil, []string{forged.URL, owner.URL}
	handedOver(t, l.lab, l.run(t))
	if l.memory.Floor.Version != 12 {
		t.Errorf("remembers %+v", l.memory.Floor)
	}
}
