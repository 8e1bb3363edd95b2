package boot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"

	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
)

// line is the network of one round. What the stick or the machine's record says
// may take the place of what it began with.
type line struct{ Network }

// open takes networks up, and gives those before up.
func (b *boot) open(ctx context.Context, l *line, networks []netconf.Network) {
	if l.Network != nil {
		l.Close()
	}
	l.Network = b.Network(ctx, b.limits.Network, networks...)
}

// next gives the machine the line's next network.
func (b *boot) next(ctx context.Context, l *line) error {
	end := b.Story.Stage("network")
	_, lease, err := l.Next(ctx)
	end()
	if err != nil {
		return err
	}
	b.reached(lease)
	return nil
}

// connected takes a network up, or returns nil where none can be had.
func (b *boot) connected(ctx context.Context) *line {
	l := new(line)
	b.open(ctx, l, b.networks())
	if err := b.next(ctx, l); err != nil {
		b.fail("network", err)
		l.Close()
		return nil
	}
	return l
}

// reached asks by the network that the machine has now. Connections of the one
// before lead nowhere.
func (b *boot) reached(lease network.Lease) {
	if proxy := cmp.Or(lease.Proxy, b.medium.Proxy); proxy != b.proxy {
		b.connect(proxy)
	}
	b.documents.Close()
	b.objects.Close()
}

// networks lists what is to be tried in this round: what the stick says, and as
// the second try what the medium was built with. Both at once where that can be;
// otherwise, since a card belongs to one bond only, in turns.
func (b *boot) networks() []netconf.Network {
	own := b.medium.Networks
	if len(b.stick) == 0 {
		return own
	}
	if len(own) == 0 {
		own = []netconf.Network{{}}
	}
	both := slices.Clone(b.stick)
	for _, n := range own {
		if !slices.ContainsFunc(both, same(n)) {
			both = append(both, n)
		}
	}
	bonds := slices.ContainsFunc(both, func(n netconf.Network) bool { return n.Bond != nil })
	switch {
	case !bonds && netconf.Check(both) == nil:
		return both
	case b.rounds%2 == 0:
		return own
	}
	return b.stick
}

// same returns whether a network is n.
func same(n netconf.Network) func(netconf.Network) bool {
	return func(m netconf.Network) bool { return reflect.DeepEqual(n, m) }
}

// readStick reads the networks in the file of the stick, once. It tells whether
// there are any. They say how to reach a site, and what is reached has to be
// signed all the same.
func (b *boot) readStick() bool {
	if b.stickRead {
		return false
	}
	data, from, err := b.ReadFile(netconf.File, netconf.MaxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return false // so far: a stick may come late
	}
	b.stickRead = true
	if err == nil {
		b.stick, err = netconf.Decode(data)
	}
	if err != nil {
		b.fail("network", fmt.Errorf("%w, those of the medium are used: %s: %s: %w", errNetworks, from, netconf.File, err))
		return false
	}
	b.Log("network: %d from %s on %s", len(b.stick), netconf.File, from)
	return len(b.stick) > 0
}

// adopt takes up the networks of the machine's record, unless one of them is in
// use. Where that fails, and in every second round, since they may lead nowhere,
// the machine stays on the line that led to the manifest.
func (b *boot) adopt(ctx context.Context, l *line, m manifest.Machine) error {
	if len(m.Networks) == 0 || b.rounds%2 == 0 || slices.ContainsFunc(m.Networks, same(l.Conf())) {
		return nil
	}
	b.Log("network: the record of this machine has its own, %d of them", len(m.Networks))
	b.open(ctx, l, m.Networks)
	err := b.next(ctx, l)
	if err == nil {
		return nil
	}
	b.fail("network", fmt.Errorf("as the record of this machine says: %w", err))
	b.open(ctx, l, b.networks())
	return b.next(ctx, l)
}
