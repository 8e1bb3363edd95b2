package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// kernel is what is asked of the running kernel; tests put their own in.
type kernel struct {
	up, down func(nic string) error
	remove   func(nic string) error // an interface that was made
	join     func(bond, mode, card string) error
	vlan     func(card string, id, mtu int) error
	bridge   func(bridge, port string, mac net.HardwareAddr) error
	mtu      func(nic string, mtu int) error
	clear    func(nic string, f family, but []netip.Prefix) error
	apply    func(nic string, l Lease) error
	settle   func(ctx context.Context, nic string) error
	route    func(nic string, r Route) error
	dhcp     func(ctx context.Context, nic string, mac net.HardwareAddr, held Lease) (Lease, error)
	auto     func(ctx context.Context, nic string, mac net.HardwareAddr, held Lease) (Lease, error)
	resolv   func(nic string, dns []netip.Addr) error
}

// realKernel is the running one.
func realKernel() kernel {
	return kernel{
		up: up, down: down, remove: remove, join: join, vlan: addVLAN, bridge: addBridge, mtu: setMTU, clear: unconfigure,
		apply: apply, settle: settle, route: addRoute, dhcp: dhcp, auto: auto, resolv: writeResolvConf,
	}
}

// up switches the interface on. The kernel does not take IPv6 addresses from
// routers by itself then, see auto.
func up(nic string) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", nic, "accept_ra"), []byte("0\n"), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without IPv6 has none
		return err
	}
	return netlink.LinkSetUp(link)
}

// down switches the interface off, which stops its card from writing to memory. One
// that is gone, such as the card of a machine that has ended, is off.
func down(nic string) error {
	link, err := netlink.LinkByName(nic)
	if _, gone := errors.AsType[netlink.LinkNotFoundError](err); gone {
		return nil
	}
	if err != nil {
		return err
	}
	return netlink.LinkSetDown(link)
}

// apply gives the interface the lease's addresses and MTU.
func apply(nic string, l Lease) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	// A router's MTU is about IPv6 and only ever less than the card's.
	if l.MTU != 0 && (l.Addresses[0].Addr().Is4() || l.MTU < link.Attrs().MTU) {
		_ = netlink.LinkSetMTU(link, l.MTU) // a card that cannot keeps its own
	}
	for _, a := range l.Addresses {
		if err := netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(a)}); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	return nil
}

// addRoute adds one of the lease's routes.
func addRoute(nic string, r Route) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	route := netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: ipNet(r.Destination), Scope: netlink.SCOPE_LINK, Protocol: unix.RTPROT_BOOT,
	}
	if r.Gateway.IsValid() {
		// Some providers put the router outside the subnet.
		route.Scope, route.Gw, route.Flags = netlink.SCOPE_UNIVERSE, r.Gateway.AsSlice(), int(netlink.FLAG_ONLINK)
	}
	return netlink.RouteReplace(&route)
}

// unconfigure takes addRoute's routes and all addresses of the family from the
// interface, but for those that are to stay and the link-local one of IPv6.
func unconfigure(nic string, f family, but []netip.Prefix) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	number := [families]int{netlink.FAMILY_V4, netlink.FAMILY_V6}[f]
	routes, err := netlink.RouteListFiltered(number,
		&netlink.Route{LinkIndex: link.Attrs().Index, Protocol: unix.RTPROT_BOOT}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_PROTOCOL)
	for _, r := range routes {
		err = errors.Join(err, netlink.RouteDel(&r))
	}
	addrs, listed := netlink.AddrList(link, number)
	err = errors.Join(err, listed)
	for _, a := range addrs {
		stays := slices.ContainsFunc(but, func(p netip.Prefix) bool { return ipNet(p).String() == a.IPNet.String() })
		if !stays && (f == ipv4 || !a.IP.IsLinkLocalUnicast()) {
			err = errors.Join(err, netlink.AddrDel(link, &a))
		}
	}
	return err
}

// The search for other machines with the same address takes the kernel 1 s, and
// up to 1 s of random delay before (RFC 4862, section 5.4.2).
const (
	settleLimit = 5 * time.Second
	settleLook  = 20 * time.Millisecond
)

// settle returns once all IPv6 addresses of the interface are known to be its
// own. An error says which one is another machine's.
func settle(ctx context.Context, nic string) error {
	return waitAddresses(ctx, nic, func(net.IP) bool { return true })
}

// waitLinkLocal returns once the interface has its link-local IPv6 address.
func waitLinkLocal(ctx context.Context, nic string) error {
	return waitAddresses(ctx, nic, net.IP.IsLinkLocalUnicast)
}

// waitAddresses returns once the interface has an IPv6 address that is wanted,
// and none that is still tentative.
func waitAddresses(ctx context.Context, nic string, wanted func(net.IP) bool) error {
	for start := time.Now(); ctx.Err() == nil && time.Since(start) < settleLimit; pause(ctx, settleLook) {
		link, err := netlink.LinkByName(nic)
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		found, tentative := false, false
		for _, a := range addrs {
			if !wanted(a.IP) {
				continue
			}
			if a.Flags&unix.IFA_F_DADFAILED != 0 {
				return fmt.Errorf("another machine has the address %s", a.IP)
			}
			found, tentative = true, tentative || a.Flags&unix.IFA_F_TENTATIVE != 0
		}
		if found && !tentative {
			return nil
		}
	}
	return errors.Join(ctx.Err(), errors.New("the kernel takes no IPv6 address"))
}

// ipNet converts p.
func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// resolvConf returns the text that Go's resolver reads. Two tries of 3 s leave
// time for the next server within any connection's limit. A link-local server
// is one of the interface's.
func resolvConf(nic string, servers []netip.Addr) string {
	var b strings.Builder
	for _, s := range servers {
		if s.Is6() && s.IsLinkLocalUnicast() {
			s = s.WithZone(nic)
		}
		fmt.Fprintf(&b, "nameserver %s\n", s)
	}
	b.WriteString("options timeout:3 attempts:2\n")
	return b.String()
}

// writeResolvConf replaces the file in one step: the resolver may be reading it.
func writeResolvConf(nic string, servers []netip.Addr) error {
	const name = "/etc/resolv.conf"
	if err := os.MkdirAll("/etc", 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", []byte(resolvConf(nic, servers)), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
