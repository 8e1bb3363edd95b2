package boot

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/menu"
	"github.com/farboot/farboot/payload/manifest"
)

// withMenu makes a machine whose list is "installer" and whose menu has "second"
// as well.
func withMenu(t *testing.T) *simLab {
	t.Helper()
	l := newSimLab(t)
	l.manifest.Entries["second"] = linux(second)
	e := l.manifest.Entries["second"]
	e.Title = "The second"
	l.manifest.Entries["second"] = e
	l.manifest.Menu = &manifest.Menu{Seconds: 30, Entries: []string{"second", "installer"}}
	return l
}

// The menu lists what the machine boots first, then what else is offered, each
// once. Who does not choose gets the list as it is.
func TestMenu(t *testing.T) {
	l := withMenu(t)
	l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
	want := []menu.Item{{Name: "installer", Title: "Debian installer"}, {Name: "second", Title: "The second"}}
	if len(l.menus) != 1 || !slices.Equal(l.menus[0].Items, want) || l.menus[0].Time != 30*time.Second {
		t.Errorf("shown: %+v", l.menus)
	}
	if lines := l.said("choose: "); len(lines) != 1 {
		t.Errorf("said %q", lines)
	}
}

// What is chosen is tried first, in every round, and the machine's list comes
// after it: who chose wrongly from afar has not lost the machine.
func TestChosen(t *testing.T) {
	l := withMenu(t)
	l.publish(t, 12)
	l.chosen, l.stopOn = "second", "(round 3)"
	l.load = func() error { return handover.ErrRefused }
	if err := l.run(t); err == nil {
		t.Fatal("it started")
	}
	var tried []string
	for _, line := range l.lines {
		if name, rest, _ := strings.Cut(line, ": "); strings.HasPrefix(rest, "[kexec-refused] ") {
			tried = append(tried, name)
		}
	}
	if want := []string{"second", "installer", "second", "installer"}; !slices.Equal(tried, want) {
		t.Errorf("tried %q, want %q", tried, want)
	}
	if len(l.menus) != 1 {
		t.Errorf("the menu was shown %d times: nobody is there in the second round", len(l.menus))
	}
	saw(t, l.lab, "choose: second, chosen on ttyS0")
}

// A manifest without a menu shows none, and neither does one whose menu says what
// this agent does not know.
func TestNoMenu(t *testing.T) {
	l := newSimLab(t)
	l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
	if len(l.menus) != 0 {
		t.Error("a menu was shown")
	}
}

// Drivers stay where the menu offers what may need one.
func TestMenuKeepsDrivers(t *testing.T) {
	l := withMenu(t)
	l.available, l.drivers = spareMemory, 1<<20
	l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
	if l.dropped != 1 {
		t.Errorf("dropped %d times, want once", l.dropped)
	}
	l = withMenu(t)
	l.available, l.drivers = spareMemory, 1<<20
	l.manifest.Entries["disk"] = manifest.Entry{Title: "Disk", Local: &manifest.Local{}}
	l.manifest.Menu.Entries = append(l.manifest.Menu.Entries, "disk")
	l.publish(t, 12)
	refused(t, l.lab, l.run(t), "installer: [no-memory] ")
	if l.dropped != 0 {
		t.Error("the drivers for disks are gone")
	}
}
