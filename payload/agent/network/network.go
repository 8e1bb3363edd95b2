// Package network takes the machine's wired cards up and gets it an address.
//
// The calls are [Open], [Network.Next] and, before the hand-over, [Network.Quiet].
// All cards are asked at once and each goes its own way: the first lease starts
// the boot, a dead card costs nothing, and the others go on asking until the
// round ends, so that another network is at hand when the first one does not
// lead to a site. One card at a time has an address.
//
// What a DHCP server sends is bounded, and never trusted for anything but the
// way to a site. The package does not authenticate: signatures do, later.
package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/agent/hardware"
)

// ErrNoNetwork is wrapped by the errors of [Network.Next].
var ErrNoNetwork = errors.New("no network")

// Limits says how long the stage may take.
type Limits struct {
	// Appear is how long to wait for a first card: drivers are still loading,
	// and a USB card behind a hub needs about 3 s.
	Appear time.Duration
	// Carrier is how long a card may need, once on, to agree with the switch.
	// Copper at 1 Gbit/s takes 2 to 4 s.
	Carrier time.Duration
	// Lease is how long to wait for the first lease. A switch port in spanning
	// tree's listening and learning states is deaf for 30 s.
	Lease time.Duration
	// Another is how long to wait for one more lease, on a card with carrier,
	// when the network of an earlier one led nowhere.
	Another time.Duration
	// Retry is the pause before a card tries again after a failure that came
	// at once, such as a refused offer.
	Retry time.Duration
	// Look is how often cards and carriers are looked at.
	Look time.Duration
	// News is how often the log tells what is being waited for.
	News time.Duration
}

// DefaultLimits returns the limits that the agent uses.
func DefaultLimits() Limits {
	return Limits{
		Appear:  15 * time.Second,
		Carrier: 5 * time.Second,
		Lease:   60 * time.Second,
		Another: 15 * time.Second,
		Retry:   time.Second,
		Look:    50 * time.Millisecond,
		News:    10 * time.Second,
	}
}

// Network is the set of the machine's wired cards during one round of the boot.
type Network struct {
	sysfs  fs.FS
	limits Limits
	log    func(format string, args ...any)
	kernel kernel
	stop   context.CancelFunc
	leases chan granted
	opened time.Time
	rounds int   // calls of Next
	active *card // has an address

	mu    sync.Mutex
	cards []*card
	power sync.RWMutex // held for writing while all cards are switched off
}

// kernel is what is asked of the running kernel; tests put their own in.
type kernel struct {
	up, down, clear func(nic string) error
	apply           func(nic string, l Lease) error
	route           func(nic string, r Route) error
	dhcp            func(ctx context.Context, nic string, mac net.HardwareAddr) (Lease, error)
	resolv          func(l Lease) error
}

// card is one NIC and what is known of its fate.
type card struct {
	hardware.NIC
	carrier bool
	leased  bool
	why     string // there is no lease yet
}

// granted is a lease on its way from a card to Next.
type granted struct {
	card  *card
	lease Lease
}

// Open takes up all wired cards, those that appear later included, until ctx
// ends or [Network.Close]. sysfs is the file tree of /sys.
func Open(ctx context.Context, sysfs fs.FS, limits Limits, log func(format string, args ...any)) *Network {
	return open(ctx, sysfs, limits, log, kernel{
		up: up, down: down, clear: unconfigure, apply: apply, route: addRoute, dhcp: dhcp,
		resolv: func(l Lease) error { return writeResolvConf(l.DNS) },
	})
}

func open(ctx context.Context, sysfs fs.FS, limits Limits, log func(format string, args ...any), k kernel) *Network {
	ctx, stop := context.WithCancel(ctx)
	n := &Network{
		sysfs: sysfs, limits: limits, log: log, kernel: k, stop: stop,
		leases: make(chan granted), opened: time.Now(),
	}
	if err := k.up("lo"); err != nil {
		log("network: lo: %v", err)
	}
	go n.discover(ctx)
	return n
}

// Next gives the machine the first lease that comes, or the next one, and
// returns it with the card's name. The lease before it is given up.
func (n *Network) Next(ctx context.Context) (string, Lease, error) {
	if n.active != nil {
		n.note(n.active, "its network led nowhere")
		n.leave()
	}
	n.rounds++
	start, told := time.Now(), time.Now()
	for {
		select {
		case g := <-n.leases:
			if n.take(g) {
				return g.card.Name, g.lease, nil
			}
		case <-time.After(n.limits.Look):
			if err := n.hopeless(time.Since(start)); err != nil {
				return "", Lease{}, err
			}
			if time.Since(told) >= n.limits.News {
				n.log("network: waiting: %s", n.state())
				told = time.Now()
			}
		case <-ctx.Done():
			return "", Lease{}, fmt.Errorf("%w: %w", ErrNoNetwork, ctx.Err())
		}
	}
}

// Close ends all asking. Cards stay up, since a switch may take half a minute to
// serve a port that was down; addresses go.
func (n *Network) Close() {
	n.stop()
	if n.active != nil {
		n.leave()
	}
}

// leave takes the address from the card that has one.
func (n *Network) leave() {
	if err := n.kernel.clear(n.active.Name); err != nil {
		n.log("network: %s: %v", n.active.Name, err)
	}
	n.active = nil
}

// Quiet ends all asking and switches all cards off, for the hand-over. It waits
// for a card that is just being switched on, as the kernel would let it anyway
// (rtnl_lock in net/core/rtnetlink.c), so that none comes up after it.
func (n *Network) Quiet() {
	n.stop()
	n.power.Lock()
	defer n.power.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.cards {
		if err := n.kernel.down(c.Name); err != nil {
			n.log("network: %s: %v", c.Name, err)
		}
	}
}

