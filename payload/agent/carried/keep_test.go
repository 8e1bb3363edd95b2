package carried

import (
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/netconf"
)

// inUse is what the first kernel left.
func inUse() netconf.Use {
	return netconf.Use{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24"), netip.MustParsePrefix("2001:db8::7/64")},
		Gateways:  []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")},
	}
}

func TestJudge(t *testing.T) {
	c := &card{use: inUse()}
	list := func(all ...string) (addrs []netip.Addr) {
		for _, a := range all {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		return addrs
	}
	for name, test := range map[string]struct {
		now  condition
		want verdict
	}{
		"as it was":          {condition{up: true, addresses: list("192.0.2.7", "fe80::7"), routes: true}, works},
		"flushed":            {condition{up: true, addresses: list("fe80::7"), routes: true}, loses},
		"down":               {condition{addresses: list("192.0.2.7")}, loses},
		"no way out":         {condition{up: true, addresses: list("192.0.2.7")}, loses},
		"others beside":      {condition{up: true, addresses: list("192.0.2.7", "192.0.2.8")}, works},
		"others":             {condition{up: true, addresses: list("192.0.2.8")}, yields},
		"others, and down":   {condition{addresses: list("192.0.2.8")}, yields},
		"part of a bridge":   {condition{up: true, member: true}, works},
		"one of two is left": {condition{up: true, addresses: list("2001:db8::7"), routes: true}, works},
	} {
		if got := c.judge(test.now); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

// TestMend: in a network of its own, a card that lost everything gets it back.
func TestMend(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("networks need root")
	}
	runtime.LockOSThread() // and never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "card0"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "card1"}); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName("card0")
	if err != nil {
		t.Fatal(err)
	}
	c := &card{index: link.Attrs().Index, use: inUse()}
	now, err := c.look()
	if err != nil || c.judge(now) != loses || now.routes {
		t.Fatalf("%+v, %v", now, err)
	}
	for range 2 { // nothing is in the way of what is there already
		if err := c.mend(); err != nil {
			t.Fatal(err)
		}
	}
	now, err = c.look()
	if err != nil || c.judge(now) != works || !now.up || !now.routes || !slices.Contains(now.addresses, netip.MustParseAddr("2001:db8::7")) {
		t.Fatalf("%+v, %v", now, err)
	}
	if err := netlink.LinkSetDown(link); err != nil {
		t.Fatal(err)
	}
	if now, err := c.look(); err != nil || c.judge(now) != loses {
		t.Fatalf("%+v, %v", now, err)
	}
}
