package network

import (
	"io/fs"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/netconf"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
)

// TestRealBridge: the card that has the network becomes the port of a bridge, which
// has the card's address, is lent what the card was, and reaches the same page.
// Then the bridge is gone.
func TestRealBridge(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := newReal(t, 2)
	r.serveDHCP("far0", "10.0.0.9", dhcpv4.OptRouter([]byte{10, 0, 0, 1}))
	r.serveHTTP(ok)
	n, nic, lease := r.open(t)
	if nic != "eth0" {
		t.Fatalf("on %s: %s", nic, lease)
	}
	conf := n.Conf()
	conf.Card, conf.Bridge = netconf.Card{MAC: n.Use().MAC}, "xenbr0"
	n.Close()

	n = Open(t.Context(), plain{cards{os.DirFS("/sys")}}, DefaultLimits(), r.lab.log, conf)
	nic, again := next(t, n)
	card, err := net.InterfaceByName("eth0")
	must(t, err)
	bridge, err := net.InterfaceByName("xenbr0")
	must(t, err)
	if nic != "xenbr0" || again.String() != lease.String() || bridge.HardwareAddr.String() != card.HardwareAddr.String() {
		t.Errorf("on %s, %s: %s, it was %s", nic, bridge.HardwareAddr, again, lease)
	}
	if addrs, err := card.Addrs(); err != nil || len(addrs) > 0 {
		t.Errorf("the card has %v, %v", addrs, err)
	}
	if _, err := os.Stat("/sys/class/net/xenbr0/brif/eth0"); err != nil {
		t.Error(err)
	}
	get(t, "http://10.0.0.1/")
	n.Close()
	if _, err := netlink.LinkByName("xenbr0"); err == nil {
		t.Error("the bridge is left")
	}
}

// plain is cards, among which the bridge is none.
type plain struct{ cards }

func (p plain) Lstat(name string) (fs.FileInfo, error) {
	if strings.Contains(name, "xenbr0/device") {
		return nil, fs.ErrNotExist
	}
	return p.cards.Lstat(name)
}
