package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/hardware"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/netconf"
)

// family is an index: what is asked for and had once for each.
type family int

const (
	ipv4 family = iota
	ipv6
	families
)

// link is one network on one card or bond, and what is known of its fate. All
// but the first block is guarded by [Network.mu].
type link struct {
	conf   netconf.Network
	order  int    // of conf in the list
	card   string // or the bond, below nic
	nic    string // has the addresses: card, or a VLAN on it, or a bridge over that
	port   string // what the bridge is over; "" where there is none
	mac    net.HardwareAddr
	driver string

	carrier bool
	members []hardware.NIC // the cards
	asking  bool           // questions are being asked
	leases  [families]Lease
	since   time.Time // a lease is there
	tried   bool
	why     string           // none of the families has a lease
	whys    [families]string // this one has none; "" where it is not asked for
}

// ready tells whether the link can be used and was not yet.
func (l *link) ready() bool { return l.carrier && !l.tried && l.leased() }

// hopes tells whether the link may become ready.
func (l *link) hopes() bool { return l.carrier && !l.tried && !l.leased() }

func (l *link) leased() bool {
	return len(l.leases[ipv4].Addresses) > 0 || len(l.leases[ipv6].Addresses) > 0
}

// state tells people why the link is not in use.
func (l *link) state() string {
	if l.why != "" {
		return l.why
	}
	return strings.Join(slices.DeleteFunc(slices.Clone(l.whys[:]), func(s string) bool { return s == "" }), ", ")
}

// discover starts what each card is for as it appears.
func (n *Network) discover(ctx context.Context) {
	known := map[string]bool{}
	for ctx.Err() == nil {
		for _, nic := range hardware.NICs(n.sysfs, known) {
			known[nic.Name] = true
			n.mu.Lock()
			n.cards = append(n.cards, nic)
			started := n.assign(nic)
			n.mu.Unlock()
			for _, l := range started {
				n.background(nic.Name, l, func() { n.attend(ctx, l, nic) })
			}
		}
		pause(ctx, n.limits.Look)
	}
}

// assign makes the card a member of the first bond that claims it, or else a
// link of each network that names it, and returns the links to attend to.
func (n *Network) assign(nic hardware.NIC) []*link {
	for order, conf := range n.networks {
		if conf.Bond == nil || !slices.ContainsFunc(conf.Bond.Members, matches(nic)) {
			continue
		}
		i := slices.IndexFunc(n.links, func(l *link) bool { return l.order == order })
		if i < 0 {
			i = len(n.links)
			n.links = append(n.links, newLink(conf, order, fmt.Sprintf("farbond%d", order), nic))
		}
		n.links[i].members = append(n.links[i].members, nic)
		return n.links[i : i+1]
	}
	var started []*link
	for order, conf := range n.networks {
		if conf.Bond == nil && matches(nic)(conf.Card) {
			l := newLink(conf, order, nic.Name, nic)
			l.members = []hardware.NIC{nic}
			started = append(started, l)
		}
	}
	n.links = append(n.links, started...)
	return started
}

// matches returns whether a card is meant.
func matches(nic hardware.NIC) func(netconf.Card) bool {
	return func(c netconf.Card) bool { return c.Match(nic.MAC, nic.Driver, nic.Name) }
}

func newLink(conf netconf.Network, order int, card string, nic hardware.NIC) *link {
	l := &link{conf: conf, order: order, card: card, nic: card, driver: nic.Driver, why: "coming up"}
	l.mac, _ = net.ParseMAC(nic.MAC) // sysfs shows it so; without one each question fails
	if conf.VLAN != 0 {
		l.nic = vlanName(card, conf.VLAN)
	}
	if conf.Bridge != "" {
		l.port, l.nic = l.nic, conf.Bridge
	}
	return l
}

// made lists the interfaces that are no cards but were made, the upper one first.
func (l *link) made() []string {
	var names []string
	if l.conf.Bridge != "" {
		names = append(names, l.nic)
	}
	if l.conf.VLAN != 0 {
		names = append(names, vlanName(l.card, l.conf.VLAN))
	}
	if l.conf.Bond != nil {
		names = append(names, l.card)
	}
	return names
}

// used tells whether a link has the card.
func (n *Network) used(c hardware.NIC) bool {
	return slices.ContainsFunc(n.links, func(l *link) bool { return slices.Contains(l.members, c) })
}

// attend brings a card up and, on the first one of the link that is, asks for
// addresses until the round ends. What goes wrong here is this link's fate.
func (n *Network) attend(ctx context.Context, l *link, nic hardware.NIC) {
	for ctx.Err() == nil {
		err := n.prepare(ctx, l, nic)
		if err == nil {
			break
		}
		n.note(l, fmt.Sprintf("cannot be switched on: %v", err))
		pause(ctx, n.limits.Retry)
	}
	n.mu.Lock()
	asking := l.asking
	l.asking, l.why = true, ""
	n.mu.Unlock()
	if asking || ctx.Err() != nil {
		return
	}
	for f, ask := range n.questions(l) {
		if ask != nil {
			n.background(l.nic, l, func() { n.keep(ctx, l, family(f), ask) })
		}
	}
}

