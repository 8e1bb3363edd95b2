package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ICMPv6 types (RFC 4861, sections 4.1 and 4.2).
const (
	icmpSolicit = 133
	icmpAdvert  = 134
)

var (
	// errNoRouter says that no router announced itself.
	errNoRouter = errors.New("no router advertisement")
	// errNoAddress says that one did, and gave nothing.
	errNoAddress = errors.New("the IPv6 router announces no prefix for addresses, and no DHCPv6")
)

// auto asks the routers behind the interface, and where they say so DHCPv6
// servers, for IPv6 addresses. The kernel could do the first (accept_ra), but it
// would give addresses to all cards at once, and tell nobody of DNS servers.
func auto(ctx context.Context, nic string, mac net.HardwareAddr, held Lease) (Lease, error) {
	if len(mac) != 6 {
		return Lease{}, fmt.Errorf("address %q is no Ethernet card's", mac)
	}
	if err := waitLinkLocal(ctx, nic); err != nil {
		return Lease{}, err
	}
	a, router, err := solicit(ctx, nic, mac)
	if err != nil {
		return Lease{}, err
	}
	l := a.lease(router, mac)
	if a.managed || a.other && len(l.DNS) == 0 {
		d, err := dhcp6(ctx, nic, mac, held, a.managed)
		if err != nil && len(l.Addresses) == 0 {
			return Lease{}, err
		}
		l.Addresses = append(l.Addresses, d.Addresses...)
		l.DNS = append(l.DNS, d.DNS...)[:min(len(l.DNS)+len(d.DNS), maxDNS)]
		l.Time, l.reply = d.Time, d.reply
	}
	if len(l.Addresses) == 0 {
		return Lease{}, errNoAddress
	}
	return l, nil
}

// solicit asks for routers, again after 1, 2, 4 and 8 s, and returns the first
// advertisement that can be used.
func solicit(ctx context.Context, nic string, mac net.HardwareAddr) (advert, netip.Addr, error) {
	conn, err := listenAdverts(ctx, nic)
	if err != nil {
		return advert{}, netip.Addr{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Now()) })()
	routers := &net.IPAddr{IP: net.IPv6linklocalallrouters, Zone: nic}
	question := append([]byte{icmpSolicit, 0, 0, 0, 0, 0, 0, 0, 1, 1}, mac...) // source link-layer address
	for wait := firstWait; wait < firstWait<<questions && ctx.Err() == nil; wait *= 2 {
		if _, err := conn.WriteTo(question, routers); err != nil {
			return advert{}, netip.Addr{}, err
		}
		conn.SetReadDeadline(time.Now().Add(wait))
		a, router, err := readAdvert(conn)
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			return a, router, err
		}
	}
	return advert{}, netip.Addr{}, errNoRouter
}

// listenAdverts opens a socket that hears the interface's router advertisements.
func listenAdverts(ctx context.Context, nic string) (*net.IPConn, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) (err error) {
		only := unix.ICMPv6Filter{} // a set bit blocks that type
		for i := range only.Data {
			only.Data[i] = ^uint32(0)
		}
		only.Data[icmpAdvert>>5] &^= 1 << (icmpAdvert & 31)
		outer := c.Control(func(fd uintptr) {
			err = errors.Join(
				unix.BindToDevice(int(fd), nic),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1),
				unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255),
				unix.SetsockoptICMPv6Filter(int(fd), unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &only))
		})
		return errors.Join(outer, err)
	}}
	conn, err := lc.ListenPacket(ctx, "ip6:ipv6-icmp", "::")
	if err != nil {
		return nil, err
	}
	return conn.(*net.IPConn), nil
}

// readAdvert returns the first advertisement that comes from a router of the
// link itself (RFC 4861, section 6.1.2) and gives or promises something.
func readAdvert(conn *net.IPConn) (advert, netip.Addr, error) {
	var packet [1500]byte
	var oob [128]byte
	for {
		n, oobn, _, from, err := conn.ReadMsgIP(packet[:], oob[:])
		if err != nil {
			return advert{}, netip.Addr{}, err
		}
		router, _ := netip.AddrFromSlice(from.IP)
		if !router.IsLinkLocalUnicast() || hopLimit(oob[:oobn]) != 255 {
			continue
		}
		if a, err := parseAdvert(packet[:n]); err == nil && (a.router || len(a.prefixes) > 0) {
			return a, router, nil
		}
	}
}

// hopLimit returns the packet's. One of 255 was forwarded by nobody.
func hopLimit(oob []byte) int {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return -1
	}
	for _, m := range messages {
		if m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 1 {
			return int(m.Data[0]) // little endian; every farboot machine is
		}
	}
	return -1
}
