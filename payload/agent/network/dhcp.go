package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
)

// The exchange with a DHCP server: a question is repeated after 1, 2, 4 and 8 s,
// then the exchange begins anew. A switch that runs the spanning tree protocol
// says nothing for the first 30 s.
const (
	firstWait = time.Second
	questions = 4
)

// errSilence says that no DHCP server answered.
var errSilence = errors.New("no DHCP answer")

// dhcp asks the DHCP servers behind the interface once.
func dhcp(ctx context.Context, nic string, mac net.HardwareAddr) (Lease, error) {
	conn, err := nclient4.NewRawUDPConn(nic, nclient4.ClientPort)
	if err != nil {
		return Lease{}, err
	}
	return exchange(ctx, conn, mac)
}

// exchange has one DHCP exchange over conn and closes it.
func exchange(ctx context.Context, conn net.PacketConn, mac net.HardwareAddr) (lease Lease, err error) {
	defer func() {
		if p := recover(); p != nil {
			lease, err = Lease{}, fmt.Errorf("%w: %v", errParser, p)
		}
	}()
	client, err := nclient4.NewWithConn(guarded{conn}, mac, nclient4.WithTimeout(firstWait), nclient4.WithRetry(questions))
	if err != nil {
		conn.Close()
		return Lease{}, err
	}
	defer client.Close()
	answer, err := client.Request(ctx, dhcpv4.WithRequestedOptions(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter,
		dhcpv4.OptionDomainNameServer, dhcpv4.OptionInterfaceMTU))
	var nak *nclient4.ErrNak
	switch {
	case errors.Is(err, nclient4.ErrNoResponse):
		return Lease{}, errSilence
	case errors.As(err, &nak):
		return Lease{}, fmt.Errorf("the DHCP server takes its offer back: %q", nak.Nak.Message())
	case err != nil:
		return Lease{}, err
	}
	return newLease(answer.ACK)
}

// guarded is a connection that lets only packets through which the DHCP library
// can parse: it parses in a goroutine of its own, where nobody could recover it.
type guarded struct{ net.PacketConn }

// ReadFrom implements net.PacketConn. Bad packets are dropped.
func (g guarded) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, addr, err := g.read(p)
		if errors.Is(err, errParser) {
			continue
		}
		if err != nil {
			return n, addr, err
		}
		if _, err := parse(p[:n]); err == nil {
			return n, addr, nil
		}
	}
}

// read reads one packet. The library's IP and UDP parser may panic, too.
func (g guarded) read(p []byte) (n int, addr net.Addr, err error) {
	defer func() {
		if r := recover(); r != nil {
			n, addr, err = 0, nil, fmt.Errorf("%w: %v", errParser, r)
		}
	}()
	return g.PacketConn.ReadFrom(p)
}
