package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
	"github.com/google/go-cmp/cmp"
)

// booted is what the good entry hands over.
var booted = []loaded{{
	image: string(kernel), initrd: "first\x00\x00\x00second initrd", cmdline: "console=ttyS0 quiet",
}}

// handedOver fails unless exactly the good entry was.
func handedOver(t *testing.T, l *lab, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("run: %v", err)
	}
	if diff := cmp.Diff(booted, l.loaded, cmp.AllowUnexported(loaded{})); diff != "" {
		t.Error(diff)
	}
	if l.executed != 1 {
		t.Errorf("started %d times, want once", l.executed)
	}
	if t.Failed() {
		t.Logf("log:\n%s", strings.Join(l.lines, "\n"))
	}
}

func TestBoot(t *testing.T) {
	l := newLab(t)
	s := l.site(t, l.files(t))
	handedOver(t, l, l.run(t))
	want := regexp.MustCompile(`^clock: 20\d\d-\d\d-\d\d \d\d:\d\d UTC by the firmware's clock, time not verified
trust: statement 1 \(the medium carries 1\), product demo: 1 of [0-9A-F]{16} must sign a manifest
memory: none, there is neither a firmware variable nor a stick to write to
floor: none, nothing was published when this medium was built
manifest: version 12 of epoch 1, \d+ min old, signed by [0-9A-F]{16}, from http://127\.0\.0\.1:\d+/
manifest: time not verified: expiry of the manifest, 20\d\d-\d\d-\d\d, and of trust statement 1, 20\d\d-\d\d-\d\d
choose: installer \(MAC 52:54:00:12:34:56, serial ABC\)
obtain: initrd 1 of 2: 5 bytes in .*, sha256 [0-9a-f]{16}
obtain: initrd 2 of 2: 13 bytes in .*, sha256 [0-9a-f]{16}
obtain: kernel: 6\.0 kB in \d+\.\d s \(.* .?B/s\) from 127\.0\.0\.1:\d+, sha256 [0-9a-f]{16}
load: 6\.0 kB in \d+\.\d s
handing over: installer Debian installer
command line: console=ttyS0 quiet$`)
	first := slices.IndexFunc(l.lines, func(line string) bool { return strings.HasPrefix(line, "obtain: ") })
	slices.Sort(l.lines[first : first+3]) // objects come in any order
	if got := strings.Join(l.lines, "\n"); !want.MatchString(got) {
		t.Errorf("log:\n%s\nwant it to match:\n%s", got, want)
	}
	if l.dropped != 0 || l.quiet != 1 {
		t.Errorf("dropped drivers %d times, switched cards off %d times, want 0 and 1", l.dropped, l.quiet)
	}
	if n := s.count(manifest.File); n != 1 {
		t.Errorf("the manifest was fetched %d times", n)
	}
}

// A site that is down, lies or has nothing is followed by the next one, for the
// manifest as for each object.
func TestNextSite(t *testing.T) {
	l := newLab(t)
	l.sites = append(l.sites, evil.Down(t))
	evilFiles := l.files(t)
	evilFiles[manifest.File] = flip(evilFiles[manifest.File])
	evilFiles[object.OfBytes(kernel).Path()] = flip(kernel)
	delete(evilFiles, object.OfBytes(first).Path())
	bad := l.site(t, evilFiles)
	l.site(t, l.files(t))
	handedOver(t, l, l.run(t))
	for _, want := range []string{"manifest: [unreachable] trust statement 2: " + l.sites[0], "manifest: [untrusted] " + bad.URL, "manifest: version 12 "} {
		if len(l.said(want)) != 1 {
			t.Errorf("no line begins with %q:\n%s", want, strings.Join(l.lines, "\n"))
		}
	}
	if n := bad.count(manifest.Signature); n != 2 {
		t.Errorf("the untrusted manifest was fetched %d times, want twice", n)
	}
}

// A manifest that is fetched between the renames of it and its signature is
// fetched once more.
func TestPublicationInProgress(t *testing.T) {
	l := newLab(t)
	l.limits.Publication = 500 * time.Millisecond
	files := l.files(t)
	published := files[manifest.Signature]
	files[manifest.Signature] = l.keys.Sign(t, []byte("the manifest before"), built)
	s := l.site(t, files)
	go func() {
		for s.count(manifest.Signature) == 0 {
			time.Sleep(time.Millisecond)
		}
		s.put(manifest.Signature, published)
	}()
	handedOver(t, l, l.run(t))
	if l.opened != 1 {
		t.Errorf("that took %d rounds", l.opened)
	}
}

