// Package clone brings a room of machines from whatever they are at to what an
// image makes of them. [Run] tells each machine's controller what to start from
// and switches it on, or resets it; waits for what the machine itself reports while
// it starts and writes its disk; casts the image meanwhile, if there is one to be
// cast; and where the entry leaves the machine waiting, or off, starts it into the
// result.
//
// The package promises that every machine is in the result, as done or as failed
// with the reason, that one that fails or goes silent holds up no other, and that
// everything ends in the time of its [Limits]. No machine is written because of it:
// that is what the signed manifest says, and machines do.
//
// What machines report are claims, which nobody signs: "done" means that somebody
// who knows the machine's address said so. Nor does it see whether the system on
// the disk came up.
package clone

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/farboot/farboot/builder/power"
	"github.com/farboot/farboot/builder/reports"
	"github.com/farboot/farboot/payload/manifest"
)

var (
	// ErrRoom says that not every machine is done.
	ErrRoom = errors.New("not every machine is done")
	// ErrSilent says that a machine does not report, or no longer.
	ErrSilent = errors.New("no report")
	// ErrNotWritten says that a machine has ended without the image.
	ErrNotWritten = errors.New("no image was written")
	// ErrNotStarted says that a machine has the image, and does not start it.
	ErrNotStarted = errors.New("the image is on its disk, and does not start")
)

// Limits bound a run.
type Limits struct {
	// Parallel is how many controllers are talked to at the same time.
	Parallel int
	// Silence is how long a machine may say nothing. Firmware of servers takes up to
	// ten minutes; while a disk is written there is a report every minute.
	Silence time.Duration
	// Total is for everything. A terabyte at 100 MB/s takes three hours.
	Total time.Duration
	// Off is how long a machine may take to be off once it said that it goes.
	Off time.Duration
	// Poll is the pause between two looks at the reports.
	Poll time.Duration
}

// DefaultLimits returns the limits of the command.
func DefaultLimits() Limits {
	return Limits{Parallel: power.Limit, Silence: 15 * time.Minute, Total: 6 * time.Hour, Off: 2 * time.Minute, Poll: time.Second}
}

// Options say what is done.
type Options struct {
	// Device is what machines start from; empty leaves it to their firmware.
	Device power.Device
	// Reports is the folder in which a server keeps what machines report.
	Reports string
	// Then tells what a flash entry has behind it, one of manifest's; it may be
	// empty for the default.
	Then func(entry string) string
	// Casts run beside all of it, until the room is done. That one fails is told by
	// Log and fails no machine: each fetches what it lacks.
	Casts []func(context.Context) error
	// Progress is told of the whole room each time that something has changed.
	Progress func([]Machine)
	Log      func(format string, args ...any)
	Limits   Limits
}

// Stage is how far a machine is.
type Stage string

// The stages.
const (
	Starting Stage = "starting" // its controller is talked to
	Booting  Stage = "booting"  // it is on, and what it reports is not of a disk yet
	Writing  Stage = "writing"  // its disk is written
	Written  Stage = "written"  // that has ended well
	Ending   Stage = "ending"   // it is started into the result
	Done     Stage = "done"
	Failed   Stage = "failed"
)

// Machine is one of the room.
type Machine struct {
	power.Target
	Stage Stage
	// Text is what there is to say of it.
	Text string
	// Err is why it has failed.
	Err error
	// Ended is how long it took.
	Took time.Duration

	before string    // the boot of its last report before all this
	heard  time.Time // of its last sign of life, by this desk's clock
	report time.Time // when its last report was received
}

// ended tells whether nothing more will happen.
func (m *Machine) ended() bool { return m.Stage == Done || m.Stage == Failed }

// run is one run.
type run struct {
	Options
	begin time.Time
	ends  sync.WaitGroup

	mu       sync.Mutex
	machines []Machine
	changed  bool
}

// Run starts the targets and waits until each is done or has failed. What became of
// each is returned in their order, with an error that wraps [ErrRoom], where not
// all are done, or the context's.
func Run(ctx context.Context, targets []power.Target, o Options) ([]Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Limits.Total)
	defer cancel()
	r := &run{Options: o, begin: time.Now(), changed: true}
	for _, t := range targets {
		r.machines = append(r.machines, Machine{Target: t, Stage: Starting, heard: r.begin})
	}
	if err := r.remember(); err != nil {
		return nil, err
	}
	casting, stop := context.WithCancel(ctx)
	var casts sync.WaitGroup
	for _, cast := range o.Casts {
		casts.Go(func() {
			if err := cast(casting); err != nil && casting.Err() == nil {
				o.Log("cast: %v", err)
			}
		})
	}
	r.ends.Go(func() { r.start(ctx) })
	r.watch(ctx)
	stop()
	casts.Wait()
	r.ends.Wait()
	return r.result(ctx)
}

