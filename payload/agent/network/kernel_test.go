package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/netconf"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
)

// The tests of this file use the running kernel: cables between two namespaces,
// servers that answer at the far end. Nothing leaves the namespaces.

// realLab is a machine whose cards are the near ends.
type realLab struct {
	*far
	*lab
}

func newReal(t *testing.T, cables int) realLab {
	return realLab{newFar(t, cables), newLab()}
}

// open opens the machine's network and returns it with its first lease.
func (r realLab) open(t *testing.T, networks ...netconf.Network) (*Network, string, Lease) {
	t.Helper()
	n := Open(t.Context(), cards{os.DirFS("/sys")}, DefaultLimits(), r.lab.log, networks...)
	t.Cleanup(n.Close)
	nic, lease, err := n.Next(t.Context())
	if err != nil {
		t.Fatalf("%v\nlog: %s", err, strings.Join(r.said(), "\n"))
	}
	return n, nic, lease
}

// get fetches a page.
func get(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Errorf("get: %v", err)
		return
	}
	resp.Body.Close()
}

// eventually waits for something that takes its time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("after 10 s still not: %s", what)
}

// slaac is the near end's address in 2001:db8::/64.
func slaac(t *testing.T, nic string) netip.Addr {
	i, err := net.InterfaceByName(nic)
	must(t, err)
	return eui64(netip.MustParsePrefix("2001:db8::/64"), i.HardwareAddr)
}

func ok(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "ok") }

// usualPrefix is on the link and makes addresses.
var usualPrefix = prefixOption("2001:db8::/64", 0xc0)

// TestRealDualStack: IPv4 starts the boot, IPv6 comes to it, and all goes in the end.
func TestRealDualStack(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := newReal(t, 1)
	r.serveDHCP("far0", "10.0.0.9", dhcpv4.OptRouter(net.IPv4(10, 0, 0, 1)), dhcpv4.OptDNS(net.IPv4(10, 0, 0, 1)))
	r.advertise("far0", routerAdvert(0, usualPrefix, dnsOption("2001:db8::1", "fe80::1")))
	r.serveHTTP(ok)
	n, nic, lease := r.open(t)
	if nic != "eth0" || lease.String() != "10.0.0.9/24 via 10.0.0.1, dns 10.0.0.1" {
		t.Errorf("first on %s: %s", nic, lease)
	}
	get(t, "http://10.0.0.1/")
	eventually(t, "IPv6 beside it", func() bool { return len(n.Use().Addresses) == 2 })
	must(t, settle(t.Context(), "eth0"))
	get(t, "http://[2001:db8::1]/")
	conf, err := os.ReadFile("/etc/resolv.conf")
	must(t, err)
	if want := "nameserver 10.0.0.1\nnameserver 2001:db8::1\nnameserver fe80::1%eth0\n"; !strings.HasPrefix(string(conf), want) {
		t.Errorf("resolv.conf: %s", conf)
	}
	if use := n.Use(); len(use.Gateways) != 2 || use.Addresses[1].Addr() != slaac(t, "eth0") {
		t.Errorf("in use: %+v", use)
	}
	n.Close()
	link, err := netlink.LinkByName("eth0")
	must(t, err)
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	must(t, err)
	for _, a := range addrs {
		if !a.IP.IsLinkLocalUnicast() {
			t.Errorf("address %s is left", a.IP)
		}
	}
	routes, err := netlink.RouteList(link, netlink.FAMILY_ALL)
	must(t, err)
	for _, r := range routes {
		if r.Gw != nil {
			t.Errorf("route %s is left", r)
		}
	}
}

// TestRealIPv6Only: a network without IPv4, whose DNS servers are told by DHCPv6,
// carries a name, an address and a page.
func TestRealIPv6Only(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := newReal(t, 1)
	r.advertise("far0", routerAdvert(0x40, usualPrefix))
	r.serveDHCP6("far0", "2001:db8::99", "2001:db8::1")
	r.serveDNS("2001:db8::1")
	r.serveHTTP(ok)
	_, nic, lease := r.open(t)
	if nic != "eth0" || lease.Addresses[0] != netip.PrefixFrom(slaac(t, "eth0"), 64) || fmt.Sprint(lease.DNS) != "[2001:db8::1]" {
		t.Errorf("on %s: %s", nic, lease)
	}
	get(t, "http://site.example/")
	if r.count("INFORMATION-REQUEST") == 0 || r.count("SOLICIT") != 0 {
		t.Errorf("asked %q", r.heard)
	}
}

// TestRealManaged: addresses by DHCPv6; a cable that was out leads to a rebinding.
func TestRealManaged(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := newReal(t, 1)
	r.advertise("far0", routerAdvert(0xc0, prefixOption("2001:db8::/64", 0x80)))
	r.serveDHCP6("far0", "2001:db8::99", "2001:db8::1")
	r.serveHTTP(ok)
	_, _, lease := r.open(t, netconf.Network{IPv4: netconf.Off})
	if got, want := lease.String(), "2001:db8::99/128 via fe80::1, dns 2001:db8::1"; got != want {
		t.Errorf("lease %s, want %s", got, want)
	}
	get(t, "http://[2001:db8::1]/")
	r.cable("far0", false)
	time.Sleep(200 * time.Millisecond)
	r.cable("far0", true)
	eventually(t, "a rebinding", func() bool { return r.count("REBIND") > 0 })
	get(t, "http://[2001:db8::1]/")
}

