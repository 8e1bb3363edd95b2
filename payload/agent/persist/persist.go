// Package persist finds the places on a machine where its memory
// (payload/state) outlives a reboot: a firmware variable, and the partition that
// every stick of farboot has for it.
//
// The calls, in order: [Mount], [Open], and then [Places.Load] before something
// is judged and [Places.Save] after it was believed. A place may be missing,
// read-only, damaged, slow or late; none of that keeps a machine from booting.
// A machine without any place starts from what the medium knows.
//
// Every write is read back, and nothing is written that is there already: flash
// and NVRAM wear out. Of what else is on a disk nothing is written, and nothing
// read but what [Places.ReadFile] is for.
package persist

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
)

const (
	// patience is how long one place may take for one Load or Save. A dying
	// stick answers after 30 s or never.
	patience = 10 * time.Second
	// enumerating is how long after [Open] a machine with USB is given to see
	// what is plugged in. A stick shows itself after 0.3 s, behind hubs later.
	enumerating = 2 * time.Second
	// probing is how long the first Load waits for sticks that show themselves
	// but are no disks yet: usb-storage alone lets 1 s pass, and drivers are
	// looked for twice a second.
	probing = 5 * time.Second
)

// Config says where to look for what.
type Config struct {
	// Sys and Dev are where sysfs and devtmpfs are mounted.
	Sys, Dev string
	// Build is the medium's build id, by which its partition is recognised.
	Build string
	// Product, Channel and Lineage tell whose state is meant, see [state.State].
	// That of others counts as none.
	Product, Channel string
	Lineage          object.ID
	// Log prints one line.
	Log func(format string, args ...any)
}

// Places are all places of one machine. They are looked for anew with each call,
// since sticks come and go. Places are for one goroutine.
type Places struct {
	Config
	// lost are places that once took too long. Something may still be busy there.
	lost map[string]bool
	// found are the places that any Load has found.
	found  []string
	opened time.Time
	holder string
	// probed is set once the sticks of the start were waited for.
	probed bool
}

// place is where one state lies.
type place interface {
	// String names the place on the screen.
	String() string
	// load returns what lies there; state.ErrNone says that nothing does.
	load() (state.State, error)
	// save writes s if it differs, and refuses to let the place's own state fall.
	save(s state.State) error
}

// Open returns the places of this machine. It touches none of them yet. It is
// for after the first drivers are in: the time that sticks get runs from here.
func Open(c Config) *Places {
	return &Places{Config: c, lost: map[string]bool{}, opened: time.Now()}
}

// Load returns the machine's state: for everything the highest that any place
// remembers. What is wrong with a place is logged and counts as nothing.
//
// The first Load waits for a stick to come: where there is USB, until 2 s after
// Open; where there is USB storage that is not ready, up to 5 s. To open early
// and to load late, once the network is up, makes that short or nothing.
func (p *Places) Load() state.State {
	if !p.probed {
		p.probed = true
		p.settle()
	}
	merged := state.State{Format: state.Format, Product: p.Product, Channel: p.Channel, Lineage: p.Lineage}
	p.holder = ""
	for _, at := range p.places() {
		if !slices.Contains(p.found, at.String()) {
			p.found = append(p.found, at.String())
		}
		s, err := within(p, at, at.load)
		switch {
		case errors.Is(err, state.ErrNone):
		case err != nil:
			p.Log("memory: %v; it counts as none", err)
		case !s.Of(p.Product, p.Channel, p.Lineage):
			p.Log("memory: %s: is product %q, channel %q, lineage %.8s; it counts as none", at, s.Product, s.Channel, s.Lineage)
		default:
			before := merged.Floor
			if merged = merged.Raise(s); !merged.Floor.Equal(before) {
				p.holder = at.String()
			}
		}
	}
	return merged
}

// Save brings every place that is there to s. An error that wraps
// [state.ErrLower] says that a place, perhaps one that came late, remembers
// more than s: what led to s has to be judged again, after a [Places.Load]. Any
// other tells which places were not written, which is no reason not to boot.
func (p *Places) Save(s state.State) error {
	if !s.Of(p.Product, p.Channel, p.Lineage) {
		return fmt.Errorf("memory: state of product %q, channel %q, lineage %.8s on a medium of %q, %q, %.8s",
			s.Product, s.Channel, s.Lineage, p.Product, p.Channel, p.Lineage)
	}
	var faults []error
	there := p.places()
	for _, name := range p.found {
		if !p.lost[name] && !slices.ContainsFunc(there, func(at place) bool { return at.String() == name }) {
			faults = append(faults, fmt.Errorf("memory: %s: is gone", name))
		}
	}
	for _, at := range there {
		_, err := within(p, at, func() (struct{}, error) { return struct{}{}, at.save(s) })
		if err != nil {
			faults = append(faults, fmt.Errorf("memory: %w", err))
		}
	}
	return errors.Join(faults...)
}

// Names lists the places that are there, for the screen.
func (p *Places) Names() []string {
	var names []string
	for _, at := range p.places() {
		names = append(names, at.String())
	}
	return names
}

// Holder names the place whose floor the last Load returned, or "". Of several
// that hold parts of it, it is the one that was asked last.
func (p *Places) Holder() string { return p.holder }

// places lists what can be written now and answered so far.
func (p *Places) places() []place {
	var found []place
	if v, ok := findVariable(p.Sys, p.variable()); ok && !p.lost[v.String()] {
		found = append(found, v)
	}
	for _, s := range p.sticks() {
		found = append(found, s)
	}
	return found
}

// sticks lists the sticks among them.
func (p *Places) sticks() []stick {
	return slices.DeleteFunc(findSticks(p.Sys, p.Dev, p.Build), func(s stick) bool { return p.lost[s.String()] })
}

// within calls f, which belongs to a place, and gives the place up if that takes
// too long. The error names the place.
func within[T any](p *Places, at fmt.Stringer, f func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	var value T
	guard.Go("memory", func() (err error) { value, err = f(); return err }, func(err error) { done <- result{value, err} })
	var r result
	select {
	case r = <-done:
	case <-time.After(patience):
		p.lost[at.String()] = true
		r.err = fmt.Errorf("no answer after %.0f s, it is left alone from now on", patience.Seconds())
	}
	if r.err != nil {
		var none T
		return none, fmt.Errorf("%s: %w", at, r.err)
	}
	return r.value, nil
}
