package network

import (
	"errors"
	"fmt"
	"net"
)

// errParser says that the DHCP library panicked over a packet.
var errParser = errors.New("the packet breaks the DHCP parser")

// guarded is a connection that lets only packets through which the DHCP library
// can parse: it parses in a goroutine of its own, where nobody could recover it,
// and it has had panics (GO-2026-6237).
type guarded struct {
	net.PacketConn
	parse func(packet []byte) error
}

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
		if safely(g.parse, p[:n]) == nil {
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

// safely parses one packet. A panic becomes an error: an unrecovered one would
// end PID 1.
func safely(parse func([]byte) error, packet []byte) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", errParser, p)
		}
	}()
	return parse(packet)
}
