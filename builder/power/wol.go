package power

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
)

// wol wakes a machine by a magic packet (AMD publication 20213): six bytes FF and
// sixteen times the card's address. Nothing answers, so that success says no more
// than that the packet was sent.
type wol struct {
	Config
	card net.HardwareAddr
}

func newWOL(c Config) (*wol, error) {
	card, err := net.ParseMAC(c.MAC)
	if err != nil {
		return nil, fmt.Errorf("%w: wol: %w", ErrUnsupported, err)
	}
	return &wol{c, card}, nil
}

// State implements [Driver]; there is nobody to ask.
func (w *wol) State(context.Context) (State, error) {
	return "", fmt.Errorf("%w: wol cannot tell whether a machine is on", ErrUnsupported)
}

// Do implements [Driver]; on is all that there is.
func (w *wol) Do(ctx context.Context, a Action) error {
	if a != On {
		return fmt.Errorf("%w: wol can switch on, and nothing else", ErrUnsupported)
	}
	// Go lets UDP sockets broadcast.
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp4", withPort(cmp.Or(w.Address, "255.255.255.255"), "9"))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDead, err)
	}
	defer conn.Close()
	packet := append(bytes.Repeat([]byte{0xff}, 6), bytes.Repeat(w.card, 16)...)
	for range 3 { // nobody says that one is lost
		if _, err := conn.Write(packet); err != nil {
			return fmt.Errorf("%w: %w", ErrDead, err)
		}
	}
	return nil
}

// BootNext implements [Driver]; there is nobody to tell.
func (w *wol) BootNext(context.Context, Device) error {
	return fmt.Errorf("%w: wol cannot say what a machine starts from", ErrUnsupported)
}
