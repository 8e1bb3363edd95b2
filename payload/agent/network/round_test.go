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

	"github.com/farboot/farboot/payload/netconf"
)

// carrier sets a card's.
func (l *lab) carrier(nic, value string) { l.set("class/net/"+nic+"/carrier", value) }

// said returns the log so far, as one text.
func (l *lab) said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// next is Next, which must work.
func next(t *testing.T, n *Network) (string, Lease) {
	t.Helper()
	nic, lease, err := n.Next(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return nic, lease
}

// A network that stands first is preferred to one that is there before it, for
// 5 s and no longer.
func TestPrefer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		networks := []netconf.Network{{VLAN: 5, MTU: 9000}, {}}
		for wait, want := range map[time.Duration]string{2 * time.Second: "eth0.5", time.Minute: "eth0"} {
			l := newLab()
			l.plug("eth0", "1", after(0, "10.0.0.1/24"))
			l.answers["eth0.5"] = after(wait, "10.0.5.1/24")
			start := time.Now()
			n := l.open(t, networks...)
			nic, _ := next(t, n)
			if nic != want {
				t.Errorf("with %v of waiting: %s, want %s", wait, nic, want)
			}
			within(t, "the choice", start, min(wait, 5*time.Second))
			if made := []string{"eth0 vlan 5 mtu 9000", "eth0.5 mtu 9000"}; !slices.Equal(l.made, made) {
				t.Errorf("made %q, want %q", l.made, made)
			}
			n.Close()
			synctest.Wait()
			if !slices.Equal(l.removed, []string{"eth0.5"}) {
				t.Errorf("removed %q", l.removed)
			}
		}
	})
}

// A card is in the first bond that claims it and in nothing else; a late member
// joins; the bond is asked once. What no network names is not switched on.
func TestBond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		for _, nic := range []string{"eth0", "eth1", "eth2"} {
			l.plug(nic, "1", silent)
		}
		var on []string
		l.up = func(nic string) { l.note(&on)(nic) }
		l.answers["farbond0"] = after(time.Second, "10.0.0.1/24")
		n := l.open(t, netconf.Network{Bond: &netconf.Bond{Mode: "802.3ad", Members: []netconf.Card{{Name: "eth[01]"}, {Name: "eth3"}}}})
		if nic, _ := next(t, n); nic != "farbond0" {
			t.Errorf("on %s", nic)
		}
		l.plug("eth3", "1", silent)
		time.Sleep(time.Second)
		synctest.Wait()
		slices.Sort(l.made)
		if want := []string{"farbond0 802.3ad eth0", "farbond0 802.3ad eth1", "farbond0 802.3ad eth3"}; !slices.Equal(l.made, want) {
			t.Errorf("made %q, want %q", l.made, want)
		}
		if slices.Contains(on, "eth2") {
			t.Error("eth2 was switched on")
		}
		if s := n.state(); !strings.Contains(s, "eth2 (unknown driver): no network of the settings is for it") {
			t.Errorf("state %q", s)
		}
		n.Quiet()
		if want := []string{"eth0", "eth1", "eth2", "eth3"}; !slices.Equal(l.down, want) {
			t.Errorf("switched off %q, want %q", l.down, want)
		}
		n.Close()
		if !slices.Equal(l.removed, []string{"farbond0"}) {
			t.Errorf("removed %q", l.removed)
		}
	})
}

// The family that comes second is added; one that comes after the network led
// nowhere gives that network another chance.
func TestSecondFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.plug("eth0", "1", after(0, "10.0.0.1/24"))
		l.routers["eth0"] = after(10*time.Second, "2001:db8::1/64")
		l.plug("eth1", "1", after(0, "10.0.1.1/24"))
		l.routers["eth1"] = after(time.Second, "2001:db8:1::1/64")
		n := l.open(t, netconf.Network{Card: netconf.Card{Name: "eth0"}}, netconf.Network{Card: netconf.Card{Name: "eth1"}})
		defer n.Close()
		next(t, n)
		if nic, _ := next(t, n); nic != "eth1" {
			t.Fatalf("second on %s", nic)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if got := n.Use().Addresses; len(got) != 2 {
			t.Errorf("in use: %v, want both families", got)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if nic, lease := next(t, n); nic != "eth0" || lease.String() != "10.0.0.1/24 2001:db8::1/64" {
			t.Errorf("third on %s: %s", nic, lease)
		}
	})
}

// An IPv6 address that is found to be another machine's is not used.
func TestUnsettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.plug("eth0", "1", silent)
		l.routers["eth0"] = after(0, "2001:db8::1/64")
		l.settles = errors.New("another machine has the address 2001:db8::1")
		n := l.open(t)
		defer n.Close()
		if _, _, err := n.Next(t.Context()); err == nil || !strings.Contains(err.Error(), "cannot be used: another machine has") {
			t.Errorf("error %v", err)
		}
		if len(l.cleared) != 1 {
			t.Errorf("cleared %q", l.cleared)
		}
	})
}

