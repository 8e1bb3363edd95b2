package cast

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/cast"
)

// Wire is the way to a group.
type Wire struct {
	// NIC is the network card that is used, Address this machine's on it, and Speed
	// what the card says of itself in bits per second, 0 where it says nothing.
	NIC     string
	Address netip.Addr
	Speed   int64

	conn  net.PacketConn
	batch *ipv4.PacketConn
	group net.Addr
}

// Dial opens the way to a group, on a network card or, without a name, on the one that
// the route to the group leads to. ttl is how many networks packets may enter: 1 is this
// one, more are for routers that forward multicast.
func Dial(group netip.AddrPort, nic string, ttl int) (*Wire, error) {
	card, addr, err := choose(group, nic)
	if err != nil {
		return nil, err
	}
	conn, err := net.ListenPacket("udp4", netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return nil, err
	}
	w := &Wire{NIC: card.Name, Address: addr, Speed: speed(card.Name), conn: conn, batch: ipv4.NewPacketConn(conn), group: net.UDPAddrFromAddrPort(group)}
	if err := cmp.Or(w.batch.SetMulticastInterface(card), w.batch.SetMulticastTTL(ttl)); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", card.Name, err), conn.Close())
	}
	return w, nil
}

// choose returns the card, and the address on it, by which a group is reached.
func choose(group netip.AddrPort, nic string) (*net.Interface, netip.Addr, error) {
	none := netip.Addr{}
	if nic == "" {
		conn, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(group)) // which sends nothing
		if err != nil {
			return nil, none, fmt.Errorf("no route to %s; name the network card: %w", group.Addr(), err)
		}
		addr := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr()
		conn.Close()
		card, err := cast.Card(addr)
		return card, addr, err
	}
	card, err := net.InterfaceByName(nic)
	if err != nil {
		return nil, none, fmt.Errorf("%s: %w", nic, err)
	}
	all, err := card.Addrs()
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is4() {
			return card, prefix.Addr(), nil
		}
	}
	return nil, none, errors.Join(fmt.Errorf("%s has no IPv4 address", nic), err)
}

// speed returns what a card says of its speed, as of the kernel's
// Documentation/ABI/testing/sysfs-class-net.
func speed(nic string) int64 {
	text, err := os.ReadFile("/sys/class/net/" + nic + "/speed")
	n, bad := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 32)
	if err != nil || bad != nil || n < 0 {
		return 0
	}
	return n * 1e6
}

// Send implements Config.Send, by one system call for most batches.
func (w *Wire) Send(packets [][]byte) error {
	messages := make([]ipv4.Message, len(packets))
	for i, p := range packets {
		messages[i] = ipv4.Message{Buffers: [][]byte{p}, Addr: w.group}
	}
	for len(messages) > 0 {
		n, err := w.batch.WriteBatch(messages, 0)
		switch {
		case errors.Is(err, unix.ENOBUFS): // the card's queue is full
			time.Sleep(time.Millisecond)
		case err != nil:
			return err
		}
		messages = messages[max(n, 0):]
	}
	return nil
}

// Close closes the way.
func (w *Wire) Close() error { return w.conn.Close() }
