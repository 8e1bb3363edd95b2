package network

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/farboot/farboot/payload/netconf"
)

// mtuOption is one of an advertisement.
func mtuOption(mtu uint16) []byte { return []byte{5, 1, 0, 0, 0, 0, byte(mtu >> 8), byte(mtu)} }

func TestAdvertBounds(t *testing.T) {
	const eui = "2001:db8::5054:ff:fe12:3456"
	router := netip.MustParseAddr("fe80::1")
	many := bytes.Repeat(dnsOption("2001:db8::53", "2001:db8::54"), 20)
	for name, tc := range map[string]struct {
		packet []byte
		want   string
		mtu    int
	}{
		"usual": {
			routerAdvert(0, usualPrefix, dnsOption("2001:db8::53"), mtuOption(1480)),
			eui + "/64 via fe80::1, dns 2001:db8::53", 1480,
		},
		"two prefixes": {
			routerAdvert(0, usualPrefix, prefixOption("fd00:1::/64", 0xc0)),
			eui + "/64 fd00:1::5054:ff:fe12:3456/64 via fe80::1", 0,
		},
		"not on the link":             {routerAdvert(0, prefixOption("2001:db8::/64", 0x40)), eui + "/128 via fe80::1", 0},
		"no room for an identifier":   {routerAdvert(0, prefixOption("2001:db8::/96", 0xc0)), " via fe80::1", 0},
		"everything on the link":      {routerAdvert(0, prefixOption("::/0", 0xc0), prefixOption("2000::/3", 0xc0)), " via fe80::1", 0},
		"link-local, multicast":       {routerAdvert(0, prefixOption("fe80::/64", 0xc0), prefixOption("ff02::/64", 0xc0)), " via fe80::1", 0},
		"absurd DNS servers and MTUs": {routerAdvert(0, usualPrefix, dnsOption("::1", "ff02::1", "::"), mtuOption(100), mtuOption(65535)), eui + "/64 via fe80::1", 0},
		"many DNS servers":            {routerAdvert(0, usualPrefix, many), eui + "/64 via fe80::1, dns 2001:db8::53 2001:db8::54", 0},
		"four DNS servers":            {routerAdvert(0, usualPrefix, dnsOption("fe80::a", "fe80::b", "fe80::c", "fe80::d")), eui + "/64 via fe80::1, dns fe80::a fe80::b fe80::c", 0},
		"unknown options":             {routerAdvert(0, []byte{200, 1, 1, 2, 3, 4, 5, 6}, usualPrefix), eui + "/64 via fe80::1", 0},
	} {
		a, err := parseAdvert(tc.packet)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		l := a.lease(router, mac)
		if l.String() != tc.want || l.MTU != tc.mtu {
			t.Errorf("%s: %q with MTU %d, want %q with %d", name, l, l.MTU, tc.want, tc.mtu)
		}
		for _, r := range l.Routes {
			if !r.Gateway.IsValid() && r.Destination.Bits() < minPrefix6 {
				t.Errorf("%s: %s is on the link", name, r.Destination)
			}
		}
	}
	a, err := parseAdvert(routerAdvert(0xc0, prefixOption("2001:db8::/64", 0x80)))
	if err != nil || !a.managed || !a.other || len(a.prefixes) != 1 || a.prefixes[0].autonomous {
		t.Errorf("managed: %+v, %v", a, err)
	}
	silent := routerAdvert(0, usualPrefix)
	silent[6], silent[7] = 0, 0
	if a, err := parseAdvert(silent); err != nil || a.lease(router, mac).Gateway().IsValid() {
		t.Errorf("a router that is none became %+v, %v", a, err)
	}
}

func TestAdvertRefused(t *testing.T) {
	for name, p := range map[string][]byte{
		"empty":              {},
		"short":              routerAdvert(0)[:15],
		"solicitation":       append([]byte{icmpSolicit}, routerAdvert(0)[1:]...),
		"code":               append([]byte{icmpAdvert, 1}, routerAdvert(0)[2:]...),
		"option of length 0": routerAdvert(0, []byte{3, 0, 0, 0, 0, 0, 0, 0}),
		"cut option":         routerAdvert(0, usualPrefix[:20]),
		"cut header":         routerAdvert(0, []byte{3}),
	} {
		if a, err := parseAdvert(p); err == nil {
			t.Errorf("%s: became %+v", name, a)
		}
	}
}

// FuzzRA: no advertisement gives anything outside the bounds.
func FuzzRA(f *testing.F) {
	f.Add(routerAdvert(0xc0, usualPrefix, dnsOption("2001:db8::53", "fe80::1"), mtuOption(1280)))
	f.Add(routerAdvert(0, prefixOption("::/0", 0xff)))
	f.Add(routerAdvert(0, []byte{25, 1, 0, 0, 0, 0, 0, 1}))
	f.Fuzz(func(t *testing.T, packet []byte) {
		a, err := parseAdvert(packet)
		if err != nil {
			return
		}
		l := a.lease(netip.MustParseAddr("fe80::1"), mac)
		bounded6(t, l)
		if l.MTU != 0 && (l.MTU < netconf.MinMTU6 || l.MTU > maxMTU) {
			t.Errorf("MTU %d", l.MTU)
		}
		for _, r := range l.Routes {
			if !r.Gateway.IsValid() && (r.Destination.Bits() < minPrefix6 || r.Destination != r.Destination.Masked()) {
				t.Errorf("route %v", r)
			}
		}
	})
}
