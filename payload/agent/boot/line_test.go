package boot

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/google/go-cmp/cmp"
)

// nets compares what was asked for.
var nets = cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })

var (
	static = netconf.Network{Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.5/24")}}
	vlan   = netconf.Network{VLAN: 42}
	bond   = netconf.Network{Bond: &netconf.Bond{Mode: "802.3ad", Members: []netconf.Card{{Name: "eth*"}}}}
)

// asked fails unless these networks were taken up, one list after the other.
func (l *lab) asked(t *testing.T, want ...[]netconf.Network) {
	t.Helper()
	if diff := cmp.Diff(want, l.networks, nets); diff != "" {
		t.Errorf("networks (-want +got):\n%s", diff)
	}
}

// What the stick says comes before what the medium was built with, which stays as
// the second try.
func TestNetworksOnStick(t *testing.T) {
	const text = `[{"addresses": ["192.0.2.5/24"]}]`
	l := newSimLab(t)
	l.publish(t, 12)
	l.stick = map[string]string{netconf.File: text}
	handedOver(t, l.lab, l.run(t))
	l.asked(t, nil, []netconf.Network{static, {}})
	saw(t, l.lab, "network: 1 from farboot/networks.json on a stick")
	if l.opened != 2 || l.closed != 2 {
		t.Errorf("%d networks were opened and %d closed", l.opened, l.closed)
	}

	l = newSimLab(t)
	l.publish(t, 12)
	l.settings.Networks = []netconf.Network{static, vlan}
	l.stick = map[string]string{netconf.File: text}
	handedOver(t, l.lab, l.run(t))
	l.asked(t, []netconf.Network{static, vlan}, []netconf.Network{static, vlan})
}

// Where a bond would keep the other networks off its cards they take turns.
func TestBondOnStick(t *testing.T) {
	l := newSimLab(t)
	l.publish(t, 12)
	l.settings.Networks = []netconf.Network{vlan}
	l.stick = map[string]string{netconf.File: `[{"bond": {"mode": "802.3ad", "members": [{"name": "eth*"}]}}]`}
	l.stopOn = "(round 4)"
	l.next = func() error { return network.ErrNoNetwork }
	if err := l.run(t); err == nil {
		t.Fatal("it started")
	}
	own, stick := []netconf.Network{vlan}, []netconf.Network{bond}
	l.asked(t, own, stick, own, stick)
}

// Garbage on the stick is said once and changes nothing.
func TestGarbageOnStick(t *testing.T) {
	for name, text := range map[string]string{
		"no list": `{"vlan": 42}`, "a broadcast address": `[{"addresses": ["192.0.2.255/24"]}]`, "empty": "", "bytes": "\x00\xff",
		"unknown": `[{"wifi": "x"}]`,
	} {
		l := newSimLab(t)
		l.publish(t, 12)
		l.stick = map[string]string{netconf.File: text}
		handedOver(t, l.lab, l.run(t))
		l.asked(t, nil)
		saw(t, l.lab, "network: [bad-networks] ")
		if n := len(l.said("network: [")); n != 1 {
			t.Errorf("%s: said %d times", name, n)
		}
	}
}

// The networks of the machine's record are taken up before anything is fetched,
// and are what the next system is told of.
func TestNetworksOfRecord(t *testing.T) {
	l := newSimLab(t)
	l.manifest.Machines = []manifest.Machine{{
		Match: manifest.Match{Serial: "ABC"}, Boot: []string{"installer"}, Networks: []netconf.Network{static},
	}}
	l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
	l.asked(t, nil, []netconf.Network{static})
	if l.opened != l.closed {
		t.Errorf("%d networks were opened and %d closed", l.opened, l.closed)
	}

	l.networks, l.loaded, l.executed, l.lines = nil, nil, 0, nil
	l.settings.Networks = []netconf.Network{static}
	handedOver(t, l.lab, l.run(t))
	l.asked(t, []netconf.Network{static}) // it is in use already
}

// Networks of the record that give no address, or lead nowhere, do not strand the
// machine.
func TestBadNetworksOfRecord(t *testing.T) {
	l := newSimLab(t)
	l.manifest.Machines = []manifest.Machine{{
		Match: manifest.Match{Serial: "ABC"}, Boot: []string{"installer"}, Networks: []netconf.Network{static},
	}}
	l.publish(t, 12)
	given := 0
	l.next = func() error {
		if given++; given == 2 {
			return fmt.Errorf("%w: no carrier", network.ErrNoNetwork)
		}
		return nil
	}
	handedOver(t, l.lab, l.run(t))
	l.asked(t, nil, []netconf.Network{static}, nil)
	saw(t, l.lab, "network: [no-network] as the record of this machine says: no network: no carrier")

	l.networks, l.loaded, l.executed, l.lines, l.next, l.stopOn = nil, nil, 0, nil, nil, "never"
	loads := 0
	l.load = func() error {
		if loads++; loads == 1 {
			return fmt.Errorf("the site is not there")
		}
		return nil
	}
	handedOver(t, l.lab, l.run(t))
	l.asked(t, nil, []netconf.Network{static}, nil) // the second round stays where it is
}
