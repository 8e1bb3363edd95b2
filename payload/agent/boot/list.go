package boot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/agent/menu"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
)

// end is how a round, or a part of it, has ended.
type end int

const (
	failed  end = iota // nothing was started: the next-best answer
	started            // the machine has changed hands
	over               // the round is over
	idle               // all that was to be done is: nothing else is to be tried
)

// maxWishes bounds how often in a row entries may ask for one another: with more
// they are asking each other.
const maxWishes = 16

// errDone says that an entry has done its work and the next one is to follow.
var errDone = errors.New("done")

// wish is what somebody who works in an entry wants to be tried next, by its name.
type wish struct{ entry string }

// Error makes it what an entry ends with.
func (w wish) Error() string { return fmt.Sprintf("asks for %q", w.entry) }

// lookup finds an entry by name.
type lookup func(name string) (job, error)

// entries tries what the manifest lists for this machine, in order, but those
// last that failed too often, and first what somebody at the console chose.
func (b *boot) entries(ctx context.Context, net *line, a *accept.Accepted) end {
	id := b.Identity()
	machine := a.Manifest.For(id)
	switch {
	case machine.Unknown != "":
		b.fail("choose", fmt.Errorf("%w: the record of this machine has %q", errKind, machine.Unknown))
		return failed
	case len(machine.Boot) == 0:
		b.fail("choose", fmt.Errorf("%w: %s", errNoEntry, describe(id)))
		return failed
	}
	names := b.order(a, machine.Boot)
	b.tighten(a.Manifest.Limits)
	b.Log("choose: %s (%s)", strings.Join(names, ", then "), describe(id))
	names = b.choose(ctx, a, machine.Menu, names)
	if err := b.adopt(ctx, net, machine); err != nil {
		b.fail("network", err)
		return over
	}
	b.spare = b.canSpare(a, names, machine.Menu)
	return b.try(ctx, names, func(name string) (job, error) {
		e, err := a.Entry(name)
		return job{name: name, entry: e, from: a, net: net, machine: machine}, err
	})
}

// try tries entries until one starts. A script or a flash that has done its work in
// this boot is not done again, unless somebody asks for it. One that asked for
// another has done it once that has; if that fails, it is asked anew in the next
// round.
func (b *boot) try(ctx context.Context, names []string, find lookup) end {
	result := idle
	var askers []job
	for len(names) > 0 {
		name := names[0]
		names = names[1:]
		j, err := find(name)
		if err == nil && len(askers) == 0 && b.done[tryKey(j.entry)] {
			b.Log("%s: done in this boot already", name)
			continue
		}
		if err == nil {
			j.find = find
			err = b.start(ctx, j)
		}
		w, asks := errors.AsType[wish](err)
		switch {
		case err == nil:
			return started
		case asks && len(askers) < maxWishes:
			b.Log("%s: %v", name, w)
			names, askers = append([]string{w.entry}, names...), append(askers, j)
			continue
		case errors.Is(err, errDone):
			b.Log("%s: done", name)
			b.finish(append(askers, j))
			askers = nil
			continue
		}
		askers = nil
		b.fail(name, err)
		switch result = failed; {
		case ctx.Err() != nil || errors.Is(err, errQuiet):
			return over
		case errors.Is(err, accept.ErrRollback):
			return failed // so are its other entries
		}
	}
	return result
}

// finish notes what has done its work. A rescue has never: somebody may come later.
// Nor has a live system, which does it for as long as it is there.
func (b *boot) finish(jobs []job) {
	for _, j := range jobs {
		if j.entry.Rescue == nil && j.entry.Live == nil {
			b.done[tryKey(j.entry)] = true
		}
	}
}

