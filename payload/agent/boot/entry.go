package boot

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
)

// errQuiet says that the cards are off already: the round is over.
var errQuiet = errors.New("the network is down for the hand-over")

// job is an entry that is tried, and what it takes.
type job struct {
	name  string
	entry manifest.Entry
	from  *accept.Accepted // nil where the medium carries the entry
	net   *line            // nil where none is up
	// connect takes a network up where there is none yet; nil where that was tried.
	connect func() *line
	// machine is the manifest's record of this one.
	machine manifest.Machine
	// find is how it finds others.
	find lookup
}

// start tries an entry. It returns nil only where the machine was handed over.
func (b *boot) start(ctx context.Context, j job) error {
	b.Story.Chosen(j.name)
	if j.connect != nil && (j.entry.Script != nil || j.entry.Rescue != nil) {
		j.net = j.connect()
	}
	switch e := j.entry; {
	case e.Linux != nil:
		return b.linux(ctx, j)
	case e.Xen != nil:
		return b.xen(ctx, j)
	case e.Local != nil && e.Local.Firmware:
		return b.firmware(ctx, j)
	case e.Local != nil:
		return b.installed(ctx, j)
	case e.Power != nil:
		return b.switchOff(ctx, j)
	case e.Script != nil:
		return b.script(ctx, j)
	case e.Rescue != nil:
		return b.rescue(ctx, j)
	case e.Flash != nil:
		return b.flash(ctx, j)
	case e.Live != nil:
		return b.live(ctx, j)
	case e.Iso != nil:
		return b.iso(ctx, j)
	case e.Image != nil:
		return b.image(ctx, j)
	}
	return fmt.Errorf("%w: %q", errKind, j.entry.Unknown)
}

// linux obtains kernel and initrds and starts them.
func (b *boot) linux(ctx context.Context, j job) error {
	l := j.entry.Linux
	if err := b.fits("loading kernel and initrd", linuxMemory(l)); err != nil {
		return err
	}
	end := b.Story.Stage("obtain")
	k, err := b.obtain(ctx, l, j.net != nil)
	end()
	if err != nil {
		return err
	}
	defer k.Close()
	if l.Network {
		if k.Cmdline, err = j.withNetwork(k.Cmdline); err != nil {
			return err
		}
	}
	return b.jump(ctx, j, b.kernel(k), time.Duration(l.Watchdog)*time.Second)
}

// withNetwork appends the network in use to a command line.
func (j job) withNetwork(cmdline string) (string, error) {
	if j.net == nil {
		return "", fmt.Errorf("%w: there is none", errNetwork)
	}
	words, err := j.net.Use().Kernel()
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNetwork, err)
	}
	return strings.TrimSpace(cmdline + " " + words), nil
}

// next is what the machine can be handed over to.
type next struct {
	load    func() error
	size    int64  // bytes
	cmdline string // for the log
}

// kernel is a Linux kernel as what comes next.
func (b *boot) kernel(k handover.Kernel) next {
	return next{func() error { return b.Load(k) }, k.Size(), k.Cmdline}
}

// jump loads the system and starts it, watched for that long if at all.
func (b *boot) jump(ctx context.Context, j job, s next, watched time.Duration, steps ...handover.Step) error {
	started, end := time.Now(), b.Story.Stage("load")
	err := s.load()
	end()
	if err != nil {
		return err
	}
	b.Log("load: %s in %.1f s", size(s.size), time.Since(started).Seconds())
	if err := b.remember(j, watched); err != nil {
		return err
	}
	b.Log("handing over: %s %s", j.name, j.entry.Title)
	b.Log("command line: %s", s.cmdline)
	b.leave(ctx, j, report.HandingOver, steps...)
	if watched > 0 {
		b.watch(watched)
	}
	if err := b.Execute(); err != nil {
		if watched > 0 {
			err = errors.Join(err, b.Disarm())
		}
		return fmt.Errorf("%w: %w", errQuiet, err)
	}
	return nil
}

// leave does what is to be done before the machine changes hands: the owner and
// the screen are told, and cards and disks are let go.
func (b *boot) leave(ctx context.Context, j job, outcome report.Outcome, steps ...handover.Step) {
	if j.net != nil {
		b.post(ctx, outcome)
	}
	b.Flush(b.limits.Flush) // while lines can go over the network
	if j.net != nil {
		steps = append(steps, handover.Step{Name: "network", Do: func() error { j.net.Quiet(); return nil }})
	}
	handover.Quiesce(b.Log, steps...)
}

// watch arms the watchdog. A machine without one boots all the same.
func (b *boot) watch(least time.Duration) {
	actual, err := b.Arm(least)
	if err != nil {
		b.fail("watchdog", err)
	} else {
		b.Log("watchdog: the machine is reset in %.0f s unless the next system takes over", actual.Seconds())
	}
	b.Flush(b.limits.Flush)
}

// firmware restarts the machine into the firmware's next boot device. A BIOS
// cannot be told; it has an order of its own.
func (b *boot) firmware(ctx context.Context, j job) error {
	title, err := b.BootNext()
	switch {
	case err == nil:
		b.Log("local: the firmware boots %s next", title)
	case errors.Is(err, fs.ErrNotExist):
		b.Log("local: this firmware has no variables: what boots next is as its setup says")
	default:
		return err
	}
	return b.restart(ctx, j, b.Reboot)
}

// switchOff restarts the machine or switches it off.
func (b *boot) switchOff(ctx context.Context, j job) error {
	switch action := j.entry.Power.Action; action {
	case manifest.Reboot:
		return b.restart(ctx, j, b.Reboot)
	case manifest.Off:
		return b.restart(ctx, j, b.PowerOff)
	default:
		return fmt.Errorf("%w: power action %q", errKind, action)
	}
}

// restart gives the machine back to its firmware.
func (b *boot) restart(ctx context.Context, j job, do func() error) error {
	if err := b.remember(j, 0); err != nil {
		return err
	}
	b.Log("handing over: %s %s", j.name, j.entry.Title)
	b.leave(ctx, j, report.Rebooting)
	if err := do(); err != nil {
		return fmt.Errorf("%w: %w", errQuiet, err)
	}
	return nil
}
