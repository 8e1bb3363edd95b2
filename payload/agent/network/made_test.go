//go:build boot

package network

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/netconf"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
)

// The test of this file needs a kernel with the modules 8021q and bonding, which
// Debian's has and a virtual machine's minimal one may lack.

// TestRealVLANOnBond: two cables are one bond, a VLAN lies on it, and a lease and
// a page come through. One cable out costs nothing.
func TestRealVLANOnBond(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := newReal(t, 2)
	r.run(func() { // the switch: the same at the far end
		for _, nic := range []string{"far0", "far1"} {
			r.check(unconfigure(nic, ipv4, nil))
			r.check(unconfigure(nic, ipv6, nil))
			r.check(join("far2", "broadcast", nic))
		}
		r.check(up("far2"))
		r.check(addVLAN("far2", 100, 0))
		r.check(up("far2.100"))
		link, err := netlink.LinkByName("far2.100")
		r.check(err)
		r.check(netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("10.0.2.1/24"))}))
	})
	r.serveDHCP("far2.100", "10.0.2.9", dhcpv4.OptRouter([]byte{10, 0, 2, 1}))
	r.serveHTTP(ok)
	for _, mode := range []string{"active-backup", "802.3ad"} {
		conf := netconf.Network{VLAN: 100, MTU: 1400, IPv6: netconf.Off, Bond: &netconf.Bond{Mode: mode, Members: []netconf.Card{{Name: "eth*"}}}}
		must(t, netconf.Check([]netconf.Network{conf}))
		n, nic, lease := r.open(t, conf)
		if nic != "farbond0.100" || lease.String() != "10.0.2.9/24 via 10.0.2.1" {
			t.Errorf("%s: on %s: %s", mode, nic, lease)
		}
		get(t, "http://10.0.2.1/")
		data, err := os.ReadFile("/sys/class/net/farbond0/bonding/mode")
		if err != nil || !strings.HasPrefix(string(data), mode+" ") {
			t.Errorf("mode %q, %v", data, err)
		}
		members, err := os.ReadFile("/sys/class/net/farbond0/bonding/slaves")
		if err != nil || len(strings.Fields(string(members))) != 2 {
			t.Errorf("members %q, %v", members, err)
		}
		if mode == "active-backup" {
			must(t, down("eth0"))
			get(t, "http://10.0.2.1/")
		}
		n.Close()
		if _, err := netlink.LinkByName("farbond0"); err == nil {
			t.Error("the bond is left")
		}
	}
}