// result returns what became of the room.
func (r *run) result(ctx context.Context) ([]Machine, error) {
	failed := 0
	for i := range r.machines {
		m := &r.machines[i]
		if !m.ended() {
			r.fail(m, fmt.Errorf("%w: %s: %s", cmp.Or(context.Cause(ctx), ErrSilent), m.Stage, m.Text))
		}
		if m.Stage == Failed {
			failed++
		}
	}
	r.tell()
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return r.machines, ctx.Err()
	case failed > 0:
		return r.machines, fmt.Errorf("%w: %d of %d failed", ErrRoom, failed, len(r.machines))
	}
	return r.machines, nil
}

// remember notes what machines reported before: it is old.
func (r *run) remember() error {
	all, errs := reports.List(r.Reports)
	if len(all) == 0 && len(errs) > 0 {
		return errs[0]
	}
	for i := range r.machines {
		if last := r.find(all, i); last != nil {
			r.machines[i].before = last.Report.Boot
		}
	}
	return nil
}

// find returns the last report of a machine.
func (r *run) find(all []reports.Machine, i int) *reports.Machine {
	n := slices.IndexFunc(all, func(one reports.Machine) bool {
		m := one.Report.Machine
		return r.machines[i].Identifies(manifest.Identity{UUID: m.UUID, Serial: m.Serial, MACs: m.MACs})
	})
	if n < 0 {
		return nil
	}
	return &all[n]
}

// start brings all machines to start.
func (r *run) start(ctx context.Context) {
	var targets []power.Target
	at := map[string]int{}
	for i := range r.machines {
		targets = append(targets, r.machines[i].Target)
		at[targets[i].Label] = i
	}
	results := power.All(ctx, targets, r.Limits.Parallel, func(ctx context.Context, t power.Target) (power.State, error) {
		err := r.kick(ctx, t, r.Device)
		r.set(at[t.Label], func(m *Machine) {
			if err == nil && m.Stage == Starting { // else it has reported already
				m.Stage, m.heard, m.Text = Booting, time.Now(), "switched on"
			}
		})
		return "", err
	})
	for i, result := range results {
		r.set(i, func(m *Machine) {
			if result.Err != nil && m.Stage == Starting { // else it has started all the same
				r.fail(m, result.Err)
			}
		})
	}
}

// kick has a machine start anew, from a device if one is given.
func (r *run) kick(ctx context.Context, t power.Target, d power.Device) error {
	if d != "" {
		if err := t.Driver.BootNext(ctx, d); err != nil {
			return fmt.Errorf("boot-next %s: %w", d, err)
		}
	}
	state, err := t.Driver.State(ctx)
	if errors.Is(err, power.ErrUnsupported) { // Wake-on-LAN
		return t.Driver.Do(ctx, power.On)
	}
	if err != nil {
		return err
	}
	if state == power.IsOn {
		return t.Driver.Do(ctx, power.Reset)
	}
	return t.Driver.Do(ctx, power.On)
}

// watch follows the room until everybody has ended, or time is over.
func (r *run) watch(ctx context.Context) {
	tick := time.NewTicker(r.Limits.Poll)
	defer tick.Stop()
	for {
		all, _ := reports.List(r.Reports) // what is damaged gives way to the one before
		for i := range r.machines {
			last := r.find(all, i)
			r.set(i, func(m *Machine) {
				if last != nil {
					r.hear(ctx, i, m, last)
				}
				if silent := time.Since(m.heard); !m.ended() && m.Stage != Ending && silent > r.Limits.Silence {
					r.fail(m, fmt.Errorf("%w for %s; last: %s: %s", ErrSilent, silent.Round(time.Second), m.Stage, m.Text))
				}
			})
		}
		r.tell()
		if r.all() {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// all tells whether everybody has ended.
func (r *run) all() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !slices.ContainsFunc(r.machines, func(m Machine) bool { return !m.ended() })
}

// set changes a machine.
func (r *run) set(i int, change func(*Machine)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := &r.machines[i]
	before := *m
	if change(m); m.Stage != before.Stage || m.Text != before.Text {
		r.changed = true
	}
}

// tell shows the room, if it has changed.
func (r *run) tell() {
	r.mu.Lock()
	room, changed := slices.Clone(r.machines), r.changed
	r.changed = false
	r.mu.Unlock()
	if changed {
		r.Progress(room)
	}
}

// fail ends a machine.
func (r *run) fail(m *Machine, err error) {
	m.Stage, m.Err, m.Text, m.Took = Failed, err, err.Error(), time.Since(r.begin)
	r.changed = true
}

// done ends a machine, too.
func (r *run) done(m *Machine, text string) {
	m.Stage, m.Text, m.Took = Done, text, time.Since(r.begin)
}
