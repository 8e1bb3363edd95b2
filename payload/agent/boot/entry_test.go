package boot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/agent/watchdog"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/trust"
	"github.com/google/go-cmp/cmp"
)

// boots makes the given entries, in order, what the machine boots.
func (l *lab) boots(entries ...manifest.Entry) {
	l.manifest.Default = nil
	for i, e := range entries {
		name := fmt.Sprintf("entry-%d", i+1)
		e.Title = "Entry"
		l.manifest.Entries[name] = e
		l.manifest.Default = append(l.manifest.Default, name)
	}
}

// linux returns an entry that boots data.
func linux(data []byte) manifest.Entry {
	return manifest.Entry{Linux: &manifest.Linux{Kernel: object.OfBytes(data), Cmdline: "quiet"}}
}

// The network in use is appended where the entry asks for it, and only there.
func TestNetworkParameters(t *testing.T) {
	l := newSimLab(t)
	with, without := linux(second), linux(first)
	with.Linux.Network = true
	l.boots(without, with)
	l.publish(t, 12)
	refusals := 0
	l.load = func() error {
		if refusals++; refusals == 1 {
			return handover.ErrRefused
		}
		return nil
	}
	if err := l.run(t); err != nil {
		t.Fatal(err)
	}
	lines := l.said("command line: ")
	if want := "command line: quiet BOOTIF=01-52-54-00-12-34-56 ip=10.0.2.15:::255.255.255.0:::none::"; !slices.Equal(lines, []string{want}) {
		t.Errorf("said %q, want %q", lines, want)
	}
	l.lines, l.loaded, l.load = nil, nil, nil
	if err := l.run(t); err != nil || l.loaded[0].cmdline != "quiet" {
		t.Errorf("%v, loaded %+v", err, l.loaded)
	}
}

// A medium's proxy is asked for everything, and a network's own before it.
func TestProxy(t *testing.T) {
	l := newSimLab(t)
	s := l.publish(t, 12)
	l.settings.Proxy = s.URL // a server that ignores the host is a proxy for http
	l.sites = []string{"http://boot.example/"}
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "manifest: version 12 of epoch 1")
}

// Entries of power and of the firmware end in the firmware, and what was believed
// is remembered first.
func TestFirmwareEntries(t *testing.T) {
	reboot := manifest.Entry{Power: &manifest.Power{Action: manifest.Reboot}}
	off := manifest.Entry{Power: &manifest.Power{Action: manifest.Off}}
	firmware := manifest.Entry{Local: &manifest.Local{Firmware: true}}
	none := func() (string, error) { return "", fmt.Errorf("%w: none of 3", handover.ErrFirmware) }
	bios := func() (string, error) { return "", fmt.Errorf("%w: %w", handover.ErrFirmware, fs.ErrNotExist) }
	disk := func() (string, error) { return "debian", nil }
	for name, c := range map[string]struct {
		entries     []manifest.Entry
		next        func() (string, error)
		reboot, off int
		want        string
	}{
		"reboot":              {[]manifest.Entry{reboot}, nil, 1, 0, "handing over: entry-1 Entry"},
		"off":                 {[]manifest.Entry{off}, nil, 0, 1, "handing over: entry-1 Entry"},
		"disk":                {[]manifest.Entry{firmware}, disk, 1, 0, "local: the firmware boots debian next"},
		"BIOS":                {[]manifest.Entry{firmware}, bios, 1, 0, "local: this firmware has no variables"},
		"nothing else":        {[]manifest.Entry{firmware, off}, none, 0, 1, "entry-1: [no-boot-device] "},
		"no installed system": {[]manifest.Entry{{Local: &manifest.Local{}}, off}, nil, 0, 1, "entry-1: [no-system] "},
	} {
		t.Run(name, func(t *testing.T) {
			l := newSimLab(t)
			l.boots(c.entries...)
			l.bootNext = c.next
			l.publish(t, 12)
			if err := l.run(t); err != nil {
				t.Fatalf("%v:\n%s", err, strings.Join(l.lines, "\n"))
			}
			saw(t, l.lab, c.want)
			if l.rebooted != c.reboot || l.poweredOff != c.off || l.quiet != 1 || len(l.saved) != 1 {
				t.Errorf("restarted %d times, switched off %d times, %d saved", l.rebooted, l.poweredOff, len(l.saved))
			}
			if l.dropped != 0 {
				t.Errorf("drivers were dropped %d times", l.dropped)
			}
		})
	}
}

// What the medium carries is not downloaded, and what is worn out there is.
func TestObjectsOnMedium(t *testing.T) {
	l := newSimLab(t)
	s := l.publish(t, 12)
	l.carried = fstest.MapFS{
		object.OfBytes(kernel).SHA256.String(): {Data: kernel},
		object.OfBytes(first).SHA256.String():  {Data: flip(first)},
	}
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "obtain: kernel: 6.0 kB from the medium", "obtain: [damaged-medium] initrd 1 of 2: the medium is damaged: ", "obtain: initrd 1 of 2: 5 bytes in ")
	if s.count(object.OfBytes(kernel).Path()) != 0 || s.count(object.OfBytes(first).Path()) != 1 {
		t.Error("the kernel was downloaded, or the initrd was not")
	}
}

