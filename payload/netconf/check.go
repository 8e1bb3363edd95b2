package netconf

import (
	"fmt"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Check tells what is wrong with the list, or nil.
func Check(list []Network) error {
	if len(list) > MaxNetworks {
		return fmt.Errorf("%w: %d networks, at most %d are tried", ErrMalformed, len(list), MaxNetworks)
	}
	for i, n := range list {
		for _, check := range []func() error{n.checkLink, n.checkModes, n.checkAddresses, n.checkGateways, n.checkServers} {
			if err := check(); err != nil {
				return fmt.Errorf("%w: network %d: %w", ErrMalformed, i+1, err)
			}
		}
	}
	return nil
}

// checkLink checks card, bond, VLAN and MTU.
func (n Network) checkLink() error {
	if err := n.Card.check(); err != nil {
		return err
	}
	if n.Bond != nil {
		if n.Card != (Card{}) {
			return fmt.Errorf("card and bond exclude each other; name the cards as members")
		}
		if err := n.Bond.check(); err != nil {
			return err
		}
	}
	if n.Bridge != "" && n.Bond == nil && n.Card.MAC == "" {
		return fmt.Errorf("bridge %q over every card would join their networks; want a card's mac, or a bond", n.Bridge)
	}
	if n.VLAN < 0 || n.VLAN > 4094 {
		return fmt.Errorf("vlan %d: want 1 to 4094", n.VLAN)
	}
	if n.MTU != 0 && (n.MTU < MinMTU || n.MTU > MaxMTU) {
		return fmt.Errorf("mtu %d: want %d to %d", n.MTU, MinMTU, MaxMTU)
	}
	if n.MTU != 0 && n.MTU < MinMTU6 && (n.IPv6 != Off || len(n.Static(true)) > 0) {
		return fmt.Errorf("mtu %d: IPv6 needs %d; say ipv6: off", n.MTU, MinMTU6)
	}
	return nil
}

// driver tells whether s may be the kernel's name of a driver. (The package
// regexp would cost the agent 100 kB.)
func driver(s string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"
	return len(s) <= 64 && strings.Trim(s, letters) == "" && !strings.ContainsAny(s[:1], "_.-")
}

func (c Card) check() error {
	if c.MAC != "" && !canonicalMAC(c.MAC) {
		return fmt.Errorf("mac %q: want one card's, as 52:54:00:12:34:56 in lower case", c.MAC)
	}
	if c.Driver != "" && !driver(c.Driver) {
		return fmt.Errorf("driver %q: want the name of a kernel driver", c.Driver)
	}
	// IFNAMSIZ is 16; a pattern may be as long again.
	if _, err := path.Match(c.Name, ""); err != nil || len(c.Name) > 32 || strings.ContainsAny(c.Name, "/ \t\n") {
		return fmt.Errorf("name %q: want a card's name or a pattern, as eth0 or eth*", c.Name)
	}
	return nil
}

func (b Bond) check() error {
	if !slices.Contains(BondModes(), b.Mode) {
		return fmt.Errorf("bond mode %q: want one of %s", b.Mode, strings.Join(BondModes(), ", "))
	}
	if len(b.Members) == 0 || len(b.Members) > MaxMembers {
		return fmt.Errorf("bond of %d members: want 1 to %d", len(b.Members), MaxMembers)
	}
	for i, m := range b.Members {
		if m == (Card{}) {
			return fmt.Errorf("bond member %d names no card", i+1)
		}
		if err := m.check(); err != nil {
			return fmt.Errorf("bond member %d: %w", i+1, err)
		}
		if slices.Contains(b.Members[:i], m) {
			return fmt.Errorf("bond member %d stands twice", i+1)
		}
	}
	return nil
}

// checkModes checks that each family is had in one way, and at least one is.
func (n Network) checkModes() error {
	v4, v6 := len(n.Static(false)) > 0, len(n.Static(true)) > 0
	switch {
	case n.IPv4 != "" && n.IPv4 != DHCP && n.IPv4 != Off:
		return fmt.Errorf("ipv4 %q: want dhcp or off, or an address", n.IPv4)
	case n.IPv6 != "" && n.IPv6 != Auto && n.IPv6 != Off:
		return fmt.Errorf("ipv6 %q: want auto or off, or an address", n.IPv6)
	case v4 && n.IPv4 != "":
		return fmt.Errorf("ipv4 %q beside a static IPv4 address", n.IPv4)
	case v6 && n.IPv6 != "":
		return fmt.Errorf("ipv6 %q beside a static IPv6 address", n.IPv6)
	case n.IPv4 == Off && n.IPv6 == Off:
		return fmt.Errorf("neither IPv4 nor IPv6 is on")
	}
	return nil
}

// checkAddresses checks that each address is one host's.
func (n Network) checkAddresses() error {
	if len(n.Addresses) > MaxAddresses {
		return fmt.Errorf("%d addresses, at most %d are taken", len(n.Addresses), MaxAddresses)
	}
	for i, p := range n.Addresses {
		// The shortest prefix is that of 10/8, and for IPv6 a provider's.
		shortest := map[bool]int{false: 8, true: 16}[p.Addr().Is6()]
		if !Host(p.Addr()) || p.Addr().IsLinkLocalUnicast() && p.Addr().Is6() || p.Bits() < shortest {
			return fmt.Errorf("address %s: want a host's with its prefix, as 192.0.2.7/24", p)
		}
		if !single(p) {
			return fmt.Errorf("address %s is that of the whole network", p)
		}
		if slices.ContainsFunc(n.Addresses[:i], func(o netip.Prefix) bool { return o.Addr() == p.Addr() }) {
			return fmt.Errorf("address %s stands twice", p)
		}
	}
	return nil
}

// single tells whether p's address is not its network's or, in IPv4, broadcast.
// Links of two (RFC 3021, RFC 6164) have neither.
func single(p netip.Prefix) bool {
	bits := p.Addr().BitLen()
	if p.Bits() >= bits-1 {
		return true
	}
	next := p.Addr().Next()
	broadcast := p.Addr().Is4() && (!next.IsValid() || !p.Contains(next))
	return p.Masked().Addr() != p.Addr() && !broadcast
}

// checkGateways checks the default routers.
func (n Network) checkGateways() error {
	seen := map[bool]bool{}
	for _, g := range n.Gateways {
		if !Host(g) {
			return fmt.Errorf("gateway %s: want a router's address", g)
		}
		if seen[g.Is6()] {
			return fmt.Errorf("gateway %s is the second one of its family", g)
		}
		seen[g.Is6()] = true
		if len(n.Static(g.Is6())) == 0 {
			return fmt.Errorf("gateway %s has no static address of its family beside it", g)
		}
		if slices.ContainsFunc(n.Addresses, func(p netip.Prefix) bool { return p.Addr() == g }) {
			return fmt.Errorf("gateway %s is this machine itself", g)
		}
	}
	return nil
}

// checkServers checks DNS servers and proxy.
func (n Network) checkServers() error {
	if len(n.DNS) > MaxDNS {
		return fmt.Errorf("%d DNS servers, at most %d are asked", len(n.DNS), MaxDNS)
	}
	for i, a := range n.DNS {
		if !Host(a) {
			return fmt.Errorf("dns %s: want a server's address", a)
		}
		if slices.Contains(n.DNS[:i], a) {
			return fmt.Errorf("dns %s stands twice", a)
		}
	}
	return checkProxy(n.Proxy)
}

// checkProxy checks that s is "http://host:port" and no more. Credentials would
// lie readable on every medium.
func checkProxy(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Hostname() == "" || strings.TrimSuffix(s, "/") != "http://"+u.Host {
		return fmt.Errorf("proxy: want http://host:port, without user or path") // not quoted: it may hold a password
	}
	if port, err := strconv.Atoi(u.Port()); err != nil || port < 1 || port > 65535 {
		return fmt.Errorf("proxy %q: want a port, 1 to 65535", s)
	}
	return nil
}
