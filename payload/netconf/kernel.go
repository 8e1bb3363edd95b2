package netconf

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// ErrInexpressible is wrapped by the errors of [Use.Kernel].
var ErrInexpressible = errors.New("the parameter ip= cannot express this network")

// Use is the configuration that a machine runs with at this moment.
type Use struct {
	MAC       string // of the card; of a bond, its first member's
	VLAN      int
	Bonded    bool
	Addresses []netip.Prefix
	Gateways  []netip.Addr
	DNS       []netip.Addr
}

// Kernel returns parameters that give the next system the same network,
//
//	BOOTIF=01-52-54-00-12-34-56 ip=192.0.2.7::192.0.2.1:255.255.255.0:::none:192.0.2.53:
//
// as Documentation/admin-guide/nfs/nfsroot.rst has them. The card is named by
// BOOTIF, PXELINUX's way, and not in ip=: the next system may call it otherwise.
// initramfs-tools, dracut and live-boot read both. Without an IPv4 address it is
// the form of dracut.cmdline(7) for IPv6, addresses in brackets, which the
// kernel's own autoconfiguration does not know. VLANs and bonds have no form that
// all of them read.
func (u Use) Kernel() (string, error) {
	mac, err := net.ParseMAC(u.MAC)
	switch {
	case u.VLAN != 0:
		return "", fmt.Errorf("%w: VLAN %d", ErrInexpressible, u.VLAN)
	case u.Bonded:
		return "", fmt.Errorf("%w: a bond", ErrInexpressible)
	case err != nil:
		return "", fmt.Errorf("%w: %w", ErrInexpressible, err)
	}
	for _, v6 := range []bool{false, true} {
		n := Network{Addresses: u.Addresses, Gateways: u.Gateways}
		if static := n.Static(v6); len(static) > 0 {
			return fmt.Sprintf("BOOTIF=01-%s %s", strings.ReplaceAll(mac.String(), ":", "-"), u.ip(static[0], n.Gateway(v6))), nil
		}
	}
	return "", fmt.Errorf("%w: it has no address", ErrInexpressible)
}

// ip returns the parameter: client, server (none), gateway, netmask, host name
// (none), device (none), autoconfiguration, two DNS servers.
func (u Use) ip(address netip.Prefix, gateway netip.Addr) string {
	mask := fmt.Sprint(address.Bits())
	if address.Addr().Is4() {
		mask = net.IP(net.CIDRMask(address.Bits(), 32)).String()
	}
	dns := [2]string{}
	found := 0
	for _, a := range u.DNS {
		if a.Is6() == address.Addr().Is6() && a.Zone() == "" && found < len(dns) {
			dns[found] = bracket(a)
			found++
		}
	}
	return fmt.Sprintf("ip=%s::%s:%s:::none:%s:%s", bracket(address.Addr()), bracket(gateway), mask, dns[0], dns[1])
}

// bracket returns a's text, in brackets where it has colons, "" where there is none.
func bracket(a netip.Addr) string {
	switch {
	case !a.IsValid():
		return ""
	case a.Is6():
		return "[" + a.WithZone("").String() + "]"
	}
	return a.String()
}
