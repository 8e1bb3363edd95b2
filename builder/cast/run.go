package cast

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/farboot/farboot/builder/site"
)

// Options say how a [Source] is cast. The zero value needs a TTL.
type Options struct {
	// NIC is the network card; empty is the one that the route leads to. TTL is as of
	// [Dial].
	NIC string
	TTL int
	// Rate is in bits per second; 0 learns what the room takes, up to 60 % of what
	// the card says of itself, or else of 1 Gbit/s.
	Rate int64
	// Listen is where reports are taken; empty is the group's port at the card's
	// address.
	Listen string
	// The others are as in [Config].
	Machines int
	Wait     time.Duration
	Limits   Limits
	Log      func(format string, args ...any)
	Progress func(Room)
}

// Cast casts an image, as [Sender.Run] does.
func Cast(ctx context.Context, src *Source, o Options) (Room, error) {
	wire, err := Dial(src.Group, o.NIC, o.TTL)
	if err != nil {
		return Room{}, fmt.Errorf("cast: %w", err)
	}
	defer wire.Close()
	if o.Listen == "" {
		o.Listen = netip.AddrPortFrom(wire.Address, src.Group.Port()).String()
	}
	ln, err := net.Listen("tcp4", o.Listen)
	if err != nil {
		return Room{}, fmt.Errorf("cast: for reports: %w", err)
	}
	c := Config{
		Image: src.Image, File: src.file, Send: wire.Send, Rate: o.Rate, Port: uint16(ln.Addr().(*net.TCPAddr).Port),
		Machines: o.Machines, Wait: o.Wait, Limits: o.Limits, Log: o.Log, Progress: o.Progress,
	}
	if c.Rate == 0 {
		c.Learn, c.Rate = true, wire.Speed*6/10
		if wire.Speed == 0 {
			c.Rate = 600e6
		}
	}
	s := New(c)
	s.config.Log("%s goes to %s from %s (%s), at up to %d Mbit/s; reports come to %s", src.Name, src.Group, wire.Address, wire.NIC, c.Rate/1e6, ln.Addr())
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := site.ServeHandler(ctx, ln, s); err != nil {
			cancel(fmt.Errorf("cast: for reports: %w", err))
		}
	}()
	room, err := s.Run(ctx)
	if cause := context.Cause(ctx); cause != nil && errors.Is(err, context.Canceled) {
		err = cause
	}
	cancel(nil)
	<-served
	return room, err
}
