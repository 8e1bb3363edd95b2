package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// up switches the interface on.
func up(nic string) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// down switches the interface off, which stops its card from writing to memory.
func down(nic string) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	return netlink.LinkSetDown(link)
}

// apply gives the interface the lease's address and MTU.
func apply(nic string, l Lease) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	if l.MTU != 0 {
		_ = netlink.LinkSetMTU(link, l.MTU) // a card that cannot keeps its own
	}
	if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(l.Address)}); err != nil {
		return fmt.Errorf("address %s: %w", l.Address, err)
	}
	return nil
}

// addRoute adds one of the lease's routes.
func addRoute(nic string, r Route) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	route := netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(r.Destination), Scope: netlink.SCOPE_LINK}
	if r.Gateway.IsValid() {
		// Some providers put the router outside the subnet.
		route.Scope, route.Gw, route.Flags = netlink.SCOPE_UNIVERSE, r.Gateway.AsSlice(), int(netlink.FLAG_ONLINK)
	}
	return netlink.RouteReplace(&route)
}

// unconfigure takes all IPv4 addresses, and with them the routes, from the interface.
func unconfigure(nic string) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	addrs, err := netlink.AddrList(link, netlink.FAMILY_V4)
	for _, a := range addrs {
		err = errors.Join(err, netlink.AddrDel(link, &a))
	}
	return err
}

// ipNet converts p.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)}
}

// resolvConf returns the text that Go's resolver reads. Two tries of 3 s leave
// time for the next server within any connection's limit.
func resolvConf(servers []netip.Addr) string {
	var b strings.Builder
	for _, s := range servers {
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	b.WriteString("options timeout:3 attempts:2\n")
	return b.String()
}

// writeResolvConf replaces the file in one step: the resolver may be reading it.
func writeResolvConf(servers []netip.Addr) error {
	const name = "/etc/resolv.conf"
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", []byte(resolvConf(servers)), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
