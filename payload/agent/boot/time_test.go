package boot

import (
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/settings"
)

// ago returns how far a firmware's clock at the given time is ahead.
func ago(at time.Time) time.Duration { return time.Until(at) }

// Whatever the firmware's clock says, a good manifest boots, and the log says
// what nobody could check. The system's clock is raised to the medium's date and
// no further: what a server or a signer says must not make certificates expire.
func TestClocks(t *testing.T) {
	for name, c := range map[string]struct {
		at   time.Time
		want []string
		set  bool
	}{
		"1970": {time.Unix(0, 0), []string{"clock: 1970-01-01 00:00 UTC is before this medium was built", "clock: " + built.Format(layout) + " by the medium's date, time not verified"}, true},
		"2000": {time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC), []string{"clock: 2000-01-01 00:00 UTC is before this medium was built"}, true},
		"now":  {time.Now(), []string{"manifest: time not verified: expiry of the manifest, "}, false},
		"2040": {time.Date(2040, 6, 1, 0, 0, 0, 0, time.UTC), []string{
			"clock: 2040-06-01 00:00 UTC by the firmware's clock, time not verified",
			"manifest: time not verified: by this clock, the manifest expired on ",
			"manifest: time not verified: by this clock, trust statement 1 expired on ",
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			l := newSimLab(t)
			l.ahead = ago(c.at) + 100*time.Millisecond
			l.publish(t, 12)
			handedOver(t, l.lab, l.run(t))
			saw(t, l.lab, c.want...)
			if set := !l.clock.IsZero(); set != c.set || set && !l.clock.Equal(built) {
				t.Errorf("the system's clock was set to %s", l.clock)
			}
		})
	}
}

// A manifest from the future moves what the log calls now, and nothing else.
func TestManifestFromTheFuture(t *testing.T) {
	l := newSimLab(t)
	today := l.manifest
	l.manifest.Issued = time.Now().AddDate(3, 0, 0)
	l.manifest.Expires = l.manifest.Issued.AddDate(1, 0, 0)
	l.manifest.Default = nil
	l.manifest.Machines = []manifest.Machine{{Match: manifest.Match{Serial: "XYZ"}, Boot: []string{"installer"}}}
	l.publish(t, 13)
	l.manifest = today
	l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "manifest: version 13 of epoch 1, 0 s old, ", "choose: [no-entry] ")
	if !l.clock.IsZero() {
		t.Errorf("the system's clock was set to %s", l.clock)
	}
}

// Where the recipe trusts the firmware's clock, what is past its expiry is
// refused; a clock that the medium proves wrong is not trusted.
func TestTrustRTC(t *testing.T) {
	l := newSimLab(t)
	l.settings.TrustRTC = true
	l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
	if lines := l.said("manifest: time not verified"); len(lines) != 0 || !strings.HasSuffix(l.said("clock: ")[0], ", trusted") {
		t.Errorf("said %q, %q", l.said("clock: "), lines)
	}
	l.lines, l.loaded, l.executed = nil, nil, 0
	l.ahead = ago(time.Unix(0, 0))
	handedOver(t, l.lab, l.run(t))

	l = newSimLab(t)
	l.settings.TrustRTC, l.ahead = true, ago(time.Now().AddDate(2, 0, 0))
	l.publish(t, 12)
	refused(t, l.lab, l.run(t), "manifest: [expired] ")
}

// Where the recipe requires the time, a server without TLS is no source of it.
func TestRequireTime(t *testing.T) {
	l := newSimLab(t)
	l.settings.RequireTime = true
	l.publish(t, 12)
	refused(t, l.lab, l.run(t), "manifest: [no-time] ")
	l = newSimLab(t)
	l.settings.RequireTime, l.settings.TrustRTC = true, true
	l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
}

// Servers say what time it is: over https it is believed, and sets the system's
// clock; over http it may explain something.
func TestDate(t *testing.T) {
	l := newSimLab(t)
	medium := Medium{Settings: settings.Settings{Built: built, Arch: "amd64", Channel: "stable"}, Store: l.keys.Store}
	l.ahead = ago(time.Unix(0, 0))
	b := newBoot(l.rooms(), medium, quick())
	b.startClock()
	day := built.AddDate(0, 0, 1)
	l.lines, l.clock = nil, time.Time{}
	b.date(day, "http://a:8080/manifest.json", false)
	saw(t, l.lab, "clock: "+day.Format(layout)+" by http://a:8080, time not verified")
	if !l.clock.IsZero() {
		t.Error("anybody sets the system's clock")
	}
	b.date(built, "https://b/manifest.json", true)
	saw(t, l.lab, "clock: "+built.Format(layout)+" by https://b, trusted")
	if !l.clock.Equal(built) {
		t.Errorf("the system's clock was set to %s, want %s", l.clock, built)
	}
	b.date(day, "http://a:8080/manifest.json", false)
	b.date(built.Add(-time.Hour), "https://b/manifest.json", true)
	b.date(built.Add(time.Second), "https://b/manifest.json", true)
	if len(l.lines) != 2 {
		t.Errorf("said %q", l.lines)
	}
}

// The date of a server's answer reaches the clock.
func TestDateOfAnswer(t *testing.T) {
	l := newSimLab(t)
	l.ahead = ago(time.Unix(0, 0))
	s := l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
	if lines := l.said("clock: "); len(lines) != 3 || !strings.Contains(lines[2], " by "+s.URL+", time not verified") {
		t.Errorf("said %q", lines)
	}
}
