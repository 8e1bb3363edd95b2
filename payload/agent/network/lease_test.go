package network

import (
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"
)

// mac is the test machine's card.
var mac = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}

// ack makes a server's acknowledgement with the given options.
func ack(t testing.TB, addr string, options ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(dhcpv4.MessageTypeAck))
	if err != nil {
		t.Fatal(err)
	}
	m.OpCode = dhcpv4.OpcodeBootReply
	m.YourIPAddr = net.ParseIP(addr)
	for _, o := range options {
		m.UpdateOption(o)
	}
	return m
}

// ip parses addresses.
func ip(addrs ...string) []net.IP {
	var ips []net.IP
	for _, a := range addrs {
		ips = append(ips, net.ParseIP(a))
	}
	return ips
}

// mask24 is a home network's.
func mask24() dhcpv4.Option { return dhcpv4.OptSubnetMask(net.CIDRMask(24, 32)) }

// route makes one of option 121.
func route(dest, via string) *dhcpv4.Route {
	_, network, err := net.ParseCIDR(dest)
	if err != nil {
		panic(err)
	}
	return &dhcpv4.Route{Dest: network, Router: net.ParseIP(via)}
}

func mtu(n uint16) dhcpv4.Option {
	return dhcpv4.Option{Code: dhcpv4.OptionInterfaceMTU, Value: dhcpv4.Uint16(n)}
}

