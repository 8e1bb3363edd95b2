// Package network takes the machine's wired cards up and gets it an address.
//
// The calls are [Open], [Network.Next] and, before the hand-over, [Network.Quiet].
// All cards are asked at once, each for IPv4 and IPv6, and each goes its own way:
// the first family on the first card that gets an address starts the boot, a dead
// card costs nothing, and the others go on asking until the round ends, so that
// another network is at hand when the first one does not lead to a site. One card
// at a time has addresses; the family that comes second is added to it, what it
// was lent is renewed, and a cable that was out and is in again is asked anew.
//
// What a DHCP server or a router sends is bounded, and never trusted for anything
// but the way to a site. The package does not authenticate: signatures do, later.
package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/agent/hardware"
	"github.com/farboot/farboot/payload/netconf"
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
	// Prefer is how long a network waits, once it could be used, for one that
	// stands before it in the list and has carrier.
	Prefer time.Duration
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
		Prefer:  5 * time.Second,
		Retry:   time.Second,
		Look:    50 * time.Millisecond,
		News:    10 * time.Second,
	}
}

// Network is the set of the machine's wired cards during one round of the boot.
type Network struct {
	sysfs    fs.FS
	limits   Limits
	log      func(format string, args ...any)
	kernel   kernel
	networks []netconf.Network
	stop     context.CancelFunc
	news     chan struct{} // has one element after a lease came
	opened   time.Time
	rounds   int // calls of Next

	// setting is held while addresses, routes and resolv.conf are changed.
	setting sync.Mutex
	applied [families]Lease // of the active link

	mu     sync.Mutex
	cards  []hardware.NIC
	links  []*link
	active *link        // has addresses
	power  sync.RWMutex // held for writing while all cards are switched off
}

// Open takes up all wired cards, those that appear later included, until ctx
// ends or [Network.Close]. sysfs is the file tree of /sys. Without networks each
// card is asked for DHCP and IPv6 routers; with some, they are tried in parallel
// on each card that they name, and preferred in their order.
func Open(ctx context.Context, sysfs fs.FS, limits Limits, log func(format string, args ...any), networks ...netconf.Network) *Network {
	return open(ctx, sysfs, limits, log, realKernel(), networks...)
}

func open(ctx context.Context, sysfs fs.FS, limits Limits, log func(format string, args ...any), k kernel, networks ...netconf.Network) *Network {
	if len(networks) == 0 {
		networks = []netconf.Network{{}}
	}
	ctx, stop := context.WithCancel(ctx)
	n := &Network{
		sysfs: sysfs, limits: limits, log: log, kernel: k, networks: networks, stop: stop,
		news: make(chan struct{}, 1), opened: time.Now(),
	}
	if err := k.up("lo"); err != nil {
		log("network: lo: %v", err)
	}
	n.background("looking for cards", nil, func() { n.discover(ctx) })
	return n
}

// Next gives the machine the first network that is ready, or the next one, and
// returns the interface's name and what it was given so far. The network before
// it is given up.
func (n *Network) Next(ctx context.Context) (string, Lease, error) {
	n.leave("its network led nowhere")
	n.rounds++
	start, told := time.Now(), time.Now()
	for {
		if l := n.pick(); l != nil {
			if lease, ok := n.take(ctx, l); ok {
				return l.nic, lease, nil
			}
		}
		select {
		case <-n.news:
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

// Use returns the configuration that the machine runs with at this moment.
func (n *Network) Use() netconf.Use {
	n.setting.Lock()
	defer n.setting.Unlock()
	n.mu.Lock()
	l := n.active
	n.mu.Unlock()
	if l == nil {
		return netconf.Use{}
	}
	use := netconf.Use{MAC: l.mac.String(), VLAN: l.conf.VLAN, Bonded: l.conf.Bond != nil, DNS: servers(n.applied)}
	for _, lease := range n.applied {
		use.Addresses = append(use.Addresses, lease.Addresses...)
		if g := lease.Gateway(); g.IsValid() {
			use.Gateways = append(use.Gateways, g)
		}
	}
	return use
}

// Conf returns the settings of the network that is in use; zero where none is.
func (n *Network) Conf() netconf.Network {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.active == nil {
		return netconf.Network{}
	}
	return n.active.conf
}

// Close ends all asking and takes the addresses away.
func (n *Network) Close() {
	n.stop()
	n.leave("closed")
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		for _, made := range l.made() {
			_ = n.kernel.remove(made) // what stays is used by the next round
		}
	}
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

// pick returns the link to use: of those that are ready the one whose network
// stands first, but for a short time none while an earlier one may still come.
func (n *Network) pick() *link {
	n.mu.Lock()
	defer n.mu.Unlock()
	var best *link
	for _, l := range n.links {
		if l.ready() && (best == nil || l.order < best.order) {
			best = l
		}
	}
	if best == nil || time.Since(best.since) >= n.limits.Prefer {
		return best
	}
	young := time.Since(n.opened) < n.limits.Carrier // who has no carrier may still get it
	for _, l := range n.links {
		if l.order < best.order && (l.hopes() || young && !l.tried && !l.leased()) {
			return nil
		}
	}
	return best
}

// hopeless returns an error when waiting any longer makes no sense.
func (n *Network) hopeless(waited time.Duration) error {
	n.mu.Lock()
	hope, known := time.Since(n.opened) < n.limits.Carrier, len(n.cards)
	for _, l := range n.links {
		hope = hope || l.hopes() || l.ready()
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

// state names each link and why it has no lease, and the cards without a link.
func (n *Network) state() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.cards) == 0 {
		return "no network card yet"
	}
	var all []string
	for _, l := range n.links {
		all = append(all, fmt.Sprintf("%s (%s): %s", l.nic, l.driver, l.state()))
	}
	for _, c := range n.cards {
		if !n.used(c) {
			all = append(all, fmt.Sprintf("%s (%s): no network of the settings is for it", c.Name, c.Driver))
		}
	}
	return strings.Join(all, "; ")
}
