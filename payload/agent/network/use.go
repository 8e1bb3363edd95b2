package network

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
)

// take puts the link to use and tells whether that worked. IPv6 addresses must
// be found to be nobody else's first (RFC 4862, section 5.4), which takes a
// second or two; with an IPv4 address nobody waits for that.
func (n *Network) take(ctx context.Context, l *link) (Lease, bool) {
	n.mu.Lock()
	n.active, l.tried = l, true
	n.mu.Unlock()
	err := n.refresh(ctx, l)
	n.setting.Lock()
	now := n.applied
	n.setting.Unlock()
	if err == nil && len(now[ipv4].Addresses) == 0 {
		err = n.kernel.settle(ctx, l.nic)
	}
	if err != nil {
		n.leave(fmt.Sprintf("what it was given cannot be used: %v", err))
		n.log("network: %s: what it was given cannot be used: %v", l.nic, err)
		return Lease{}, false
	}
	return merge(now), true
}

// refresh gives the link, where it is the active one, what it was granted and
// does not have yet, and takes away what it has no more. An error says that it
// has no address.
func (n *Network) refresh(ctx context.Context, l *link) error {
	n.setting.Lock()
	defer n.setting.Unlock()
	n.mu.Lock()
	want, active := l.leases, l == n.active
	n.mu.Unlock()
	if !active || ctx.Err() != nil {
		return errGone
	}
	var failed error
	for f, lease := range want {
		if lease.same(n.applied[f]) {
			continue
		}
		if len(n.applied[f].Addresses) > 0 {
			// An address that stays is not taken away and given again:
			// connections hang on it.
			n.clear(l.nic, family(f), lease.Addresses)
		}
		if len(lease.Addresses) == 0 {
			continue
		}
		if err := n.apply(l, family(f), lease); err != nil {
			failed = err
		}
	}
	if err := n.kernel.resolv(l.nic, servers(n.applied)); err != nil {
		n.log("network: %s: DNS servers: %v", l.nic, err)
	}
	if len(merge(n.applied).Addresses) == 0 {
		return failed
	}
	return nil
}

// apply configures one family.
func (n *Network) apply(l *link, f family, lease Lease) error {
	if err := n.kernel.apply(l.nic, lease); err != nil {
		n.log("network: %s: the lease %s cannot be used: %v", l.nic, lease, err)
		return err
	}
	for _, r := range lease.Routes {
		if err := n.kernel.route(l.nic, r); err != nil {
			n.log("network: %s: going on without the route to %s: %v", l.nic, r.Destination, err)
		}
	}
	n.applied[f] = lease
	n.log("network: %s: %s (%s)", l.nic, lease, l.driver)
	return nil
}

// leave takes the addresses from the link that is in use and says why.
func (n *Network) leave(why string) {
	n.setting.Lock()
	defer n.setting.Unlock()
	n.mu.Lock()
	l := n.active
	n.active = nil
	if l != nil {
		l.why = why
	}
	n.mu.Unlock()
	if l == nil {
		return
	}
	for f := range families {
		n.clear(l.nic, f, nil)
	}
}

// clear takes one family's routes and addresses from the interface, but for those
// that are to stay.
func (n *Network) clear(nic string, f family, but []netip.Prefix) {
	if err := n.kernel.clear(nic, f, but); err != nil {
		n.log("network: %s: %v", nic, err)
	}
	n.applied[f] = Lease{}
}

// servers returns the DNS servers of all families in turn: where one family's
// way is broken the resolver comes to the other's after one timeout.
func servers(leases [families]Lease) []netip.Addr {
	var all []netip.Addr
	for i := range maxDNS {
		for _, l := range leases {
			if i < len(l.DNS) && !slices.Contains(all, l.DNS[i]) {
				all = append(all, l.DNS[i])
			}
		}
	}
	return all[:min(len(all), maxDNS)]
}