// compare shows netip values by their text.
var compare = cmp.Options{
	cmpopts.IgnoreUnexported(Lease{}),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestLeaseBounds(t *testing.T) {
	via := func(gateway string) []Route {
		return []Route{{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr(gateway)}}
	}
	addr := []netip.Prefix{netip.MustParsePrefix("10.0.2.15/24")}
	many := make([]*dhcpv4.Route, 200)
	for i := range many {
		many[i] = route("192.168.0.0/16", "10.0.2.2")
	}
	for name, tc := range map[string]struct {
		ack  *dhcpv4.DHCPv4
		want Lease
	}{
		"usual": {
			ack(t, "10.0.2.15", mask24(), dhcpv4.OptRouter(ip("10.0.2.2")...), dhcpv4.OptDNS(ip("10.0.2.3")...), mtu(1450)),
			Lease{Addresses: addr, Routes: via("10.0.2.2"), DNS: []netip.Addr{netip.MustParseAddr("10.0.2.3")}, MTU: 1450},
		},
		"bare": {ack(t, "192.168.1.9"), Lease{Addresses: []netip.Prefix{netip.MustParsePrefix("192.168.1.9/24")}}},
		"router outside the subnet": {
			ack(t, "10.0.2.15", dhcpv4.OptSubnetMask(net.CIDRMask(32, 32)), dhcpv4.OptRouter(ip("192.0.2.1")...)),
			Lease{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.2.15/32")}, Routes: via("192.0.2.1")},
		},
		"absurd router, DNS and MTU": {
			ack(t, "10.0.2.15", mask24(), dhcpv4.OptRouter(ip("0.0.0.0", "224.0.0.1", "10.0.2.15", "255.255.255.255", "10.0.2.9")...),
				dhcpv4.OptDNS(ip("127.0.0.1", "239.1.1.1", "0.0.0.0", "1.1.1.1", "1.1.1.2", "1.1.1.3", "1.1.1.4")...), mtu(68)),
			Lease{Addresses: addr, Routes: via("10.0.2.9"), DNS: []netip.Addr{
				netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("1.1.1.2"), netip.MustParseAddr("1.1.1.3"),
			}},
		},
		"MTU beyond jumbo frames": {ack(t, "10.0.2.15", mask24(), mtu(65535)), Lease{Addresses: addr}},
		"lease time": {
			ack(t, "10.0.2.15", mask24(), dhcpv4.OptIPAddressLeaseTime(time.Hour)), Lease{Addresses: addr, Time: time.Hour},
		},
		"absurd lease time": {
			ack(t, "10.0.2.15", mask24(), dhcpv4.OptIPAddressLeaseTime(time.Second)), Lease{Addresses: addr, Time: minTime},
		},
		"classless routes replace the router": {
			ack(t, "10.0.2.15", mask24(), dhcpv4.OptRouter(ip("10.0.2.2")...), dhcpv4.OptClasslessStaticRoute(
				route("0.0.0.0/0", "10.0.2.1"), route("172.16.0.0/12", "10.0.2.7"), route("192.0.2.7/32", "0.0.0.0"))),
			Lease{Addresses: addr, Routes: append(via("10.0.2.1"),
				Route{Destination: netip.MustParsePrefix("172.16.0.0/12"), Gateway: netip.MustParseAddr("10.0.2.7")},
				Route{Destination: netip.MustParsePrefix("192.0.2.7/32")})},
		},
		"absurd classless routes": {
			ack(t, "10.0.2.15", mask24(), dhcpv4.OptRouter(ip("10.0.2.2")...), dhcpv4.OptClasslessStaticRoute(
				route("127.0.0.0/8", "10.0.2.1"), route("0.0.0.0/0", "0.0.0.0"), route("0.0.0.0/1", "0.0.0.0"),
				route("10.0.0.0/8", "10.0.2.15"), route("10.0.0.0/8", "255.255.255.255"))),
			Lease{Addresses: addr, Routes: via("10.0.2.2")},
		},
	} {
		got, err := newLease(tc.ack)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tc.want, got, compare); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	l, err := newLease(ack(t, "10.0.2.15", mask24(), dhcpv4.OptClasslessStaticRoute(many...)))
	if err != nil || len(l.Routes) != maxRoutes {
		t.Errorf("200 routes became %d (%v), want %d", len(l.Routes), err, maxRoutes)
	}
}

func TestLeaseRefused(t *testing.T) {
	for name, m := range map[string]*dhcpv4.DHCPv4{
		"no address":      ack(t, "0.0.0.0", mask24()),
		"loopback":        ack(t, "127.0.0.1", mask24()),
		"multicast":       ack(t, "224.0.0.5", mask24()),
		"broadcast":       ack(t, "255.255.255.255", mask24()),
		"reserved":        ack(t, "250.1.2.3", mask24()),
		"everything":      ack(t, "10.0.2.15", dhcpv4.OptSubnetMask(net.CIDRMask(0, 32))),
		"half of it":      ack(t, "10.0.2.15", dhcpv4.OptSubnetMask(net.CIDRMask(1, 32))),
		"mask with holes": ack(t, "10.0.2.15", dhcpv4.OptSubnetMask(net.IPMask{255, 0, 255, 0})),
	} {
		if l, err := newLease(m); err == nil {
			t.Errorf("%s: became %s", name, l)
		}
	}
}

func TestLeaseString(t *testing.T) {
	l, err := newLease(ack(t, "10.0.2.15", mask24(), dhcpv4.OptRouter(ip("10.0.2.2")...), dhcpv4.OptDNS(ip("10.0.2.3", "10.0.2.4")...)))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := l.String(), "10.0.2.15/24 via 10.0.2.2, dns 10.0.2.3 10.0.2.4"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := resolvConf("eth0", l.DNS), "nameserver 10.0.2.3\nnameserver 10.0.2.4\noptions timeout:3 attempts:2\n"; got != want {
		t.Errorf("resolv.conf %q, want %q", got, want)
	}
}

// FuzzDHCP feeds packets to the library's parser and to what takes a lease from
// them: no panic in either, and no lease outside the bounds.
func FuzzDHCP(f *testing.F) {
	f.Add(ack(f, "10.0.2.15", mask24(), dhcpv4.OptRouter(ip("10.0.2.2")...), dhcpv4.OptDNS(ip("10.0.2.3")...), mtu(9000)).ToBytes())
	f.Add(ack(f, "10.0.2.15", dhcpv4.OptClasslessStaticRoute(route("0.0.0.0/0", "10.0.2.1"), route("10.0.0.0/8", "0.0.0.0"))).ToBytes())
	f.Add(ack(f, "10.0.2.15", dhcpv4.OptSubnetMask(net.IPMask{255, 0, 255, 0})).ToBytes())
	f.Add([]byte{2, 1, 6})
	f.Fuzz(func(t *testing.T, packet []byte) {
		m, err := dhcpv4.FromBytes(packet) // not through parse, which recovers
		if err != nil {
			return
		}
		l, err := newLease(m)
		if err != nil {
			return
		}
		if l.Addresses[0].Bits() < minPrefix || !usable(l.Addresses[0].Addr()) {
			t.Errorf("address %s", l.Addresses[0])
		}
		if l.MTU != 0 && (l.MTU < minMTU || l.MTU > maxMTU) {
			t.Errorf("MTU %d", l.MTU)
		}
		if len(l.Routes) > maxRoutes || len(l.DNS) > maxDNS {
			t.Errorf("%d routes, %d DNS servers", len(l.Routes), len(l.DNS))
		}
		for _, r := range l.Routes {
			if r.Gateway.IsValid() && !usable(r.Gateway) || !r.Gateway.IsValid() && r.Destination.Bits() < minPrefix ||
				r.Gateway == l.Addresses[0].Addr() || r.Destination != r.Destination.Masked() {
				t.Errorf("route %v", r)
			}
		}
		for _, c := range l.String() + resolvConf("eth0", l.DNS) {
			if !strings.ContainsRune("0123456789./ ,viadnsmeroptu:\n", c) {
				t.Fatalf("character %q in %q", c, l.String())
			}
		}
	})
}

// usable says, in other words than host, whether one host can have the address.
func usable(a netip.Addr) bool {
	return a.Is4() && (a.IsGlobalUnicast() || a.IsLinkLocalUnicast()) &&
		a.Compare(netip.MustParseAddr("1.0.0.0")) >= 0 && a.Compare(netip.MustParseAddr("240.0.0.0")) < 0
}
