package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"

	"github.com/farboot/farboot/payload/cast"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/report"
)

// receive lets an image come by multicast, where the entry says that somebody may cast
// it. end is told what has become of the flash. Where the group cannot be joined the
// image comes by HTTP alone, as it does of sites that nobody casts.
func (b *boot) receive(ctx context.Context, j job, to *flash.Job) (end func(error), err error) {
	end = func(error) {}
	x := j.entry.Flash
	if x.Cast == nil {
		return end, nil
	}
	table, err := b.seekTable(ctx, j, to)
	if err != nil {
		return end, err
	}
	image, err := cast.NewImage(to.Index, table, x.Image)
	if err != nil {
		return end, fmt.Errorf("%w: %w", flash.ErrImage, err)
	}
	limits := b.castLimits(to.Index.Max)
	conn, err := joinGroup(j, limits.Socket)
	if err != nil {
		b.Log("flash: cast %s: %v; the image comes by HTTP alone", x.Cast.Group, err)
		return end, nil
	}
	client := fetch.New(b.limits.Objects) // no proxy leads to who casts
	r := cast.New(cast.Config{
		Image: image, Read: conn.ReadFromUDPAddrPort, Sites: b.mirrors, Limits: limits,
		Machine: report.Of(b.Identity()).ID(), Log: to.Log,
		Post: func(ctx context.Context, url string, body []byte) error {
			return client.Post(ctx, url, "application/json", body)
		},
	})
	to.Receive = r.Receive
	b.Log("flash: listening to %s", x.Cast.Group)
	return func(why error) {
		s := r.Stats()
		b.Log("flash: %d chunks by the cast, %d by HTTP alone, %s of them repaired by HTTP", s.Cast, s.Fetched, size(s.Repaired))
		r.Close(why)
		conn.Close()
		client.Close()
	}, nil
}

// seekTable fetches the seek table of a flash entry's image.
func (b *boot) seekTable(ctx context.Context, j job, to *flash.Job) (chunks.Table, error) {
	ref := j.entry.Flash.Cast.Table
	if ref.Size != chunks.TableSize(to.Index) {
		return nil, fmt.Errorf("%w: a seek table of %d bytes, want %d", flash.ErrImage, ref.Size, chunks.TableSize(to.Index))
	}
	f, err := b.download(ctx, j, "seek table", ref)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, ref.Size))
	if err != nil {
		return nil, err
	}
	table, err := chunks.DecodeTable(data, to.Index)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", flash.ErrImage, err)
	}
	return table, nil
}

// castLimits are those of package cast, and less where memory is short: of what is free
// an eighth may hold chunks, and another one what the kernel has.
func (b *boot) castLimits(chunk int64) cast.Limits {
	l := cast.DefaultLimits()
	if free := b.Available(); free >= 0 {
		l.Memory = min(l.Memory, max(free/8, 2*chunks.MaxPacked(chunk)))
		l.Socket = int(min(int64(l.Socket), max(free/8, 1<<20)))
	}
	return l
}

// joinGroup joins the group of a flash entry, on the card by which the machine is in the
// network.
func joinGroup(j job, socket int) (*net.UDPConn, error) {
	group, err := cast.ParseGroup(j.entry.Flash.Cast.Group)
	if err != nil {
		return nil, err
	}
	var own netip.Addr
	for _, prefix := range j.net.Use().Addresses {
		if addr := prefix.Addr(); addr.Is4() && !own.IsValid() {
			own = addr
		}
	}
	if !own.IsValid() {
		return nil, errors.New("this machine has no IPv4 address")
	}
	card, err := cast.Card(own)
	if err != nil {
		return nil, err
	}
	return cast.Listen(group, card, socket)
}
