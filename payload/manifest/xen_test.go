package manifest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/object"
)

// TestXenValidate breaks one thing of the sample at a time.
func TestXenValidate(t *testing.T) {
	for name, breakIt := range map[string]func(*Xen){
		"no hypervisor":    func(x *Xen) { x.Hypervisor = object.Ref{} },
		"large hypervisor": func(x *Xen) { x.Hypervisor.Size = 64<<20 + 1 },
		"no kernel":        func(x *Xen) { x.Kernel = object.Ref{} },
		"large kernel":     func(x *Xen) { x.Kernel.Size = 256<<20 + 1 },
		"initrds":          func(x *Xen) { x.Initrd = slices.Repeat(x.Initrd, 9) },
		"large initrd":     func(x *Xen) { x.Initrd[0].Size = 2<<30 + 1 },
		"modules":          func(x *Xen) { x.Modules = slices.Repeat(x.Modules, 5) },
		"module's hash":    func(x *Xen) { x.Modules[0].Object.SHA256 = object.ID{} },
		"large module":     func(x *Xen) { x.Modules[1].Object.Size = 2<<30 + 1 },
		"module's args":    func(x *Xen) { x.Modules[0].Args = "a\nb" },
		"options":          func(x *Xen) { x.Options = "console=com1\x00" },
		"long options":     func(x *Xen) { x.Options = strings.Repeat("x", 961) },
		"command line":     func(x *Xen) { x.Cmdline = `a="b` },
		"long line":        func(x *Xen) { x.Cmdline = strings.Repeat("x", 961) },
		"watchdog":         func(x *Xen) { x.Watchdog = 29 },
	} {
		m := sample()
		breakIt(m.Entries["xen"].Xen)
		if err := m.Validate(); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), `entry "xen"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	m := sample()
	m.Entries["xen"].Xen.Options = strings.Repeat("x", 960)
	if err := m.Validate(); err != nil {
		t.Error(err)
	}
	if got := m.Entries["xen"]; got.Kind() != "xen" || got.Then() != "" || len(got.Refs()) != 6 {
		t.Errorf("kind %q, then %q, %d objects", got.Kind(), got.Then(), len(got.Refs()))
	}
}