// choose lets somebody at a console choose what is tried first, once for each
// manifest in a boot: rounds that fail do not wait for him again.
func (b *boot) choose(ctx context.Context, a *accept.Accepted, m *manifest.Menu, names []string) []string {
	if m == nil {
		return names
	}
	if m.Unknown != "" {
		b.fail("choose", fmt.Errorf("%w: the menu has %q", errKind, m.Unknown))
		return names
	}
	choice, asked := b.choices[a.SHA256]
	if !asked {
		choice = b.ask(ctx, a, m, names)
		b.choices[a.SHA256] = choice
	}
	if choice == "" {
		return names
	}
	rest := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return name == choice })
	return append([]string{choice}, rest...)
}

// ask shows the menu and returns what was chosen, or "".
func (b *boot) ask(ctx context.Context, a *accept.Accepted, m *manifest.Menu, names []string) string {
	defer b.Story.Stage("menu")()
	shown := menu.Menu{Title: "What shall this machine boot?", Time: time.Duration(m.Seconds) * time.Second}
	for _, name := range slices.Concat(names, m.Entries) {
		item := menu.Item{Name: name, Title: a.Manifest.Entries[name].Title}
		if !slices.Contains(shown.Items, item) {
			shown.Items = append(shown.Items, item)
		}
	}
	choice, by, err := b.Choose(ctx, shown)
	if err != nil {
		b.fail("menu", err)
		return ""
	}
	if by == "" {
		return ""
	}
	b.Log("choose: %s, chosen on %s", choice, by)
	return choice
}

// canSpare tells whether no entry that may be tried will ask for a driver.
func (b *boot) canSpare(a *accept.Accepted, names []string, m *manifest.Menu) bool {
	if m != nil {
		names = slices.Concat(names, m.Entries)
	}
	return !slices.ContainsFunc(b.medium.Fallback, needsDrivers) && !slices.ContainsFunc(names, func(name string) bool {
		return needsDrivers(a.Manifest.Entries[name])
	})
}

// needsDrivers tells whether an entry reads disks or mounts file systems.
func needsDrivers(e manifest.Entry) bool { return e.Linux == nil && e.Xen == nil && e.Power == nil }

// fallback tries the entries on the medium, in order. A script or a rescue takes a
// network up before, and those after it have that, too.
func (b *boot) fallback(ctx context.Context) end {
	var net *line
	defer func() {
		if net != nil {
			net.Close()
		}
	}()
	if len(b.medium.Site) == 0 {
		b.Log("choose: this medium asks no site")
		b.recall()
		b.readStick()
	}
	jobs, names := map[string]job{}, []string(nil)
	for i, e := range b.medium.Fallback {
		name := fmt.Sprintf("fallback %d", i+1)
		names = append(names, name)
		jobs[name] = job{name: name, entry: e}
	}
	if len(names) == 0 {
		return failed
	}
	return b.try(ctx, names, func(name string) (job, error) {
		j, ok := jobs[name]
		if !ok {
			return job{}, fmt.Errorf("%w: %q is not on the medium", errNoEntry, name)
		}
		j.net, j.connect = net, func() *line {
			if net == nil {
				net = b.connected(ctx)
			}
			return net
		}
		return j, nil
	})
}

// then does what comes after an entry that has done its work. It returns nil only
// where the machine was handed over.
func (b *boot) then(ctx context.Context, j job) error {
	switch then := j.entry.Then(); then {
	case manifest.ThenReboot:
		return b.restart(ctx, j, b.Reboot)
	case manifest.ThenOff:
		return b.restart(ctx, j, b.PowerOff)
	case manifest.ThenLocal:
		j.entry = manifest.Entry{Title: "The system on the disk", Local: &manifest.Local{}}
		return b.installed(ctx, j)
	case manifest.ThenWait:
		b.Log("%s: done, waiting for somebody to restart the machine", j.name)
		b.tellDone(ctx, j)
		<-ctx.Done()
		return ctx.Err()
	default:
		return errDone
	}
}

// tellDone reports that nothing follows for now.
func (b *boot) tellDone(ctx context.Context, j job) {
	if j.net != nil {
		b.post(ctx, report.Done)
	}
}
