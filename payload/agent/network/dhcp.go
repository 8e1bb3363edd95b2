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
// says nothing for the first 30 s. A renewal is asked for twice, after which the
// servers are asked from the start: the network may be another one by now.
const (
	firstWait = time.Second
	questions = 4
	renewals  = 2
)

// errSilence says that no DHCP server answered.
var errSilence = errors.New("no DHCP answer")

// dhcp asks the DHCP servers behind the interface once, for held where there is
// a lease already.
func dhcp(ctx context.Context, nic string, mac net.HardwareAddr, held Lease) (Lease, error) {
	if held.ack != nil {
		conn, err := nclient4.NewRawUDPConn(nic, nclient4.ClientPort)
		if err != nil {
			return Lease{}, err
		}
		if lease, err := exchange(ctx, conn, mac, held); err == nil {
			return lease, nil
		}
	}
	conn, err := nclient4.NewRawUDPConn(nic, nclient4.ClientPort)
	if err != nil {
		return Lease{}, err
	}
	return exchange(ctx, conn, mac, Lease{})
}

// exchange has one DHCP exchange over conn and closes it.
func exchange(ctx context.Context, conn net.PacketConn, mac net.HardwareAddr, held Lease) (lease Lease, err error) {
	defer func() {
		if p := recover(); p != nil {
			lease, err = Lease{}, fmt.Errorf("%w: %v", errParser, p)
		}
	}()
	retry := questions
	if held.ack != nil {
		retry = renewals
	}
	client, err := nclient4.NewWithConn(guarded{conn, parse4}, mac, nclient4.WithTimeout(firstWait), nclient4.WithRetry(retry))
	if err != nil {
		conn.Close()
		return Lease{}, err
	}
	defer client.Close()
	wishes := dhcpv4.WithRequestedOptions(
		dhcpv4.OptionSubnetMask, dhcpv4.OptionClasslessStaticRoute, dhcpv4.OptionRouter,
		dhcpv4.OptionDomainNameServer, dhcpv4.OptionInterfaceMTU)
	var answer *nclient4.Lease
	if held.ack != nil {
		answer, err = client.Renew(ctx, held.ack, wishes)
	} else {
		answer, err = client.Request(ctx, wishes)
	}
	var nak *nclient4.ErrNak
	switch {
	case errors.Is(err, nclient4.ErrNoResponse):
		return Lease{}, errSilence
	case errors.As(err, &nak):
		return Lease{}, fmt.Errorf("the DHCP server takes its offer back: %q", nak.Nak.Message())
	case err != nil:
		return Lease{}, err
	}
	lease, err = newLease(answer.ACK)
	if err == nil {
		lease.ack = answer
	}
	return lease, err
}

// parse4 tells whether the library can parse the packet.
func parse4(packet []byte) error {
	_, err := dhcpv4.FromBytes(packet)
	return err
}