// TestRealFlap: a download survives a cable that is out for a moment, on the same
// connection, and the server is asked for the same address again.
func TestRealFlap(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := newReal(t, 1)
	r.serveDHCP("far0", "10.0.0.9", dhcpv4.OptRouter(net.IPv4(10, 0, 0, 1)))
	const size = 100
	r.serveHTTP(func(w http.ResponseWriter, _ *http.Request) {
		for range size {
			w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	r.open(t, netconf.Network{IPv6: netconf.Off})
	resp, err := http.Get("http://10.0.0.1/")
	must(t, err)
	defer resp.Body.Close()
	_, err = io.ReadFull(resp.Body, make([]byte, 10))
	must(t, err)
	asked := r.count("DISCOVER")
	r.cable("far0", false)
	eventually(t, "the loss is seen", func() bool {
		return slices.Contains(r.said(), "network: eth0: carrier lost (cable, or the switch's port)")
	})
	r.cable("far0", true)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || len(rest) != size-10 {
		t.Errorf("after the cable was out: %d bytes, %v", len(rest), err)
	}
	eventually(t, "a renewal", func() bool { return r.count("REQUEST 10.0.0.9") > 0 })
	if r.count("DISCOVER") != asked {
		t.Errorf("asked %q, want no DISCOVER after the cable was out", r.heard)
	}
}

// said returns the log so far.
func (r realLab) said() []string {
	r.lab.mu.Lock()
	defer r.lab.mu.Unlock()
	return slices.Clone(r.lines)
}

// TestRealStatic: static addresses of both families need nobody's answer.
func TestRealStatic(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := newReal(t, 2)
	r.serveHTTP(ok)
	mac, err := net.InterfaceByName("eth1")
	must(t, err)
	conf := netconf.Network{
		Card: netconf.Card{MAC: mac.HardwareAddr.String()}, MTU: 1400,
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.1.7/24"), netip.MustParsePrefix("2001:db8:1::7/64")},
		Gateways:  []netip.Addr{netip.MustParseAddr("10.0.1.1"), netip.MustParseAddr("fe80::1")},
		DNS:       []netip.Addr{netip.MustParseAddr("10.0.1.1")},
	}
	must(t, netconf.Check([]netconf.Network{conf}))
	n, nic, _ := r.open(t, conf)
	if nic != "eth1" {
		t.Errorf("on %s, want eth1", nic)
	}
	get(t, "http://10.0.1.1/")
	eventually(t, "IPv6 beside it", func() bool { return len(n.Use().Addresses) == 2 })
	must(t, settle(t.Context(), "eth1"))
	get(t, "http://[2001:db8:1::1]/")
	line, err := n.Use().Kernel()
	if want := " ip=10.0.1.7::10.0.1.1:255.255.255.0:::none:10.0.1.1:"; err != nil || !strings.HasSuffix(line, want) {
		t.Errorf("for the next kernel: %q, %v", line, err)
	}
	if i, err := net.InterfaceByName("eth1"); err != nil || i.MTU != 1400 {
		t.Errorf("MTU %d, %v", i.MTU, err)
	}
}

// TestRealChange: when only the route changes, the address is never away; when
// the address changes, the old one is.
func TestRealChange(t *testing.T) {
	if !isolated(t) {
		return
	}
	newFar(t, 1)
	must(t, up("eth0"))
	first := staticLease(netconf.Network{
		Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.7/24")}, Gateways: []netip.Addr{netip.MustParseAddr("10.0.0.1")},
	}, false)
	must(t, apply("eth0", first))
	must(t, addRoute("eth0", first.Routes[0]))
	link, err := netlink.LinkByName("eth0")
	must(t, err)
	addrs := make(chan netlink.AddrUpdate, 16)
	must(t, netlink.AddrSubscribe(addrs, t.Context().Done()))
	must(t, unconfigure("eth0", ipv4, first.Addresses))
	must(t, apply("eth0", first))
	must(t, addRoute("eth0", Route{Destination: first.Routes[0].Destination, Gateway: netip.MustParseAddr("10.0.0.2")}))
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: link.Attrs().Index, Dst: nil}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_DST)
	if err != nil || len(routes) != 1 || routes[0].Gw.String() != "10.0.0.2" {
		t.Errorf("default routes %v, %v", routes, err)
	}
	must(t, unconfigure("eth0", ipv4, []netip.Prefix{netip.MustParsePrefix("10.0.0.8/24")}))
	var gone []string
	for quiet := false; !quiet; {
		select {
		case u := <-addrs:
			if !u.NewAddr {
				gone = append(gone, u.LinkAddress.String())
			}
		case <-time.After(500 * time.Millisecond):
			quiet = true
		}
	}
	if !slices.Equal(gone, []string{"10.0.0.7/24"}) {
		t.Errorf("taken away: %q, want the address once", gone)
	}
	if left, err := netlink.AddrList(link, netlink.FAMILY_V4); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestRealDuplicate: an address that another machine has is not used.
func TestRealDuplicate(t *testing.T) {
	if !isolated(t) {
		return
	}
	r := newReal(t, 1)
	r.advertise("far0", routerAdvert(0, usualPrefix))
	other := slaac(t, "eth0")
	must(t, up("eth0")) // or else the far end has no carrier
	r.run(func() {
		link, err := netlink.LinkByName("far0")
		r.check(err)
		r.check(netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(other, 64))}))
		r.check(settle(t.Context(), "far0")) // until it is theirs
	})
	limits := DefaultLimits()
	limits.Lease = 6 * time.Second
	n := Open(t.Context(), cards{os.DirFS("/sys")}, limits, r.lab.log, netconf.Network{IPv4: netconf.Off})
	defer n.Close()
	_, lease, err := n.Next(t.Context())
	if err == nil || !strings.Contains(err.Error(), "another machine has the address "+other.String()) {
		t.Errorf("lease %s, %v", lease, err)
	}
}
