package network

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/farboot/farboot/payload/netconf"
)

// lab is a machine with made-up cards.
type lab struct {
	mu      sync.Mutex
	sysfs   fstest.MapFS
	answers map[string]func(ctx context.Context) (Lease, error) // of DHCP, by interface
	routers map[string]func(ctx context.Context) (Lease, error) // for IPv6
	applied []string                                            // interfaces
	given   []string                                            // leases
	made    []string
	removed []string
	dns     []string
	cleared []string
	down    []string
	applies error
	settles error
	routes  func(Route) error
	up      func(nic string)
	lines   []string
}

// Open implements fs.FS.
func (l *lab) Open(name string) (fs.File, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sysfs.Open(name)
}

// set writes a file of sysfs.
func (l *lab) set(name, content string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sysfs[name] = &fstest.MapFile{Data: []byte(content)}
}

// plug puts a card in, whose DHCP server is answer.
func (l *lab) plug(name, carrier string, answer func(context.Context) (Lease, error)) {
	l.mu.Lock()
	l.answers[name] = answer
	l.mu.Unlock()
	l.set("class/net/"+name+"/address", "52:54:00:00:00:01")
	l.set("class/net/"+name+"/carrier", carrier)
	l.set("class/net/"+name+"/device/vendor", "0x8086")
	l.set("class/net/"+name+"/type", "1")
}

func (l *lab) log(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *lab) note(list *[]string) func(nic string) error {
	return func(nic string) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		*list = append(*list, nic)
		return nil
	}
}

// open opens the lab's network.
func (l *lab) open(t *testing.T, networks ...netconf.Network) *Network {
	return open(t.Context(), l, DefaultLimits(), l.log, kernel{
		up: func(nic string) error {
			if l.up != nil && nic != "lo" {
				l.up(nic)
			}
			return nil
		},
		down:   l.note(&l.down),
		remove: l.note(&l.removed),
		clear: func(nic string, f family, but []netip.Prefix) error {
			if len(but) > 0 {
				nic += fmt.Sprintf(" but %v", but)
			}
			if f == ipv6 {
				return nil // each is cleared of both
			}
			return l.note(&l.cleared)(nic)
		},
		apply: func(nic string, lease Lease) error {
			l.note(&l.applied)(nic)
			l.note(&l.given)(lease.String())
			return l.applies
		},
		settle: func(ctx context.Context, nic string) error {
			pause(ctx, time.Second)
			return l.settles
		},
		route: func(_ string, r Route) error {
			if l.routes == nil {
				return nil
			}
			return l.routes(r)
		},
		join: func(bond, mode, card string) error {
			l.set("class/net/"+bond+"/carrier", "1")
			return l.note(&l.made)(bond + " " + mode + " " + card)
		},
		vlan: func(card string, id, mtu int) error {
			l.set("class/net/"+vlanName(card, id)+"/carrier", "1")
			return l.note(&l.made)(fmt.Sprintf("%s vlan %d mtu %d", card, id, mtu))
		},
		bridge: func(bridge, port string, mac net.HardwareAddr) error {
			return l.note(&l.made)(fmt.Sprintf("%s over %s as %s", bridge, port, mac))
		},
		mtu: func(nic string, mtu int) error { return l.note(&l.made)(fmt.Sprintf("%s mtu %d", nic, mtu)) },
		dhcp: func(ctx context.Context, nic string, _ net.HardwareAddr, held Lease) (Lease, error) {
			l.mu.Lock()
			answer := l.answers[nic]
			l.mu.Unlock()
			if answer == nil {
				return silent(ctx)
			}
			return answer(ctx)
		},
		auto: func(ctx context.Context, nic string, _ net.HardwareAddr, held Lease) (Lease, error) {
			l.mu.Lock()
			answer := l.routers[nic]
			l.mu.Unlock()
			if answer == nil {
				pause(ctx, 15*time.Second)
				return Lease{}, errNoRouter
			}
			return answer(ctx)
		},
		resolv: func(_ string, dns []netip.Addr) error { return l.note(&l.dns)(fmt.Sprint(dns)) },
	}, networks...)
}

// newLab returns a machine without cards.
func newLab() *lab {
	return &lab{
		sysfs:   fstest.MapFS{},
		answers: map[string]func(context.Context) (Lease, error){}, routers: map[string]func(context.Context) (Lease, error){},
	}
}

// after is a DHCP server that answers with addr after d.
func after(d time.Duration, addr string) func(context.Context) (Lease, error) {
	return func(ctx context.Context) (Lease, error) {
		pause(ctx, d)
		return Lease{Addresses: []netip.Prefix{netip.MustParsePrefix(addr)}}, ctx.Err()
	}
}

// silent is no DHCP server: the library gives up after 15 s.
func silent(ctx context.Context) (Lease, error) {
	pause(ctx, 15*time.Second)
	return Lease{}, errSilence
}

// within fails unless d has passed since start, give or take two looks.
func within(t *testing.T, what string, start time.Time, d time.Duration) {
	t.Helper()
	if took := time.Since(start); took < d || took > d+3*DefaultLimits().Look {
		t.Errorf("%s took %v, want %v", what, took, d)
	}
}
