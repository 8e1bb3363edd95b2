package boot

import (
	"reflect"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/manifest"
)

// Each limit can be tightened, and none can be loosened.
func TestTighten(t *testing.T) {
	l := DefaultLimits()
	if got := l.Tighten(nil); got != l {
		t.Error("nil changed the limits")
	}
	if got := l.Tighten(&manifest.Limits{}); got != l {
		t.Error("zeros changed the limits")
	}
	if got := l.Tighten(&manifest.Limits{Network: 9999, Manifest: 9999, Stall: 9999, Attempts: 9999, Rounds: 9999, Pause: 9999}); got != l {
		t.Error("large numbers changed the limits")
	}
	want := l
	want.Network.Lease, want.Manifest = 7*time.Second, 8*time.Second
	want.Objects.Stall, want.Documents.Stall, want.Object = 9*time.Second, 9*time.Second, 10*time.Second
	want.Objects.Attempts, want.Documents.Attempts, want.Fallback, want.BackoffMax = 1, 1, 2, 11*time.Second
	tight := manifest.Limits{Network: 7, Manifest: 8, Stall: 9, Object: 10, Attempts: 1, Rounds: 2, Pause: 11}
	if got := l.Tighten(&tight); got != want {
		t.Errorf("tightened to %+v, want %+v", got, want)
	}
	if got := want.Tighten(&manifest.Limits{Object: 20, Pause: 12}); got != want {
		t.Errorf("loosened to %+v", got)
	}
	fields := reflect.ValueOf(tight)
	for i := range fields.NumField() {
		one := manifest.Limits{}
		reflect.ValueOf(&one).Elem().Field(i).SetInt(fields.Field(i).Int())
		if l.Tighten(&one) == l {
			t.Errorf("%s alone changes nothing", fields.Type().Field(i).Name)
		}
	}
}

// A pause below the first one is the pause.
func TestTightPause(t *testing.T) {
	l := DefaultLimits().Tighten(&manifest.Limits{Pause: 1})
	for rounds := range 20 {
		if p := l.pause(rounds + 1); p > time.Second {
			t.Errorf("pause after round %d: %v", rounds+1, p)
		}
	}
}

// A medium's limits hold from the start, a manifest's from when it was accepted
// until the next one is.
func TestTightenedBoot(t *testing.T) {
	l := newSimLab(t)
	l.settings.Limits = &manifest.Limits{Attempts: 3, Pause: 20}
	s := l.publish(t, 12)
	medium, err := ReadMedium(l.medium(t))
	if err != nil {
		t.Fatal(err)
	}
	b := newBoot(l.rooms(), medium, DefaultLimits())
	b.mirrors.Condemn(s.URL, nil)
	if b.limits.Objects.Attempts != 3 || b.limits.BackoffMax != 20*time.Second {
		t.Errorf("the medium's limits are not kept: %+v", b.limits)
	}
	b.tighten(&manifest.Limits{Attempts: 4, Pause: 10})
	if b.limits.Objects.Attempts != 3 || b.limits.BackoffMax != 10*time.Second {
		t.Errorf("the manifest's limits are not kept, or loosen: %+v", b.limits)
	}
	if h := b.mirrors.Health(); !h[0].Condemned {
		t.Error("what was known of the mirrors is forgotten")
	}
	if b.tighten(nil); b.limits != b.own {
		t.Errorf("the manifest's limits stay: %+v", b.limits)
	}
}
