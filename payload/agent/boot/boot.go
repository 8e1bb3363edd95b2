// Package boot is the agent's order of things: hardware, clock, trust, network,
// then from all sites at once statements and manifests, and for each manifest,
// the newest first, choose, obtain, load, hand over.
//
// The main call is [Run]. It promises that the machine either hands over to
// bytes that a verified manifest names, or says on every console in one line
// why not and goes on trying: the next mirror, the next entry, the next manifest,
// the next network, another round after a pause. Each failure line carries a reason code, see
// [Reason]. Nobody at the machine is asked anything but, where the manifest has a
// menu, which of its entries comes first, and that for a bounded time; there is no
// shell but in a toolbox that signed bytes let somebody into.
//
// An entry hands the machine over, fails, or does its work and is done: a script
// that ended well, a rescue that ended, a disk that was written. What comes after
// that is the entry's to say, or that of who worked in it.
//
// What of a site is believed is package accept's to say. The floor is the
// medium's, raised to what the machine remembers; that is read at the start of
// each round and written after a kernel was loaded and before it starts, so that
// a manifest which leads nowhere shuts out no older one.
//
// What the stages do lies in the other rooms; this one knows their order, their
// limits and their next-best answers, see [Limits].
package boot

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/agent/menu"
	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/flash/disks"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/state"
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
	// Cmdline is the kernel's command line.
	Cmdline func() string
	// Now is the firmware's clock, and SetClock sets the system's.
	Now      func() time.Time
	SetClock func(time.Time) error
	// Secret, Recall, Remember, Places and Holder are persist's Secret, Load, Save,
	// Names and Holder.
	Secret   func(machine string) (secret []byte, from string, err error)
	Recall   func() state.State
	Remember func(state.State) error
	Places   func() []string
	Holder   func() string
	Network  func(ctx context.Context, limits network.Limits, networks ...netconf.Network) Network
	// ReadFile is persist's.
	ReadFile func(name string, most int64) (data []byte, from string, err error)
	// Objects are the files on the medium, each named by its SHA-256.
	Objects fs.FS
	// OnMedium opens a file of the medium's image.
	OnMedium func(name string) (fs.File, error)
	// Tools opens a toolbox over an image that was verified.
	Tools func(ctx context.Context, image *os.File) (Tools, error)
	// Disks is disks.List, and Flash is flash.Run on the disk of that node.
	Disks func() ([]disks.Disk, error)
	Flash func(ctx context.Context, node string, job flash.Job) (flash.Result, error)
	// Systems is local.Find.
	Systems func(ctx context.Context) (found []local.System, cleanup func() error, err error)
	// Load, LoadXen, Execute, BootNext, Reboot and PowerOff are handover's.
	Load             func(handover.Kernel) error
	LoadXen          func(handover.Xen) error
	Execute          func() error
	BootNext         func() (title string, err error)
	Reboot, PowerOff func() error
	// Bark tells whether a watchdog has reset the machine. Arm and Disarm are
	// watchdog's.
	Bark   func() bool
	Arm    func(least time.Duration) (actual time.Duration, err error)
	Disarm func() error
	// Carriage is for systems on images.
	Carriage Carriage
	// Choose is menu.Choose on the consoles.
	Choose func(ctx context.Context, m menu.Menu) (name, by string, err error)
	// Story records what happens, and Post sends what it holds.
	Story *report.Recorder
	Post  func(ctx context.Context, client *fetch.Client, urls []string, r report.Report) error
}

// Network is one round's network, see [network.Network].
type Network interface {
	Next(ctx context.Context) (nic string, lease network.Lease, err error)
	Use() netconf.Use
	Conf() netconf.Network
	Quiet()
	Close()
}