// After some failed rounds without any network the medium's own entries start,
// in order, and raise no floor.
func TestFallback(t *testing.T) {
	l := newSimLab(t)
	l.publish(t, 12)
	l.stopOn = "never"
	l.next = func() error { return network.ErrNoNetwork }
	l.settings.Fallback = []manifest.Entry{linux([]byte("worn out")), linux(second)}
	for i := range l.settings.Fallback {
		l.settings.Fallback[i].Title = "Rescue"
	}
	l.carried = fstest.MapFS{object.OfBytes(second).SHA256.String(): {Data: second}}
	if err := l.run(t); err != nil {
		t.Fatal(err)
	}
	if l.opened != l.limits.Fallback || len(l.loaded) != 1 || l.loaded[0].image != string(second) || len(l.saved) != 0 {
		t.Errorf("%d rounds, loaded %+v, saved %+v", l.opened, l.loaded, l.saved)
	}
	saw(t, l.lab, "fallback 1: [", "handing over: fallback 2 Rescue")
}

// What the medium carries and is damaged there is asked of nobody where there is
// no network: a site that does not answer would cost half a minute of each round.
func TestDamagedFallback(t *testing.T) {
	l := newSimLab(t)
	l.publish(t, 12)
	l.next = func() error { return network.ErrNoNetwork }
	l.limits.Fallback = 1
	damaged := linux(second)
	damaged.Title = "Rescue"
	l.settings.Fallback = []manifest.Entry{damaged}
	l.carried = fstest.MapFS{object.OfBytes(second).SHA256.String(): {Data: flip(second)}}
	s := l.site(t, l.files(t))
	s.put(object.OfBytes(second).Path(), second)
	refused(t, l.lab, l.run(t), "fallback 1: [damaged-medium] kernel: the medium is damaged: ")
	if n := s.count(object.OfBytes(second).Path()); n != 0 {
		t.Errorf("a site was asked %d times", n)
	}
}

// A revoked kernel does not start, though the medium carries it.
func TestFallbackRevoked(t *testing.T) {
	l := newSimLab(t)
	l.settings.Fallback = []manifest.Entry{linux(second)}
	l.settings.Fallback[0].Title = "Rescue"
	l.carried = fstest.MapFS{object.OfBytes(second).SHA256.String(): {Data: second}}
	l.sim.Issue(func(st *trust.Statement) {
		st.Revoked.Objects = []trust.RevokedObject{{SHA256: object.OfBytes(second).SHA256, Reason: "CVE-2026-0002", Since: built}}
	})
	l.manifest.Default = nil
	l.manifest.Machines = []manifest.Machine{{Match: manifest.Match{Serial: "XYZ"}, Boot: []string{"installer"}}}
	l.publish(t, 12)
	l.limits.Fallback = 1
	refused(t, l.lab, l.run(t), "fallback 1: [revoked] ")
}

// A watched entry that leads back too soon has failed; after two failures the
// next one is tried, and this one again where that does not start either.
func TestCameBack(t *testing.T) {
	l := newSimLab(t)
	watched := linux(first)
	watched.Linux.Watchdog = 60
	l.boots(watched, linux(second))
	l.publish(t, 12)
	l.places = []string{"firmware variable X"}
	boot := func(after time.Duration) string {
		t.Helper()
		l.lines, l.loaded = nil, nil
		l.ahead += after
		if err := l.run(t); err != nil {
			t.Fatalf("%v:\n%s", err, strings.Join(l.lines, "\n"))
		}
		return l.loaded[0].image
	}
	for i, c := range []struct {
		after time.Duration
		bark  bool
		want  []byte
		said  string
	}{
		{0, false, first, ""},
		{time.Minute, false, first, "memory: [came-back] the machine came back 1m0"},
		{time.Hour, false, first, ""}, // it was up in between
		{time.Minute, false, first, "memory: [came-back] "},
		{time.Hour, true, second, "entry-1: [came-back] the machine came back 2 times, others are tried first"},
		{time.Minute, false, second, "entry-1: [came-back] the machine came back 2 times"},
	} {
		l.bark = c.bark
		if got := boot(c.after); got != string(c.want) {
			t.Errorf("boot %d: started %q, want %q", i, got, c.want)
		}
		if c.said != "" {
			saw(t, l.lab, c.said)
		} else if lines := l.said("memory: [came-back]"); len(lines) != 0 {
			t.Errorf("boot %d: said %q", i, lines)
		}
	}
	if want := []time.Duration{time.Minute, time.Minute, time.Minute, time.Minute}; !slices.Equal(l.armed, want) {
		t.Errorf("armed for %v, want %v", l.armed, want)
	}
	l.load = func() error {
		if len(l.loaded) == 0 && l.load != nil {
			l.load = nil
			return handover.ErrRefused
		}
		return nil
	}
	if got := boot(time.Minute); got != string(first) {
		t.Errorf("the last that is left is not tried: %q", got)
	}
	// Another manifest is another chance.
	l.load, l.sites = nil, nil
	l.publish(t, 13)
	if got := boot(time.Minute); got != string(first) || l.memory.Tries[tryKey(l.manifest.Entries["entry-1"])].Failures != 0 {
		t.Errorf("a new manifest started %q, remembers %+v", got, l.memory.Tries)
	}
}

