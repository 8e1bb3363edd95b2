package network

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Three cards, of which the first is dead and the second has no cable, cost
// nothing: the third one's lease starts the boot.
func TestFirstLeaseWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.plug("eth0", "1", silent)
		l.plug("eth1", "0", silent)
		l.plug("eth2", "1", after(time.Second, "10.0.2.15/24"))
		start := time.Now()
		n := l.open(t)
		defer n.Close()
		nic, lease, err := n.Next(t.Context())
		if err != nil || nic != "eth2" || lease.String() != "10.0.2.15/24" {
			t.Fatalf("lease %s on %s, %v", lease, nic, err)
		}
		within(t, "the lease", start, time.Second)
		if !slices.Equal(l.applied, []string{"eth2"}) {
			t.Errorf("configured %q, want eth2 alone", l.applied)
		}
	})
}

// Where the first network leads nowhere, the next one is taken, in the
// background it got its lease long ago; after the last one it ends at once.
func TestNextNetwork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.plug("eth0", "1", after(time.Second, "10.0.0.1/24"))
		l.plug("eth1", "1", after(5*time.Second, "10.0.1.1/24"))
		l.plug("eth2", "0", silent)
		n := l.open(t)
		defer n.Close()
		if nic, _, err := n.Next(t.Context()); nic != "eth0" || err != nil {
			t.Fatalf("first on %q, %v", nic, err)
		}
		time.Sleep(time.Minute) // of trying sites
		start := time.Now()
		if nic, _, err := n.Next(t.Context()); nic != "eth1" || err != nil {
			t.Fatalf("second on %q, %v", nic, err)
		}
		if !slices.Equal(l.cleared, []string{"eth0"}) {
			t.Errorf("cleared %q, want eth0", l.cleared)
		}
		_, _, err := n.Next(t.Context())
		if !errors.Is(err, ErrNoNetwork) {
			t.Fatalf("third: %v", err)
		}
		within(t, "giving up", start, 0)
		for _, want := range []string{
			"eth0 (unknown driver): its network led nowhere",
			"eth1 (unknown driver): its network led nowhere",
			"eth2 (unknown driver): no carrier",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in %q", want, err)
			}
		}
	})
}

// A card that is still agreeing with its switch when the first network has led
// nowhere is waited for.
func TestNextNetworkComingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.plug("eth0", "1", after(0, "10.0.0.1/24"))
		l.plug("eth1", "0", after(time.Second, "10.0.1.1/24"))
		opened := time.Now()
		n := l.open(t)
		defer n.Close()
		if nic, _, err := n.Next(t.Context()); nic != "eth0" || err != nil {
			t.Fatalf("first on %q, %v", nic, err)
		}
		go func() {
			time.Sleep(3 * time.Second)
			l.set("class/net/eth1/carrier", "1")
		}()
		if nic, _, err := n.Next(t.Context()); nic != "eth1" || err != nil {
			t.Fatalf("second on %q, %v", nic, err)
		}
		if _, _, err := n.Next(t.Context()); !errors.Is(err, ErrNoNetwork) {
			t.Fatalf("third: %v", err)
		}
		within(t, "giving up", opened, 5*time.Second)
	})
}

// Nobody answers: after a minute the error names each card and why.
func TestNoLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.plug("eth0", "1", silent)
		l.plug("eth1", "0", silent)
		l.plug("eth2", "1", func(context.Context) (Lease, error) { panic("parser") })
		start := time.Now()
		n := l.open(t)
		defer n.Close()
		_, _, err := n.Next(t.Context())
		if !errors.Is(err, ErrNoNetwork) {
			t.Fatal(err)
		}
		within(t, "giving up", start, time.Minute)
		for _, want := range []string{"eth0 (unknown driver): no DHCP answer", "eth1 (unknown driver): no carrier", "eth2 (unknown driver): the agent crashed (network: eth2): parser"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("no %q in %q", want, err)
			}
		}
		waiting := slices.DeleteFunc(slices.Clone(l.lines), func(s string) bool { return !strings.HasPrefix(s, "network: waiting: eth0") })
		if len(waiting) != 5 || l.lines[0] != "the agent crashed (network: eth2): parser" {
			t.Errorf("told %q, want 5 lines in a minute, and a trace", l.lines)
		}
	})
}

// A cable that is plugged in late, and a card whose driver comes late, are used.
func TestLateComers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		n := l.open(t)
		defer n.Close()
		start := time.Now()
		go func() {
			time.Sleep(10 * time.Second)
			l.plug("eth0", "0", after(time.Second, "10.0.2.15/24"))
			time.Sleep(20 * time.Second)
			l.set("class/net/eth0/carrier", "1")
		}()
		if nic, _, err := n.Next(t.Context()); nic != "eth0" || err != nil {
			t.Fatalf("on %q, %v", nic, err)
		}
		within(t, "the lease", start, 31*time.Second)
	})
}