// take configures the card with its lease and tells whether that worked.
func (n *Network) take(g granted) bool {
	err := n.kernel.apply(g.card.Name, g.lease)
	if err == nil {
		err = n.kernel.resolv(g.lease)
	}
	if err != nil {
		n.note(g.card, fmt.Sprintf("the lease %s cannot be used: %v", g.lease, err))
		n.log("network: %s: the lease %s cannot be used: %v", g.card.Name, g.lease, err)
		return false
	}
	for _, r := range g.lease.Routes {
		if err := n.kernel.route(g.card.Name, r); err != nil {
			n.log("network: %s: going on without the route to %s: %v", g.card.Name, r.Destination, err)
		}
	}
	n.active = g.card
	n.log("network: %s: %s (%s)", g.card.Name, g.lease, g.card.Driver)
	return true
}

// hopeless returns an error when waiting any longer makes no sense.
func (n *Network) hopeless(waited time.Duration) error {
	n.mu.Lock()
	hope, known := time.Since(n.opened) < n.limits.Carrier, len(n.cards)
	for _, c := range n.cards {
		hope = hope || c.carrier && !c.leased
	}
	n.mu.Unlock()
	switch {
	case known == 0 && time.Since(n.opened) >= n.limits.Appear:
		return n.noCard()
	case n.rounds > 1 && (!hope || waited >= n.limits.Another):
		return fmt.Errorf("%w: no other card has a lease: %s", ErrNoNetwork, n.state())
	case waited >= n.limits.Lease:
		return fmt.Errorf("%w: %s", ErrNoNetwork, n.state())
	}
	return nil
}

// noCard says which controllers are there all the same.
func (n *Network) noCard() error {
	ids := hardware.Driverless(n.sysfs)
	if len(ids) == 0 {
		return fmt.Errorf("%w card found, nor any network controller on PCI", ErrNoNetwork)
	}
	return fmt.Errorf("%w card found: no driver on this medium for PCI ids %s", ErrNoNetwork, strings.Join(ids, ", "))
}

// state names each card and why it has no lease.
func (n *Network) state() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.cards) == 0 {
		return "no network card yet"
	}
	var all []string
	for _, c := range n.cards {
		all = append(all, fmt.Sprintf("%s (%s): %s", c.Name, c.Driver, c.why))
	}
	return strings.Join(all, "; ")
}

// note records why the card has no lease.
func (n *Network) note(c *card, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.why = why
}

// discover starts a goroutine for each card as it appears.
func (n *Network) discover(ctx context.Context) {
	known := map[string]bool{}
	for ctx.Err() == nil {
		for _, nic := range hardware.NICs(n.sysfs, known) {
			known[nic.Name] = true
			c := &card{NIC: nic, why: "coming up"}
			n.mu.Lock()
			n.cards = append(n.cards, c)
			n.mu.Unlock()
			go n.attend(ctx, c)
		}
		pause(ctx, n.limits.Look)
	}
}

// attend brings one card up and asks for a lease until one is taken. What goes
// wrong here, a panic included, is this card's fate alone.
func (n *Network) attend(ctx context.Context, c *card) {
	defer func() {
		if p := recover(); p != nil {
			n.note(c, fmt.Sprintf("the agent crashed on it: %v", p))
		}
	}()
	mac, err := net.ParseMAC(c.MAC)
	if err != nil {
		n.note(c, err.Error())
		return
	}
	for ctx.Err() == nil {
		if err := n.switchOn(ctx, c); err != nil {
			n.note(c, fmt.Sprintf("cannot be switched on: %v", err))
			pause(ctx, n.limits.Retry)
			continue
		}
		n.waitCarrier(ctx, c)
		lease, err := n.kernel.dhcp(ctx, c.Name, mac)
		if err == nil {
			if n.deliver(ctx, c, lease) {
				return
			}
			continue
		}
		if ctx.Err() == nil {
			n.note(c, err.Error())
			pause(ctx, n.limits.Retry)
		}
	}
}

// switchOn switches the card on, unless [Network.Quiet] came first.
func (n *Network) switchOn(ctx context.Context, c *card) error {
	n.power.RLock()
	defer n.power.RUnlock()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return n.kernel.up(c.Name)
}

// waitCarrier returns when the card has carrier, or ctx ends.
func (n *Network) waitCarrier(ctx context.Context, c *card) {
	for ctx.Err() == nil {
		carrier := hardware.Carrier(n.sysfs, c.Name)
		n.mu.Lock()
		c.carrier = carrier
		if c.why = "no carrier (cable, or the switch's port)"; carrier {
			c.why = "no DHCP answer"
		}
		n.mu.Unlock()
		if carrier {
			return
		}
		pause(ctx, n.limits.Look)
	}
}

// deliver waits until somebody wants the lease, and tells whether somebody did.
// It gives up at half the lease's time, when a client should ask again (RFC
// 2131, section 4.4.5): nobody gets an address that may be another's by now.
func (n *Network) deliver(ctx context.Context, c *card, l Lease) bool {
	n.grant(c, true, "has a lease")
	var stale <-chan time.Time // never, where the server does not say
	if l.Time > 0 {
		stale = time.After(l.Time / 2)
	}
	select {
	case n.leases <- granted{c, l}:
		return true
	case <-stale:
		n.grant(c, false, "asks again for its lease")
	case <-ctx.Done():
	}
	return false
}

// grant records whether the card has a lease.
func (n *Network) grant(c *card, leased bool, why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.leased, c.why = leased, why
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