// A machine without a watchdog boots; one whose jump fails is not reset.
func TestNoWatchdog(t *testing.T) {
	l := newSimLab(t)
	watched := linux(first)
	watched.Linux.Watchdog = 60
	l.boots(watched)
	l.publish(t, 12)
	l.armError = watchdog.ErrNone
	l.stopOn = "never"
	l.execute = func() error {
		if l.executed == 1 {
			return handover.ErrRefused
		}
		return nil
	}
	if err := l.run(t); err != nil {
		t.Fatal(err)
	}
	if len(l.said("watchdog: [no-watchdog] ")) != 2 || l.disarmed != 1 || l.executed != 2 {
		t.Errorf("disarmed %d times:\n%s", l.disarmed, strings.Join(l.lines, "\n"))
	}
}

// The owner is told of failed rounds and of the hand-over, at the site that
// answered where the medium says so.
func TestReports(t *testing.T) {
	l := newSimLab(t)
	gone := linux([]byte("gone"))
	l.boots(gone)
	s := l.publish(t, 12)
	l.settings.Report = []string{"https://reports.example/in", settings.ReportSite}
	l.stopOn = "never"
	rounds := 0
	l.next = func() error {
		if rounds++; rounds == 2 {
			s.put(gone.Linux.Kernel.Path(), []byte("gone"))
		}
		if rounds == 3 {
			return network.ErrNoNetwork
		}
		return nil
	}
	if err := l.run(t); err != nil {
		t.Fatal(err)
	}
	to := []string{"https://reports.example/in", s.URL + "/reports"}
	if diff := cmp.Diff(append(to, to...), l.posted); diff != "" {
		t.Error(diff)
	}
	failed, well := l.reports[0], l.reports[1]
	if failed.Outcome != report.Waiting || failed.Code != "not-found" || failed.Entry != "entry-1" || failed.Version != 12 || failed.Statement != 1 {
		t.Errorf("reported %+v", failed)
	}
	if well.Outcome != report.HandingOver || len(well.Objects) != 1 || well.Objects[0].From != strings.TrimPrefix(s.URL, "http://") || well.Machine.Serial != "ABC" {
		t.Errorf("reported %+v", well)
	}
	for _, r := range l.reports {
		r.Medium = "test"
		if _, err := report.Encode(r); err != nil {
			t.Error(err)
		}
	}
}

// A machine that believes no site tells one of them why.
func TestReportOfRefusal(t *testing.T) {
	l := newSimLab(t)
	s := l.publish(t, 12)
	s.put(manifest.Signature, nil)
	l.settings.Report = []string{settings.ReportSite}
	refused(t, l.lab, l.run(t), "manifest: [untrusted] ")
	if want := []string{s.URL + "/reports"}; !slices.Equal(l.posted, want) || l.reports[0].Code != "untrusted" {
		t.Errorf("posted to %q: %+v", l.posted, l.reports)
	}
}

// The owner is told of a crash before the network is gone.
func TestReportOfCrash(t *testing.T) {
	l := newSimLab(t)
	l.publish(t, 12)
	l.settings.Report = []string{settings.ReportSite}
	l.load = func() error { panic("nil map") }
	if err := l.run(t); !errors.Is(err, guard.ErrCrashed) {
		t.Errorf("run: %v", err)
	}
	if len(l.reports) != 1 || l.reports[0].Outcome != report.Rebooting || l.reports[0].Code != "crashed" {
		t.Errorf("reported %+v", l.reports)
	}
}

// A kernel on a disk is taken as it is, unless it is revoked or too large.
func TestCopyFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "vmlinuz")
	if err := os.WriteFile(name, kernel, 0o600); err != nil {
		t.Fatal(err)
	}
	open := func() (*os.File, error) { return os.Open(name) }
	l := newSimLab(t)
	l.sim.Issue(func(st *trust.Statement) {
		st.Revoked.Objects = []trust.RevokedObject{{SHA256: object.OfBytes(second).SHA256, Reason: "CVE-2026-0003", Since: built}}
	})
	b := newBoot(l.rooms(), Medium{Settings: settings.Settings{Site: []string{"http://a"}}, Store: l.sim.Store(2)}, quick())
	m, err := handover.NewMemory("kernel")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.copyFile(m, kernelRoom, open); err != nil || content(m) != string(kernel) {
		t.Errorf("%v", err)
	}
	l.available = spareMemory
	if err := b.copyFile(m, kernelRoom, open); Reason(err) != "no-memory" {
		t.Errorf("without memory: %v", err)
	}
	l.available = -1
	if err := os.WriteFile(name, second, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.copyFile(m, kernelRoom, open); Reason(err) != "revoked" {
		t.Errorf("a revoked kernel: %v", err)
	}
	if err := b.copyFile(m, kernelRoom, func() (*os.File, error) { return nil, errors.New("gone") }); err == nil {
		t.Error("a disk that is gone")
	}
}
