package boot

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/google/go-cmp/cmp"
)

// xenEntry has all that an entry for Xen can have, of the lab's artifacts.
func xenEntry() manifest.Entry {
	return manifest.Entry{Xen: &manifest.Xen{
		Hypervisor: object.OfBytes(kernel), Options: "console=com1", Kernel: object.OfBytes(first),
		Initrd: []object.Ref{object.OfBytes(first), object.OfBytes(second)}, Cmdline: "quiet",
		Modules: []manifest.XenModule{{Object: object.OfBytes(second), Args: "a b"}}, Network: true, Watchdog: 300,
	}}
}

// got is what was handed to kexec_load.
type gotXen struct {
	Hypervisor, Options, Kernel, Initrd, Cmdline, Module, Args string
}

// loadsXen makes the lab take Xen, or fail as load does.
func (l *lab) loadsXen(load func() error) *[]gotXen {
	all := new([]gotXen)
	l.loadXen = func(x handover.Xen) error {
		if err := load(); err != nil {
			return err
		}
		*all = append(*all, gotXen{content(x.Hypervisor), x.Options, content(x.Kernel), content(x.Initrd), x.Cmdline, content(x.Modules[0].Data), x.Modules[0].Args})
		return nil
	}
	return all
}

// jumps runs the lab, which hands over once.
func (l *simLab) jumps(t *testing.T) {
	t.Helper()
	l.lines, l.executed = nil, 0
	if err := l.run(t); err != nil || l.executed != 1 {
		t.Errorf("run: %v, started %d times; log:\n%s", err, l.executed, strings.Join(l.lines, "\n"))
	}
}

// TestXenEntry: all parts come to kexec_load as the manifest has them, the initrds
// as one, with the network on dom0's command line and a watchdog.
func TestXenEntry(t *testing.T) {
	l := newSimLab(t)
	l.boots(xenEntry())
	l.publish(t, 12)
	got := l.loadsXen(func() error { return nil })
	l.jumps(t)
	want := []gotXen{{
		string(kernel), "console=com1", string(first), "first\x00\x00\x00" + string(second),
		"quiet BOOTIF=01-52-54-00-12-34-56 ip=10.0.2.15:::255.255.255.0:::none::", string(second), "a b",
	}}
	if diff := cmp.Diff(want, *got); diff != "" || len(l.loaded) != 0 {
		t.Error(diff)
	}
	if !slices.Equal(l.armed, []time.Duration{300 * time.Second}) {
		t.Errorf("watchdog %v", l.armed)
	}
	saw(t, l.lab, "Xen's options: console=com1")
}

// TestXenLocked: under Secure Boot the code says so, and the next entry starts.
func TestXenLocked(t *testing.T) {
	l := newSimLab(t)
	l.boots(xenEntry(), linux(first))
	l.publish(t, 12)
	l.loadsXen(func() error { return handover.ErrLocked })
	l.jumps(t)
	saw(t, l.lab, "entry-1: [locked] Secure Boot is on")
	if len(l.loaded) != 1 || l.loaded[0].image != string(first) {
		t.Errorf("loaded %+v", l.loaded)
	}
}

// TestXenMemory: a machine that is too small is told before anything is fetched.
func TestXenMemory(t *testing.T) {
	l := newSimLab(t)
	l.boots(xenEntry(), linux(first))
	l.publish(t, 12)
	got := l.loadsXen(func() error { return nil })
	l.available = xenMemory(xenEntry().Xen) + spareMemory - 1
	l.jumps(t)
	saw(t, l.lab, "entry-1: [no-memory]")
	if len(*got) != 0 {
		t.Error("it was loaded")
	}
	l.available++
	l.jumps(t)
	if len(*got) != 1 {
		t.Errorf("%d loads where it fits", len(*got))
	}
}
