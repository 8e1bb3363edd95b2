package cast

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// ParseGroup reads "239.255.0.1:7400": a multicast address of IPv4 with a port from
// 1024 on. Those of 224.0.0.0/24 belong to routers (RFC 5771, section 4).
func ParseGroup(s string) (netip.AddrPort, error) {
	group, err := netip.ParseAddrPort(s)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("group %q: want ADDRESS:PORT, as in 239.255.0.1:7400", s)
	}
	addr := group.Addr()
	switch {
	case !addr.Is4() || !addr.IsMulticast() || addr.IsLinkLocalMulticast():
		return netip.AddrPort{}, fmt.Errorf("group %q: want an address of 224.0.1.0 to 239.255.255.255; those of 239.255.0.0/16 are free to use", s)
	case group.Port() < 1024:
		return netip.AddrPort{}, fmt.Errorf("group %q: want a port from 1024 on", s)
	case group.String() != s:
		return netip.AddrPort{}, fmt.Errorf("group %q: write it as %s", s, group)
	}
	return group, nil
}

// Card returns the network card that has an address.
func Card(addr netip.Addr) (*net.Interface, error) {
	cards, err := net.Interfaces()
	for i := range cards {
		all, _ := cards[i].Addrs() // none of a card that has just gone
		for _, a := range all {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr() == addr {
				return &cards[i], nil
			}
		}
	}
	return nil, errors.Join(fmt.Errorf("no network card has the address %s", addr), err)
}

// Listen joins a group on a network card. socket is [Limits.Socket].
func Listen(group netip.AddrPort, card *net.Interface, socket int) (*net.UDPConn, error) {
	conn, err := net.ListenMulticastUDP("udp4", card, net.UDPAddrFromAddrPort(group))
	if err != nil {
		return nil, err
	}
	if err := enlarge(conn, socket); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// enlarge gives a socket room, beyond net.core.rmem_max where that may be had.
func enlarge(conn *net.UDPConn, socket int) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	failed := raw.Control(func(fd uintptr) {
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, socket) != nil { // for root only
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, socket)
		}
	})
	return errors.Join(failed, err)
}
