// Package boot is the agent's order of things: hardware, network, clock, trust,
// manifest, choose, obtain, hand over.
//
// The main call is [Run]. It promises that the machine either hands over to
// bytes that a verified manifest names, or says on every console in one line
// why not and goes on trying: the next site, the next network, the next entry,
// another round after a pause. Each failure line carries a reason code, see
// [Reason]. There is no shell and no question.
//
// What the stages do lies in the other rooms; this one knows their order, their
// limits and their next-best answers, see [Limits].
package boot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/trust"
)

// Rooms is what the stages need of the machine.
type Rooms struct {
	// Log prints one line; Flush waits until all lines are out.
	Log   func(format string, args ...any)
	Flush func(limit time.Duration) bool
	// Ready returns when drivers are loaded and random numbers can be had.
	Ready func(ctx context.Context, drivers time.Duration) error
	// Drop frees the memory of drivers that nothing asked for.
	Drop func() error
	// Available tells how many bytes of memory are free, -1 where that is unknown.
	Available func() int64
	Identity  func() manifest.Identity
	SetClock  func(time.Time) error
	Network   func(ctx context.Context, limits network.Limits) Network
	// Load and Execute are handover's.
	Load    func(handover.Kernel) error
	Execute func() error
}

// Network is one round's network, see [network.Network].
type Network interface {
	Next(ctx context.Context) (nic string, lease network.Lease, err error)
	Quiet()
	Close()
}

// boot is one power-on of the agent.
type boot struct {
	Rooms
	medium    Medium
	limits    Limits
	documents *fetch.Client
	objects   *fetch.Client
	dropped   bool
}

// Run boots the machine by what the medium says. It returns when the next kernel
// has been started, which on a real machine nobody sees, or when ctx ends.
func Run(ctx context.Context, rooms Rooms, medium Medium, limits Limits) error {
	clock := fetch.UnsureClock(medium.Built)
	b := &boot{
		Rooms: rooms, medium: medium, limits: limits,
		documents: fetch.New(limits.Documents, clock),
		objects:   fetch.New(limits.Objects, clock),
	}
	if err := b.Ready(ctx, limits.Drivers); err != nil {
		return err
	}
	b.clock(medium.Built, "this medium was built")
	b.anchor()
	for rounds := 1; ; rounds++ {
		if b.round(ctx) {
			return nil
		}
		wait := limits.pause(rounds)
		b.Log("waiting %.1f s, then starting over (round %d)", wait.Seconds(), rounds+1)
		pause(ctx, wait)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// round goes from the network to the hand-over once, over each network in turn,
// and tells whether the next kernel was started.
func (b *boot) round(ctx context.Context) bool {
	net := b.Network(ctx, b.limits.Network)
	defer net.Close()
	for {
		if _, _, err := net.Next(ctx); err != nil {
			b.fail("network", err)
			return false
		}
		started, over := b.sites(ctx, net)
		if started || over {
			return started
		}
	}
}

// entries tries what the manifest lists for this machine, in order. It tells
// whether the next kernel was started, or else whether the round is over.
func (b *boot) entries(ctx context.Context, net Network, m *manifest.Manifest) (started, over bool) {
	id := b.Identity()
	names := m.Select(id)
	if len(names) == 0 {
		b.fail("choose", fmt.Errorf("%w: %s", errNoEntry, describe(id)))
		return false, false
	}
	b.Log("choose: %s (%s)", strings.Join(names, ", then "), describe(id))
	for _, name := range names {
		err := b.start(ctx, net, name, m.Entries[name])
		if err == nil {
			return true, false
		}
		b.fail(name, err)
		if ctx.Err() != nil || errors.Is(err, errQuiet) {
			return false, true
		}
	}
	return false, false
}

// fail prints why a stage ended, in one line.
func (b *boot) fail(stage string, err error) {
	b.Log("%s: [%s] %v", stage, Reason(err), err)
}

// clock raises the clock to a time that cannot lie in the future. Nobody vouches
// for the clock of a machine that boots, so it never decides; it only explains.
func (b *boot) clock(floor time.Time, what string) {
	now := time.Now()
	if !now.Before(floor) {
		return
	}
	const layout = "2006-01-02 15:04 MST"
	b.Log("clock: %s is before %s; set to %s, time not verified", now.UTC().Format(layout), what, floor.UTC().Format(layout))
	if err := b.SetClock(floor); err != nil {
		b.fail("clock", err)
	}
}

// anchor says whom this medium believes.
func (b *boot) anchor() {
	b.Log("clock: %s, time not verified", time.Now().UTC().Format("2006-01-02 15:04:05 MST"))
	st := b.medium.Store.Statement()
	b.Log("trust: product %s, statement %d: %d of %s must sign a manifest",
		st.Product, st.Version, st.Roles.Manifest.Threshold, short(st.Roles.Manifest.Keys))
}

// short abbreviates fingerprints to the 16 digits that gpg calls the long key id.
func short(keys []trust.Fingerprint) string {
	var ids []string
	for _, k := range keys {
		ids = append(ids, string(k[max(0, len(k)-16):]))
	}
	return strings.Join(ids, ", ")
}

// describe names the machine as manifests match it.
func describe(id manifest.Identity) string {
	parts := []string{"MAC " + strings.Join(id.MACs, " ")}
	if id.UUID != "" {
		parts = append(parts, "UUID "+id.UUID)
	}
	if id.Serial != "" {
		parts = append(parts, "serial "+id.Serial)
	}
	return strings.Join(parts, ", ")
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
