package carried

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/netconf"
)

// The system that runs from the image owns the network: it may take the card down,
// flush its addresses or ask for others. It may also do half of that and then wait for
// a program that lies in the image. So the card is looked at now and then, and where
// it has lost what the image is read by, and has got nothing for it, that is put back.
const (
	lookEvery = 2 * time.Second
	// missing is how many looks in a row have to find the card without: a network
	// manager takes addresses away a moment before it sets others.
	missing = 2
)

// card is what the network is by: the interface, whatever it is called by now, and
// what it had when the image was first read.
type card struct {
	index int
	use   netconf.Use
	log   func(format string, args ...any)
}

// condition is what a card has at a moment.
type condition struct {
	up, member bool // member of a bridge or a bond
	addresses  []netip.Addr
	routes     bool // a default route of any family
}

// keep keeps the network for as long as ctx lasts. stop ends what asks servers for
// leases, once the system has addresses of its own.
func keep(ctx context.Context, nic string, use netconf.Use, stop func(), log func(format string, args ...any)) {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		log("network: %s is not watched: %v", nic, err)
		return
	}
	c := &card{link.Attrs().Index, use, log}
	guard.Go("keeping the network", func() error { c.keep(ctx, stop); return nil }, func(err error) { guard.Tell(err, log) })
}

// keep looks at the card until ctx ends.
func (c *card) keep(ctx context.Context, stop func()) {
	lost, taken := 0, 0
	for ctx.Err() == nil {
		time.Sleep(lookEvery)
		now, err := c.look()
		if err != nil { // the card is gone, and may come back
			lost, taken = 0, 0
			continue
		}
		what := c.judge(now)
		lost, taken = count(what == loses, lost), count(what == yields, taken)
		if taken == missing && stop != nil {
			c.log("network: the system has addresses of its own, and takes care of them")
			stop()
			stop = nil
		}
		if lost >= missing {
			lost = 0
			c.log("network: the card has lost its addresses or routes; they are put back")
			if err := c.mend(); err != nil {
				c.log("network: %v", err)
			}
		}
	}
}

// count counts looks in a row.
func count(seen bool, n int) int {
	if !seen {
		return 0
	}
	return n + 1
}

// verdict is what a look finds.
type verdict int

const (
	works  verdict = iota // as it was, or as the system wants it
	loses                 // something is missing, and nobody has put another in its place
	yields                // the system has addresses of its own and not ours
)

// judge compares what the card has with what it had.
func (c *card) judge(now condition) verdict {
	mine, others := 0, 0
	for _, a := range now.addresses {
		if slices.ContainsFunc(c.use.Addresses, func(p netip.Prefix) bool { return p.Addr() == a }) {
			mine++
		} else if !a.IsLinkLocalUnicast() {
			others++
		}
	}
	switch {
	case now.member:
		return works
	case others > 0 && mine == 0:
		return yields
	case !now.up, mine == 0, others == 0 && len(c.use.Gateways) > 0 && !now.routes:
		return loses
	}
	return works
}

// look returns what the card has now.
func (c *card) look() (condition, error) {
	link, err := netlink.LinkByIndex(c.index)
	if err != nil {
		return condition{}, err
	}
	attrs := link.Attrs()
	now := condition{up: attrs.Flags&net.FlagUp != 0, member: attrs.MasterIndex != 0}
	addresses, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return condition{}, err
	}
	for _, a := range addresses {
		if ip, ok := netip.AddrFromSlice(a.IP); ok {
			now.addresses = append(now.addresses, ip.Unmap())
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := netlink.RouteListFiltered(family, &netlink.Route{}, netlink.RT_FILTER_DST) // by any card
		if err != nil {
			return condition{}, err
		}
		now.routes = now.routes || len(routes) > 0
	}
	return now, nil
}

// mend puts back what the card had.
func (c *card) mend() error {
	link, err := netlink.LinkByIndex(c.index)
	if err != nil {
		return err
	}
	err = netlink.LinkSetUp(link)
	for _, a := range c.use.Addresses {
		address := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
		err = errors.Join(err, netlink.AddrReplace(link, &netlink.Addr{IPNet: address}))
	}
	for _, g := range c.use.Gateways {
		everywhere := &net.IPNet{IP: make(net.IP, g.BitLen()/8), Mask: net.CIDRMask(0, g.BitLen())}
		err = errors.Join(err, netlink.RouteReplace(&netlink.Route{
			LinkIndex: c.index, Dst: everywhere, Gw: g.AsSlice(), Flags: int(netlink.FLAG_ONLINK), Protocol: unix.RTPROT_BOOT,
		}))
	}
	return err
}
