package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/farboot/farboot/payload/netconf"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"github.com/insomniacslk/dhcp/iana"
)

// infinite is how lifetimes, seconds in 32 bits, say for ever.
const infinite = math.MaxUint32 * time.Second

// errSilence6 says that a router promised DHCPv6 and nobody answered.
var errSilence6 = errors.New("no DHCPv6 answer")

// dhcp6 asks the DHCPv6 servers behind the interface: for addresses and DNS
// servers where managed, else for DNS servers alone (RFC 8415, section 6).
func dhcp6(ctx context.Context, nic string, mac net.HardwareAddr, held Lease, managed bool) (Lease, error) {
	conn, err := nclient6.NewIPv6UDPConn(nic, dhcpv6.DefaultClientPort)
	if err != nil {
		return Lease{}, err
	}
	return exchange6(ctx, conn, mac, held, managed)
}

// exchange6 has one DHCPv6 exchange over conn and closes it.
func exchange6(ctx context.Context, conn net.PacketConn, mac net.HardwareAddr, held Lease, managed bool) (lease Lease, err error) {
	defer func() {
		if p := recover(); p != nil {
			lease, err = Lease{}, fmt.Errorf("%w: %v", errParser, p)
		}
	}()
	client, err := nclient6.NewWithConn(guarded{conn, parse6}, mac, nclient6.WithTimeout(firstWait), nclient6.WithRetry(renewals))
	if err != nil {
		conn.Close()
		return Lease{}, err
	}
	defer client.Close()
	a := asker{ctx: ctx, client: client, mac: mac}
	if !managed {
		return a.ask(dhcpv6.MessageTypeInformationRequest, nil, dhcpv6.MessageTypeReply)
	}
	if held.reply != nil {
		if lease, err := a.ask(dhcpv6.MessageTypeRebind, held.reply, dhcpv6.MessageTypeReply); err == nil {
			return lease, nil
		}
	}
	lease, err = a.ask(dhcpv6.MessageTypeSolicit, nil, dhcpv6.MessageTypeAdvertise, dhcpv6.MessageTypeReply)
	if err != nil || lease.reply.MessageType == dhcpv6.MessageTypeReply {
		return lease, err
	}
	return a.ask(dhcpv6.MessageTypeRequest, lease.reply, dhcpv6.MessageTypeReply)
}

// asker is the client's side of one exchange.
type asker struct {
	ctx    context.Context
	client *nclient6.Client
	mac    net.HardwareAddr
}

// ask sends one question, which takes server and addresses up from what the
// server said before, and returns what the first useful answer gives.
func (a asker) ask(kind dhcpv6.MessageType, before *dhcpv6.Message, want ...dhcpv6.MessageType) (Lease, error) {
	// The DUID is made of the card's address alone (RFC 8415, section 11.4):
	// a machine that boots again is the same one.
	self := &dhcpv6.DUIDLL{HWType: iana.HWTypeEthernet, LinkLayerAddr: a.mac}
	q, err := dhcpv6.NewMessage(dhcpv6.WithClientID(self), dhcpv6.WithOption(dhcpv6.OptElapsedTime(0)),
		dhcpv6.WithRequestedOptions(dhcpv6.OptionDNSRecursiveNameServer))
	if err != nil {
		return Lease{}, err
	}
	q.MessageType = kind
	switch {
	case before != nil:
		if kind == dhcpv6.MessageTypeRequest {
			q.AddOption(dhcpv6.OptServerID(before.Options.ServerID()))
		}
		for _, ia := range before.Options.IANA() {
			q.AddOption(ia)
		}
	case kind == dhcpv6.MessageTypeSolicit:
		dhcpv6.WithRapidCommit(q)
		q.AddOption(&dhcpv6.OptIANA{IaId: [4]byte(a.mac[len(a.mac)-4:])})
	}
	var lease Lease
	useful := func(m *dhcpv6.Message) bool {
		if !nclient6.IsMessageType(want[0], want...)(m) || m.Options.ServerID() == nil ||
			m.Options.ClientID() == nil || !bytes.Equal(m.Options.ClientID().ToBytes(), self.ToBytes()) {
			return false
		}
		lease = newLease6(m)
		return len(lease.Addresses) > 0 || kind == dhcpv6.MessageTypeInformationRequest
	}
	if _, err = a.client.SendAndRead(a.ctx, nclient6.AllDHCPRelayAgentsAndServers, q, useful); errors.Is(err, nclient6.ErrNoResponse) {
		err = errSilence6
	}
	if err != nil {
		return Lease{}, err
	}
	return lease, nil
}

// newLease6 takes from a server's answer what is sane. DHCPv6 gives addresses
// without a prefix: what is on the link, routers say.
func newLease6(m *dhcpv6.Message) Lease {
	l := Lease{reply: m}
	for _, ia := range m.Options.IANA() {
		for _, a := range ia.Options.Addresses() {
			addr, ok := host6(a.IPv6Addr)
			if !ok || addr.IsLinkLocalUnicast() || a.ValidLifetime == 0 || len(l.Addresses) == netconf.MaxAddresses {
				continue
			}
			l.Addresses = append(l.Addresses, netip.PrefixFrom(addr, 128))
			if d := max(a.ValidLifetime, minTime); d < infinite && (l.Time == 0 || d < l.Time) {
				l.Time = d
			}
		}
	}
	for _, ip := range m.Options.DNS() {
		if dns, ok := host6(ip); ok && len(l.DNS) < maxDNS {
			l.DNS = append(l.DNS, dns)
		}
	}
	return l
}

// host6 returns ip if one host can have it.
func host6(ip net.IP) (netip.Addr, bool) {
	addr, ok := netip.AddrFromSlice(ip)
	return addr, ok && addr.Is6() && netconf.Host(addr)
}

// parse6 tells whether the library can parse the packet.
func parse6(packet []byte) error {
	_, err := dhcpv6.MessageFromBytes(packet)
	return err
}
