package network

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/netconf"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv6"
)

// The bounds of what a DHCP server or a router may set. Whoever can send a broadcast can be
// the server, so nothing is taken beyond what reaching the site needs: no boot
// file, no command line, no time, no host name.
const (
	// minMTU is what every IPv4 host must take (RFC 791); less cripples TCP.
	minMTU = 576
	// maxMTU is the usual jumbo frame.
	maxMTU = 9000
	// minPrefix refuses networks larger than the largest private one, 10/8: as
	// "on link" they would swallow the way to the site.
	minPrefix = 8
	// maxRoutes bounds the classless routes; a real server sends one or two.
	maxRoutes = 16
	// minTime is how long a lease is taken to last at least: a server that says
	// less would have a card that waits ask all the time.
	minTime = 30 * time.Second
	// maxDNS is how many servers Go's resolver reads from resolv.conf.
	maxDNS = netconf.MaxDNS
)

// Lease is what was taken of an answer, or of several: a DHCP server's, a
// router's, or the settings' own.
type Lease struct {
	Addresses []netip.Prefix
	Routes    []Route // the default routes among them
	DNS       []netip.Addr
	MTU       int           // 0: leave as it is
	Proxy     string        // the settings' HTTP proxy, "" for none
	Time      time.Duration // how long it lasts; 0: the server does not say

	ack   *nclient4.Lease // for the renewal
	reply *dhcpv6.Message
}

// Route is one way out. A zero Gateway means that Destination is on the link.
type Route struct {
	Destination netip.Prefix
	Gateway     netip.Addr
}

// String shows the lease as the operator's screen does,
// "10.0.2.15/24 via 10.0.2.2, dns 10.0.2.3".
func (l Lease) String() string {
	var b strings.Builder
	for i, a := range l.Addresses {
		b.WriteString([]string{"", " "}[min(i, 1)] + a.String())
	}
	for _, r := range l.Routes {
		if r.Destination.Bits() == 0 {
			fmt.Fprintf(&b, " via %s", r.Gateway)
		}
	}
	for i, dns := range l.DNS {
		b.WriteString([]string{", dns ", " "}[min(i, 1)] + dns.String())
	}
	return b.String()
}

// Gateway returns the default route's; the zero Addr is none.
func (l Lease) Gateway() netip.Addr {
	for _, r := range l.Routes {
		if r.Destination.Bits() == 0 {
			return r.Gateway
		}
	}
	return netip.Addr{}
}

// same tells whether two leases configure a card alike.
func (l Lease) same(o Lease) bool {
	return slices.Equal(l.Addresses, o.Addresses) && slices.Equal(l.Routes, o.Routes) &&
		slices.Equal(l.DNS, o.DNS) && l.MTU == o.MTU
}

// merge makes one lease of all families'.
func merge(leases [families]Lease) Lease {
	all := Lease{DNS: servers(leases)}
	for _, l := range leases {
		all.Addresses = append(all.Addresses, l.Addresses...)
		all.Routes = append(all.Routes, l.Routes...)
		all.MTU, all.Proxy, all.Time = max(all.MTU, l.MTU), cmp.Or(all.Proxy, l.Proxy), max(all.Time, l.Time)
	}
	return all
}

// staticLease returns what the settings say for one family.
func staticLease(conf netconf.Network, v6 bool) Lease {
	l := Lease{Addresses: conf.Static(v6)}
	if gateway := conf.Gateway(v6); gateway.IsValid() {
		l.Routes = []Route{{Destination: netip.PrefixFrom(unspecified(v6), 0), Gateway: gateway}}
	}
	return l
}

// unspecified returns the family's address of all zeros.
func unspecified(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

// newLease takes from a server's acknowledgement what is sane, and refuses it
// where there is no usable address. RFC 2131, 2132 and 3442 define the options.
func newLease(ack *dhcpv4.DHCPv4) (Lease, error) {
	addr, ok := host(ack.YourIPAddr)
	if !ok {
		return Lease{}, fmt.Errorf("the DHCP server offers the address %q", ack.YourIPAddr)
	}
	prefix, err := subnet(addr, ack.SubnetMask())
	if err != nil {
		return Lease{}, err
	}
	l := Lease{Addresses: []netip.Prefix{prefix}, Routes: routes(ack, addr)}
	for _, ip := range ack.DNS() {
		if dns, ok := host(ip); ok && len(l.DNS) < maxDNS {
			l.DNS = append(l.DNS, dns)
		}
	}
	if mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, ack.Options); err == nil && mtu >= minMTU && mtu <= maxMTU {
		l.MTU = int(mtu)
	}
	if d := ack.IPAddressLeaseTime(0); d > 0 {
		l.Time = max(d, minTime)
	}
	return l, nil
}

// host returns ip if one host can have it.
func host(ip net.IP) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(ip)
	addr = addr.Unmap()
	return addr, ok && addr.Is4() && netconf.Host(addr)
}

// subnet returns the address with its prefix length. Without a mask the class of
// the address decides, as it did when servers could leave it out.
func subnet(addr netip.Addr, mask net.IPMask) (netip.Prefix, error) {
	if mask == nil {
		mask = net.IP(addr.AsSlice()).DefaultMask()
	}
	ones, bits := mask.Size()
	if bits != 32 || ones < minPrefix {
		return netip.Prefix{}, fmt.Errorf("the DHCP server offers the netmask %q", mask)
	}
	return netip.PrefixFrom(addr, ones), nil
}

// routes returns the classless routes where the server sent any, or else the
// default route by the first router that can be one (RFC 3442: never both).
func routes(ack *dhcpv4.DHCPv4, self netip.Addr) []Route {
	var found []Route
	for _, r := range ack.ClasslessStaticRoute() {
		if route, ok := classless(r); ok && route.Gateway != self && len(found) < maxRoutes {
			found = append(found, route)
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, ip := range ack.Router() {
		if gateway, ok := host(ip); ok && gateway != self {
			return []Route{{Destination: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Gateway: gateway}}
		}
	}
	return nil
}

// classless converts one route of option 121. A router of 0.0.0.0 says that the
// destination is on the link; only small destinations may be.
func classless(r *dhcpv4.Route) (Route, bool) {
	dest, ok := netip.AddrFromSlice(r.Dest.IP)
	ones, bits := r.Dest.Mask.Size()
	if !ok || !dest.Is4() || bits != 32 {
		return Route{}, false
	}
	route := Route{Destination: netip.PrefixFrom(dest, ones).Masked()}
	if dest.IsLoopback() || dest.IsMulticast() {
		return Route{}, false
	}
	if r.Router.Equal(net.IPv4zero) {
		return route, ones >= minPrefix
	}
	route.Gateway, ok = host(r.Router)
	return route, ok
}