// Entries are tried in the order of the manifest: one that is not on the site,
// one that the kernel refuses, one that works. What the machine is named by
// decides which.
func TestNextEntry(t *testing.T) {
	l := newLab(t)
	gone := object.OfBytes([]byte("gone"))
	l.manifest.Entries["gone"] = manifest.Entry{Title: "Gone", Linux: &manifest.Linux{Kernel: gone}}
	l.manifest.Entries["unsigned"] = manifest.Entry{Title: "Unsigned", Linux: &manifest.Linux{Kernel: object.OfBytes(first)}}
	l.manifest.Machines = []manifest.Machine{{
		Match: manifest.Match{MAC: "52:54:00:12:34:56"}, Boot: []string{"gone", "unsigned", "installer"},
	}}
	l.manifest.Default = []string{"gone"}
	refusals := 0
	l.load = func() error {
		if refusals++; refusals == 1 {
			return fmt.Errorf("%w: not signed", handover.ErrRefused)
		}
		return nil
	}
	l.site(t, l.files(t))
	handedOver(t, l, l.run(t))
	for _, want := range []string{
		"choose: gone, then unsigned, then installer (", "gone: [not-found] kernel: object " + gone.SHA256.String(),
		"unsigned: [kexec-refused] kexec refused: not signed",
	} {
		if len(l.said(want)) != 1 {
			t.Errorf("no line begins with %q:\n%s", want, strings.Join(l.lines, "\n"))
		}
	}
}

func TestNoEntry(t *testing.T) {
	l := newLab(t)
	l.manifest.Machines = []manifest.Machine{{Match: manifest.Match{Serial: "XYZ"}, Boot: []string{"installer"}}}
	l.manifest.Default = nil
	l.site(t, l.files(t))
	refused(t, l, l.run(t), "choose: [no-entry] no entry for this machine: MAC 52:54:00:12:34:56, serial ABC")
}

// What cannot fit, even without the drivers, is not downloaded.
func TestNoMemory(t *testing.T) {
	l := newLab(t)
	l.available = 16 << 20
	s := l.site(t, l.files(t))
	refused(t, l, l.run(t), "installer: [no-memory] not enough memory: loading kernel and initrd takes 16.8 MB, 16.8 MB are free")
	if n := s.count(object.OfBytes(kernel).Path()); n != 0 {
		t.Errorf("the kernel was asked for %d times", n)
	}
	if l.dropped != 1 {
		t.Errorf("drivers were dropped %d times", l.dropped)
	}
	l.available++
	l.available += 10*int64(len(kernel)) + 3*int64(len(first)+len(second))
	l.lines, l.dropped = nil, 0
	handedOver(t, l, l.run(t))
	if l.dropped != 0 {
		t.Error("drivers were dropped although there was room")
	}
}

// What drivers took that nothing asked for is room enough.
func TestDropForRoom(t *testing.T) {
	l := newLab(t)
	l.available, l.drivers = 16<<20, 45<<20
	l.site(t, l.files(t))
	handedOver(t, l, l.run(t))
	if l.dropped != 1 {
		t.Errorf("drivers were dropped %d times", l.dropped)
	}
}

// A network without a way to any site is followed by the next card's.
func TestNextNetwork(t *testing.T) {
	l := newLab(t)
	s := l.site(t, nil)
	given := 0
	l.next = func() error {
		if given++; given == 2 {
			s.mu.Lock()
			s.files = l.files(t)
			s.mu.Unlock()
		}
		return nil
	}
	handedOver(t, l, l.run(t))
	if given != 2 || l.opened != 1 {
		t.Errorf("%d leases in %d rounds, want 2 in one", given, l.opened)
	}
}

// A network that lets the manifest through but not the objects is followed by
// the next card's, in the same round.
func TestNextNetworkForObjects(t *testing.T) {
	l := newLab(t)
	files := l.files(t)
	path := object.OfBytes(kernel).Path()
	delete(files, path)
	s := l.site(t, files)
	given := 0
	l.next = func() error {
		if given++; given == 2 {
			s.put(path, kernel)
		}
		return nil
	}
	handedOver(t, l, l.run(t))
	if given != 2 || l.opened != 1 {
		t.Errorf("%d leases in %d rounds, want 2 in one", given, l.opened)
	}
}

// A kernel that was loaded but does not start ends the round, since the cards
// are off; the next round is a whole one.
func TestExecuteFails(t *testing.T) {
	l := newLab(t)
	l.stopOn = "never"
	l.manifest.Entries["second"] = manifest.Entry{Title: "Second", Linux: &manifest.Linux{Kernel: object.OfBytes(second)}}
	l.manifest.Default = []string{"installer", "second"}
	l.execute = func() error {
		if l.executed == 1 {
			return fmt.Errorf("%w: busy", handover.ErrRefused)
		}
		return nil
	}
	l.site(t, l.files(t))
	if err := l.run(t); err != nil {
		t.Fatal(err)
	}
	if l.executed != 2 || l.opened != 2 || l.quiet != 2 {
		t.Errorf("started %d times in %d rounds", l.executed, l.opened)
	}
	if len(l.said("installer: [kexec-refused] ")) != 1 || len(l.said("handing over: installer")) != 2 {
		t.Errorf("log:\n%s", strings.Join(l.lines, "\n"))
	}
}