// boot is one power-on of the agent.
type boot struct {
	Rooms
	medium    Medium
	own       Limits // the agent's, as the medium tightens them
	limits    Limits // the same, as the last manifest tightens them
	clock     *clock.Clock
	judge     *accept.Judge
	documents *fetch.Client  // by which small files are asked for
	objects   *fetch.Client  // by which kernels and initrds are
	mirrors   *fetch.Mirrors // what is known of the sites that have them
	proxy     string         // through which both ask; empty is none
	origins   origins        // of objects

	told     int64       // the trust statement that the log named last
	state    state.State // what the machine remembers, and what that means
	read     state.State // the same as it was read last
	recalled bool        // whether that was read
	spare    bool        // whether drivers that no device asked for may be dropped
	site     string      // which the last manifest is from
	rounds   int         // from 1

	stick     []netconf.Network // by the file on the stick
	stickRead bool              // whether that was read

	done    map[string]bool      // entries that have done their work in this boot, by tryKey
	choices map[object.ID]string // what was chosen of each manifest; "" is nothing

	power   time.Time // the firmware's clock when the agent began
	started time.Time // the same moment, for counting
}

// Run boots the machine by what the medium says. It returns when the next kernel
// has been started, which on a real machine nobody sees, when ctx ends, or when
// nothing is left but to reboot, after the [Pause] that the error asks for.
func Run(ctx context.Context, rooms Rooms, medium Medium, limits Limits) error {
	b := newBoot(rooms, medium, limits)
	err := guard.Call("medium "+medium.Build, func() error { return b.run(ctx) })
	if _, ok := errors.AsType[*guard.Crash](err); ok {
		return b.countCrash(err)
	}
	return err
}

// run is Run, but for panics.
func (b *boot) run(ctx context.Context) error {
	end := b.Story.Stage("hardware")
	err := b.Ready(ctx, b.limits.Drivers)
	end()
	if err != nil {
		return err
	}
	b.startClock()
	b.tellTrust()
	for b.rounds = 1; ; b.rounds++ {
		result := failed
		if len(b.medium.Site) > 0 {
			result = b.round(ctx)
		}
		if result != idle && result != started && (b.rounds >= b.limits.Fallback || len(b.medium.Site) == 0) {
			result = b.fallback(ctx)
		}
		if result == started {
			return nil
		}
		wait := b.limits.pause(b.rounds)
		b.Log("waiting %.1f s, then starting over (round %d)", wait.Seconds(), b.rounds+1)
		pause(ctx, wait)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// newBoot returns a boot that has not begun.
func newBoot(rooms Rooms, medium Medium, limits Limits) *boot {
	limits = limits.Tighten(medium.Limits)
	b := &boot{
		Rooms: rooms, medium: medium, own: limits, limits: limits,
		done: map[string]bool{}, choices: map[object.ID]string{},
		clock: clock.New(rooms.Now), power: rooms.Now(), started: time.Now(),
		judge: accept.New(medium.Store, accept.Terms{
			Product: medium.Store.Statement().Product, Arch: medium.Arch, Channel: medium.Channel,
			Floor: medium.Floor, By: "this medium", RequireTime: medium.RequireTime,
		}),
	}
	b.connect("")
	return b
}

// round goes from the network to the hand-over once, over each network in turn.
func (b *boot) round(ctx context.Context) end {
	net := new(line)
	b.open(ctx, net, b.networks())
	defer func() { net.Close() }()
	defer b.crashed(ctx)
	b.recall() // while the cards ask for leases; it waits for the stick
	if b.readStick() {
		b.open(ctx, net, b.networks())
	}
	for {
		if err := b.next(ctx, net); err != nil {
			b.fail("network", err)
			return failed
		}
		switch result := b.sites(ctx, net); result {
		case idle:
			b.post(ctx, report.Done)
			return result
		case failed:
			b.post(ctx, report.Waiting) // while there is a network to send it by
		default:
			return result
		}
	}
}

// fail prints why a stage ended, in one line; the trace of a crash comes before it.
func (b *boot) fail(stage string, err error) {
	guard.Tell(err, b.Log)
	b.Log("%s: [%s] %v", stage, Reason(err), err)
	b.Story.Fail(stage, Reason(err), err.Error())
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
