package network

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/farboot/farboot/payload/netconf"
)

// The bounds of what a router may announce, besides lease.go's.
const (
	// maxPrefixes bounds the prefixes: one of the provider, one of the site's
	// own, and each once more while they are renumbered.
	maxPrefixes = 4
	// minPrefix6 refuses to take more than a site's networks as being on the
	// link: they would swallow the way to the site.
	minPrefix6 = 48
)

// errAdvert is wrapped by the errors of parseAdvert.
var errAdvert = errors.New("router advertisement")

// advert is what was taken of a router advertisement (RFC 4861, section 4.2).
type advert struct {
	router         bool // may be the default router
	managed, other bool // addresses, or the rest, are to be had by DHCPv6
	mtu            int
	prefixes       []announced
	dns            []netip.Addr // RFC 8106
}

// announced is one prefix. What is autonomous makes addresses (RFC 4862).
type announced struct {
	prefix             netip.Prefix
	onLink, autonomous bool
}

// parseAdvert reads the ICMPv6 message p. Options that are not known are left
// out; one that is malformed condemns the message (RFC 4861, section 6.1.2).
func parseAdvert(p []byte) (advert, error) {
	const header = 16
	if len(p) < header || p[0] != icmpAdvert || p[1] != 0 {
		return advert{}, fmt.Errorf("%w: %d bytes, not of that type", errAdvert, len(p))
	}
	a := advert{managed: p[5]&0x80 != 0, other: p[5]&0x40 != 0, router: binary.BigEndian.Uint16(p[6:]) > 0}
	for p = p[header:]; len(p) > 0; {
		if len(p) < 2 || p[1] == 0 || len(p) < 8*int(p[1]) {
			return advert{}, fmt.Errorf("%w: an option has no end", errAdvert)
		}
		option := p[:8*int(p[1])]
		a.option(option)
		p = p[len(option):]
	}
	return a, nil
}

// option takes what is sane of one option, of at least 8 bytes.
func (a *advert) option(o []byte) {
	switch {
	case o[0] == 3 && len(o) == 32: // prefix information
		a.prefix(o)
	case o[0] == 5 && len(o) == 8: // MTU
		if mtu := binary.BigEndian.Uint32(o[4:]); mtu >= netconf.MinMTU6 && mtu <= maxMTU {
			a.mtu = int(mtu)
		}
	case o[0] == 25 && binary.BigEndian.Uint32(o[4:]) > 0: // recursive DNS servers
		for o = o[8:]; len(o) >= 16; o = o[16:] {
			if dns, ok := host6(o[:16]); ok && len(a.dns) < maxDNS && !slices.Contains(a.dns, dns) {
				a.dns = append(a.dns, dns)
			}
		}
	}
}

// prefix takes a prefix: for addresses where it has room for an identifier of 64
// bits, as on the link where it is not too large.
func (a *advert) prefix(o []byte) {
	p := netip.PrefixFrom(netip.AddrFrom16([16]byte(o[16:32])), int(o[2])).Masked()
	if !p.IsValid() || p.Addr().IsLinkLocalUnicast() || !netconf.Host(p.Addr()) ||
		binary.BigEndian.Uint32(o[4:]) == 0 || len(a.prefixes) == maxPrefixes {
		return
	}
	found := announced{prefix: p, onLink: o[3]&0x80 != 0 && p.Bits() >= minPrefix6, autonomous: o[3]&0x40 != 0 && p.Bits() == 64}
	if found.onLink || found.autonomous {
		a.prefixes = append(a.prefixes, found)
	}
}

// lease returns what the advertisement of the router gives a card.
func (a advert) lease(router netip.Addr, mac net.HardwareAddr) Lease {
	l := Lease{DNS: a.dns, MTU: a.mtu}
	for _, p := range a.prefixes {
		if p.autonomous {
			bits := 64
			if !p.onLink {
				bits = 128
			}
			l.Addresses = append(l.Addresses, netip.PrefixFrom(eui64(p.prefix, mac), bits))
		}
		if p.onLink && !p.autonomous { // or else the address says so
			l.Routes = append(l.Routes, Route{Destination: p.prefix})
		}
	}
	if a.router {
		l.Routes = append(l.Routes, Route{Destination: netip.PrefixFrom(netip.IPv6Unspecified(), 0), Gateway: router})
	}
	return l
}

// eui64 returns the card's address in the prefix (RFC 4291, appendix A).
func eui64(p netip.Prefix, mac net.HardwareAddr) netip.Addr {
	a := p.Addr().As16()
	copy(a[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
	return netip.AddrFrom16(a)
}