// Rounds are spaced 2, 4, 8 ... 60 s, each with up to a quarter more.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab(t)
		l.limits, l.sites = DefaultLimits(), []string{"http://192.0.2.1/"}
		l.stopOn = "(round 12)"
		var at []time.Time
		l.next = func() error {
			at = append(at, time.Now())
			return fmt.Errorf("%w: eth0 (virtio_net): no DHCP answer", network.ErrNoNetwork)
		}
		ctx, stop := context.WithCancel(t.Context())
		l.stop = stop
		medium := Medium{Settings: settings.Settings{Site: l.sites, Built: built}, Store: l.keys.Store}
		if err := Run(ctx, l.rooms(), medium, l.limits); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		want := []float64{2, 4, 8, 16, 32, 48, 48, 48, 48, 48}
		for i, least := range want {
			if got := at[i+1].Sub(at[i]).Seconds(); got < least || got > least*1.25 {
				t.Errorf("pause %d: %.1f s, want %.0f to %.1f s", i+1, got, least, least*1.25)
			}
		}
		if len(at) != 11 || len(l.said("network: [no-network] no network: eth0 (virtio_net): no DHCP answer")) != 11 {
			t.Errorf("%d rounds, log:\n%s", len(at), strings.Join(l.lines, "\n"))
		}
	})
}

// Two machines of a fleet do not come back in the same moment, and no round
// waits longer than a minute or less than two seconds.
func TestPauseVaries(t *testing.T) {
	seen := map[time.Duration]bool{}
	for rounds := range 100 {
		p := DefaultLimits().pause(rounds + 1)
		if p < 2*time.Second || p > time.Minute {
			t.Errorf("pause after round %d: %v", rounds+1, p)
		}
		seen[p] = true
	}
	if len(seen) < 90 {
		t.Errorf("100 pauses have %d values", len(seen))
	}
	if p := DefaultLimits().pause(math.MaxInt); p > time.Minute {
		t.Errorf("the last pause is %v", p)
	}
}

// A medium that is not whole, or whose statement others signed, boots nothing.
func TestReadMedium(t *testing.T) {
	l := newLab(t)
	l.sites = []string{"http://192.0.2.1/"}
	if m, err := ReadMedium(l.medium(t)); err != nil || m.Site[0] != l.sites[0] || m.Store.Statement().Product != "demo" {
		t.Errorf("a good medium: %v", err)
	}
	for name := range l.medium(t) {
		root := l.medium(t)
		delete(root, name)
		if _, err := ReadMedium(root); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("without %s: %v", name, err)
		}
		root[name] = &fstest.MapFile{Data: []byte("{}")}
		if _, err := ReadMedium(root); err == nil {
			t.Errorf("with another %s it was read", name)
		}
	}
	foreign := trusttest.NewKey(t, "foreign", built)
	l.keys.Signature = foreign.Sign(t, trust.PurposeStatement, l.keys.Statement, built)
	if _, err := ReadMedium(l.medium(t)); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("with a foreign signature: %v, want %v", err, trust.ErrUntrusted)
	}
}

func TestReason(t *testing.T) {
	for want, err := range map[string]error{
		"untrusted":     fmt.Errorf("a: %w", errors.Join(trust.ErrUntrusted, os.ErrNotExist)),
		"kexec-refused": fmt.Errorf("%w: %w", errQuiet, handover.ErrRefused),
		"unreachable":   fmt.Errorf("site: %w", context.DeadlineExceeded),
		"dns":           fmt.Errorf("%w: %w", fetch.ErrUnreachable, &net.DNSError{Err: "no such host"}),
		"crashed":       fmt.Errorf("%w: nil map", guard.ErrCrashed),
		"chain":         fmt.Errorf("a: %w", trust.ErrChain),
		"rollback":      fmt.Errorf("%w: %w", accept.ErrRollback, fs.ErrNotExist),
		"equivocation":  accept.ErrEquivocation,
		"fast-forward":  accept.ErrFastForward,
		"expired":       accept.ErrExpired,
		"no-time":       accept.ErrNoTime,
		"revoked":       accept.ErrRevoked,
		"not-saved":     fmt.Errorf("%w: %w", errNotSaved, errors.New("input/output error")),
		"portal":        fmt.Errorf("%w: got HTML (%w)", fetch.ErrCorrupt, fetch.ErrPortal),
		"failed":        errors.New("something else"),
	} {
		if got := Reason(err); got != want {
			t.Errorf("Reason(%v) = %q, want %q", err, got, want)
		}
	}
	for _, r := range reasons {
		if got := Reason(fmt.Errorf("entry: %w: %w", r.class, errors.New("why"))); got != r.code {
			t.Errorf("Reason(%v) = %q, want %q", r.class, got, r.code)
		}
	}
}