// dhcpServer answers with leases of a minute, as often as it may.
type dhcpServer struct {
	asked []time.Duration
	start time.Time
	reply func(n int) (string, error)
}

func (s *dhcpServer) answer(ctx context.Context) (Lease, error) {
	s.asked = append(s.asked, time.Since(s.start))
	addr, err := s.reply(len(s.asked))
	if err != nil {
		pause(ctx, 15*time.Second)
		return Lease{}, err
	}
	return Lease{Addresses: []netip.Prefix{netip.MustParsePrefix(addr)}, Time: time.Minute}, nil
}

// The lease in use is renewed at half its time, whereupon nothing changes; a new
// address is taken in the place of the old one.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &dhcpServer{start: time.Now(), reply: func(n int) (string, error) {
			return []string{"10.0.0.1/24", "10.0.0.1/24", "10.0.0.1/24", "10.0.0.2/24"}[min(n-1, 3)], nil
		}}
		l := newLab()
		l.plug("eth0", "1", s.answer)
		n := l.open(t)
		defer n.Close()
		next(t, n)
		time.Sleep(80 * time.Second)
		synctest.Wait()
		if len(s.asked) != 3 || s.asked[1].Round(time.Second) != 30*time.Second || s.asked[2].Round(time.Second) != time.Minute {
			t.Errorf("asked after %v", s.asked)
		}
		if want := []string{"10.0.0.1/24"}; !slices.Equal(l.given, want) || len(l.cleared) > 0 {
			t.Errorf("given %q, cleared %q", l.given, l.cleared)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if want := []string{"10.0.0.1/24", "10.0.0.2/24"}; !slices.Equal(l.given, want) || !slices.Equal(l.cleared, []string{"eth0 but [10.0.0.2/24]"}) {
			t.Errorf("given %q, want %q; cleared %q", l.given, want, l.cleared)
		}
	})
}

// A lease that nobody renews is given up when its time is over, said, and a new
// one is taken as soon as there is one.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &dhcpServer{start: time.Now()}
		s.reply = func(n int) (string, error) {
			if n > 1 && time.Since(s.start) < 2*time.Minute {
				return "", errSilence
			}
			return "10.0.0.1/24", nil
		}
		l := newLab()
		l.plug("eth0", "1", s.answer)
		n := l.open(t)
		defer n.Close()
		next(t, n)
		time.Sleep(58 * time.Second)
		synctest.Wait()
		if len(n.Use().Addresses) != 1 {
			t.Error("given up before its time")
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if len(n.Use().Addresses) != 0 || !strings.Contains(l.said(), "network: eth0: the lease 10.0.0.1/24 has expired: no DHCP answer") {
			t.Errorf("in use: %v\n%s", n.Use().Addresses, l.said())
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(n.Use().Addresses) != 1 {
			t.Errorf("in use: %v, want the new lease", n.Use().Addresses)
		}
	})
}

// A cable that is out and in again has the server asked anew; meanwhile the
// address stays. A network whose cable is out when it is wanted is not taken.
func TestFlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &dhcpServer{start: time.Now(), reply: func(int) (string, error) { return "10.0.0.1/24", nil }}
		l := newLab()
		l.plug("eth0", "1", s.answer)
		l.plug("eth1", "1", after(0, "10.0.1.1/24"))
		n := l.open(t, netconf.Network{Card: netconf.Card{Name: "eth0"}}, netconf.Network{Card: netconf.Card{Name: "eth1"}})
		defer n.Close()
		next(t, n)
		l.carrier("eth0", "0")
		l.carrier("eth1", "0")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		l.carrier("eth0", "1")
		time.Sleep(time.Second)
		synctest.Wait()
		if len(s.asked) != 2 || len(l.cleared) != 0 || !slices.Equal(l.given, []string{"10.0.0.1/24"}) {
			t.Errorf("asked after %v, given %q, cleared %q", s.asked, l.given, l.cleared)
		}
		for _, want := range []string{"network: eth0: carrier lost (cable, or the switch's port)", "network: eth0: carrier is back"} {
			if strings.Count(l.said(), want) != 1 {
				t.Errorf("not once %q:\n%s", want, l.said())
			}
		}
		start := time.Now()
		if nic, _, err := n.Next(t.Context()); !errors.Is(err, ErrNoNetwork) {
			t.Errorf("second on %s, %v", nic, err)
		}
		within(t, "giving up", start, 0)
	})
}