// prepare switches the card on and makes what lies above it, unless
// [Network.Quiet] came first.
func (n *Network) prepare(ctx context.Context, l *link, nic hardware.NIC) error {
	n.power.RLock()
	defer n.power.RUnlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if b := l.conf.Bond; b != nil {
		if err := n.kernel.join(l.card, b.Mode, nic.Name); err != nil {
			return err
		}
	}
	if err := n.kernel.up(l.card); err != nil {
		return err
	}
	if l.conf.VLAN != 0 {
		if err := n.kernel.vlan(l.card, l.conf.VLAN, l.conf.MTU); err != nil {
			return err
		}
	}
	if l.port != "" {
		if err := n.kernel.bridge(l.nic, l.port, l.mac); err != nil {
			return err
		}
	}
	if l.conf.MTU != 0 {
		if err := n.kernel.mtu(l.nic, l.conf.MTU); err != nil {
			n.log("network: %s: going on without an MTU of %d: %v", l.nic, l.conf.MTU, err)
		}
	}
	return n.kernel.up(l.nic)
}

// question asks for one family's addresses; held is what is there, to be renewed.
type question func(ctx context.Context, held Lease) (Lease, error)

// questions returns what the link's network wants to be asked.
func (n *Network) questions(l *link) [families]question {
	var all [families]question
	for f, dynamic := range [families]question{
		ipv4: func(ctx context.Context, held Lease) (Lease, error) { return n.kernel.dhcp(ctx, l.nic, l.mac, held) },
		ipv6: func(ctx context.Context, held Lease) (Lease, error) { return n.kernel.auto(ctx, l.nic, l.mac, held) },
	} {
		mode := [families]netconf.Mode{l.conf.IPv4, l.conf.IPv6}[f]
		switch static := l.conf.Static(family(f) == ipv6); {
		case len(static) > 0:
			lease := staticLease(l.conf, family(f) == ipv6)
			all[f] = func(context.Context, Lease) (Lease, error) { return lease, nil }
		case mode != netconf.Off:
			all[f] = dynamic
		}
	}
	return all
}

// silence is what a family says of itself until it is answered.
var silence = [families]error{ipv4: errSilence, ipv6: errNoRouter}

// keep asks for one family's addresses and keeps them: it asks again at half
// their time, when a client should (RFC 2131, section 4.4.5), and when the cable
// was out, since it may be in elsewhere now.
func (n *Network) keep(ctx context.Context, l *link, f family, ask question) {
	n.explain(l, f, silence[f].Error())
	var held Lease
	var until time.Time
	for ctx.Err() == nil {
		n.waitCarrier(ctx, l)
		lease, err := ask(ctx, held)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			held, until = l.adjust(lease), time.Now().Add(lease.Time)
			n.grant(ctx, l, f, held)
			n.hold(ctx, l, held)
		default:
			n.explain(l, f, err.Error())
			if held.Time > 0 && !time.Now().Before(until) {
				n.log("network: %s: the lease %s has expired: %v", l.nic, held, err)
				held = Lease{}
				n.grant(ctx, l, f, held)
			}
			pause(ctx, n.limits.Retry)
		}
	}
}

// adjust puts what the settings say in the place of what the network says.
func (l *link) adjust(lease Lease) Lease {
	lease.Proxy = l.conf.Proxy
	if l.conf.MTU != 0 {
		lease.MTU = 0 // it is set already
	}
	if len(l.conf.DNS) > 0 {
		lease.DNS = l.conf.DNS
	}
	return lease
}

// hold returns when the lease is to be asked for again.
func (n *Network) hold(ctx context.Context, l *link, lease Lease) {
	start := time.Now()
	for ctx.Err() == nil && (lease.Time == 0 || time.Since(start) < lease.Time/2) {
		if !n.look(l) {
			return
		}
		pause(ctx, n.limits.Look)
	}
}

// waitCarrier returns when the link has carrier, or ctx ends.
func (n *Network) waitCarrier(ctx context.Context, l *link) {
	for ctx.Err() == nil && !n.look(l) {
		pause(ctx, n.limits.Look)
	}
}

// look looks at the link's carrier, and says so when one in use loses it. A bridge
// has carrier by any of its ports; what counts is the way out.
func (n *Network) look(l *link) bool {
	carrier := hardware.Carrier(n.sysfs, cmp.Or(l.port, l.nic))
	n.mu.Lock()
	lost, back := l.carrier && !carrier, !l.carrier && carrier
	active := l == n.active
	l.carrier = carrier
	const without = "no carrier (cable, or the switch's port)"
	switch {
	case !carrier && !l.tried:
		l.why = without
	case l.why == without:
		l.why = ""
	}
	n.mu.Unlock()
	if active && lost {
		n.log("network: %s: carrier lost (cable, or the switch's port)", l.nic)
	} else if active && back {
		n.log("network: %s: carrier is back", l.nic)
	}
	return carrier
}

// grant records what the link was given, or that it has nothing any more, and
// configures it where it is in use. What is new makes a tried link worth a try.
func (n *Network) grant(ctx context.Context, l *link, f family, lease Lease) {
	n.mu.Lock()
	had := l.leased()
	if l.tried && l != n.active && !lease.same(l.leases[f]) && len(lease.Addresses) > 0 {
		l.tried, l.why = false, ""
	}
	l.leases[f] = lease
	if len(lease.Addresses) > 0 {
		l.whys[f] = "has a lease"
	}
	if !had {
		l.since = time.Now()
	}
	n.mu.Unlock()
	n.refresh(ctx, l)
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// note records why the link has no lease at all.
func (n *Network) note(l *link, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l.why = why
}

// explain records why one family has none.
func (n *Network) explain(l *link, f family, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l.whys[f] = why
}

// background does something that may take all of the round. A panic is one
// link's fate, where it is about one.
func (n *Network) background(what string, l *link, do func()) {
	guard.Go("network: "+what, func() error { do(); return nil }, func(err error) {
		if guard.Tell(err, n.log); err != nil && l != nil {
			n.note(l, err.Error())
		}
	})
}

// errGone says that a link was given up while it was being configured.
var errGone = errors.New("given up")

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
