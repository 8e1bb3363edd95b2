package boot

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/settings"
)

// crashes runs the lab and fails unless the agent crashes. It returns the pause.
func (l *lab) crashes(t *testing.T) time.Duration {
	t.Helper()
	err := l.run(t)
	if !errors.Is(err, guard.ErrCrashed) || Reason(err) != "crashed" {
		t.Fatalf("run: %v", err)
	}
	return Pause(err)
}

// A machine whose agent crashes in every boot reboots after 1 min, 2 min and so
// on up to 40; a hand-over, be it of what the medium carries, ends that.
func TestCrashesInARow(t *testing.T) {
	l := newSimLab(t)
	l.places, l.settings.Report = []string{"a stick"}, []string{settings.ReportSite}
	l.publish(t, 12)
	l.load = func() error { panic("index out of range") }
	for i, least := range []float64{1, 2, 4, 8, 16, 32, 32} {
		if got := l.crashes(t).Minutes(); got < least || got > least*1.25 {
			t.Errorf("pause after crash %d: %.2f min, want %.0f to %.2f", i+1, got, least, least*1.25)
		}
	}
	if l.memory.Crashes != 7 || l.memory.Floor.Version != 0 {
		t.Errorf("remembered %+v", l.memory)
	}
	if last := l.reports[len(l.reports)-1]; last.Outcome != report.Rebooting || last.Code != "crashed" || !strings.Contains(last.Text, "index out of range") {
		t.Errorf("the last report is %+v", last)
	}
	l.load, l.lines = nil, nil
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "memory: [crashed] the agent crashed 7 times in a row before this boot")
	if l.memory.Crashes != 0 {
		t.Errorf("remembered %+v", l.memory)
	}

	l.memory.Crashes, l.sites = 3, []string{"http://192.0.2.1/"}
	l.settings.Fallback = []manifest.Entry{{Title: "Off", Power: &manifest.Power{Action: manifest.Off}}}
	l.limits.Fallback = 1
	l.next = func() error { return errors.New("no cable") }
	if err := l.run(t); err != nil || l.poweredOff != 1 || l.memory.Crashes != 0 {
		t.Errorf("%v, switched off %d times, remembered %+v", err, l.poweredOff, l.memory)
	}
}

// A machine without a memory, and one whose memory is what crashes, reboots after
// a minute.
func TestCrashWithoutMemory(t *testing.T) {
	for name, remember := range map[string]func() error{
		"none": nil, "broken": func() error { return errors.New("input/output error") }, "crashing": func() error { panic("flash") },
	} {
		l := newSimLab(t)
		l.publish(t, 12)
		l.remember = remember
		l.load = func() error { panic("boom") }
		for range 3 {
			if got := l.crashes(t); got < time.Minute || got > 75*time.Second {
				t.Errorf("%s: pause %v", name, got)
			}
		}
		if remember != nil && len(l.said("memory: [")) == 0 {
			t.Errorf("%s: nothing is said of it", name)
		}
	}
	if p := Pause(errors.New("not a medium")); p != time.Minute {
		t.Errorf("pause of another error: %v", p)
	}
}

// An object that breaks the program while it is fetched is an object that cannot
// be had: the next entry boots.
func TestCrashWhileFetching(t *testing.T) {
	l := newSimLab(t)
	l.publish(t, 12)
	medium, err := ReadMedium(l.medium(t))
	if err != nil {
		t.Fatal(err)
	}
	b := newBoot(l.rooms(), medium, quick())
	b.mirrors = nil // whoever asks one panics
	_, err = b.obtain(t.Context(), l.manifest.Entries["installer"].Linux, true)
	if !errors.Is(err, guard.ErrCrashed) {
		t.Fatalf("obtain: %v", err)
	}
	b.fail("installer", err)
	saw(t, l.lab, "installer: [crashed] the agent crashed (", "goroutine ")
}