func TestNoCard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		start := time.Now()
		n := l.open(t)
		_, _, err := n.Next(t.Context())
		if !errors.Is(err, ErrNoNetwork) || !strings.Contains(err.Error(), "nor any network controller") {
			t.Errorf("without hardware: %v", err)
		}
		within(t, "giving up", start, 15*time.Second)
		n.Close()
		for name, value := range map[string]string{"class": "0x020000", "vendor": "0x8086", "device": "0x1533"} {
			l.set("bus/pci/devices/0000:01:00.0/"+name, value)
		}
		n = l.open(t)
		defer n.Close()
		_, _, err = n.Next(t.Context())
		if err == nil || !strings.Contains(err.Error(), "no driver on this medium for PCI ids 8086:1533 at 0000:01:00.0") {
			t.Errorf("without driver: %v", err)
		}
	})
}

// A lease that the kernel does not take is no lease.
func TestUnusableLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.applies = errors.New("invalid argument")
		l.plug("eth0", "1", after(time.Second, "10.0.0.1/24"))
		n := l.open(t)
		defer n.Close()
		_, _, err := n.Next(t.Context())
		if !errors.Is(err, ErrNoNetwork) || !strings.Contains(err.Error(), "cannot be used: invalid argument") {
			t.Errorf("error %v", err)
		}
	})
}

// Before the hand-over every card is switched off, with or without a lease.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.plug("eth0", "1", after(time.Second, "10.0.0.1/24"))
		l.plug("eth1", "0", silent)
		n := l.open(t)
		if _, _, err := n.Next(t.Context()); err != nil {
			t.Fatal(err)
		}
		n.Quiet()
		if !slices.Equal(l.down, []string{"eth0", "eth1"}) {
			t.Errorf("switched off %q, want both", l.down)
		}
	})
}

// A route that the kernel does not take costs that route alone.
func TestUnusableRoute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		bad, good := netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("0.0.0.0/0")
		l.plug("eth0", "1", func(context.Context) (Lease, error) {
			return Lease{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}, Routes: []Route{{Destination: bad}, {Destination: good}}}, nil
		})
		var added []netip.Prefix
		l.routes = func(r Route) error {
			if r.Destination == bad {
				return errors.New("invalid argument")
			}
			added = append(added, r.Destination)
			return nil
		}
		n := l.open(t)
		defer n.Close()
		if nic, _, err := n.Next(t.Context()); nic != "eth0" || err != nil {
			t.Fatalf("on %q, %v", nic, err)
		}
		if !slices.Equal(added, []netip.Prefix{good}) {
			t.Errorf("added %v, want %v", added, good)
		}
		if want := "network: eth0: going on without the route to 172.16.0.0/12: invalid argument"; l.lines[0] != want {
			t.Errorf("logged %q, want %q first", l.lines, want)
		}
	})
}

// A lease that has waited for long is asked for again: its address may be
// another machine's by then. One without a time lasts.
func TestStaleLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		timed := func(wait, lasts time.Duration) func(context.Context) (Lease, error) {
			asked := 0
			return func(context.Context) (Lease, error) {
				time.Sleep(wait)
				asked++
				return Lease{Addresses: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(asked)}), 24)}, Time: lasts}, nil
			}
		}
		l.plug("eth0", "1", timed(0, time.Minute))
		l.plug("eth1", "1", timed(time.Second, 2*time.Minute))
		n := l.open(t)
		defer n.Close()
		if nic, _, err := n.Next(t.Context()); nic != "eth0" || err != nil {
			t.Fatalf("first on %q, %v", nic, err)
		}
		time.Sleep(150 * time.Second) // of trying sites: more than twice half the lease's time
		nic, lease, err := n.Next(t.Context())
		if nic != "eth1" || err != nil || lease.String() != "10.0.0.3/24" {
			t.Errorf("second on %q: %s, %v, want the third lease of eth1", nic, lease, err)
		}
	})
}

// No card comes up behind Quiet's back, not even one that was on its way.
func TestQuietWaits(t *testing.T) {
	l := newLab()
	l.plug("eth0", "0", silent)
	busy, release := make(chan struct{}), make(chan struct{})
	l.up = func(string) { close(busy); <-release }
	n := l.open(t)
	<-busy
	quiet := make(chan struct{})
	go func() { n.Quiet(); close(quiet) }()
	select {
	case <-quiet:
		t.Error("cards are off while one is being switched on")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	<-quiet
	if !slices.Equal(l.down, []string{"eth0"}) {
		t.Errorf("switched off %q, want eth0", l.down)
	}
	if err := n.prepare(canceled(t), n.links[0], n.cards[0]); err == nil {
		t.Error("a card was switched on afterwards")
	}
}

// canceled returns a context that has ended.
func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
