package recipe

import (
	"fmt"

	"github.com/farboot/farboot/payload/manifest"
)

// XenEntry is the Xen hypervisor with dom0, its first system.
type XenEntry struct {
	// Hypervisor is Xen itself, as it is or compressed by gzip.
	Hypervisor Input `yaml:"hypervisor" json:"hypervisor"`
	// Options are Xen's own: "dom0_mem=512M console=com1".
	Options string `yaml:"options" json:"options,omitzero"`
	// Kernel, Initrd and Cmdline are dom0's.
	Kernel  Input   `yaml:"kernel" json:"kernel,omitzero"`
	Initrd  []Input `yaml:"initrd" json:"initrd,omitzero"`
	Cmdline string  `yaml:"cmdline" json:"cmdline,omitzero"`
	// Modules follow kernel and initrd: microcode, a policy.
	Modules []XenModule `yaml:"modules" json:"modules,omitzero"`
}

// XenModule is a file for Xen beside dom0's own.
type XenModule struct {
	Input `yaml:",inline"`
	// Args are the module's command line.
	Args string `yaml:"args" json:"args,omitzero"`
}

// XenKexecEntry is a XenEntry that the agent starts.
type XenKexecEntry struct {
	XenEntry `yaml:",inline"`
	// Network appends the network that the agent has, as BOOTIF= and ip=, to dom0's
	// command line.
	Network bool `yaml:"network" json:"network,omitzero"`
	// Watchdog is as for linux.
	Watchdog int `yaml:"watchdog" json:"watchdog,omitzero"`
}

// inputs lists hypervisor, kernel, if there is one, initrds and modules; nil has
// none.
func (e *XenEntry) inputs() []Input {
	if e == nil {
		return nil
	}
	in := []Input{e.Hypervisor}
	if e.hasKernel() {
		in = append(in, e.Kernel)
	}
	in = append(in, e.Initrd...)
	for _, m := range e.Modules {
		in = append(in, m.Input)
	}
	return in
}

// hasKernel tells whether the recipe names dom0's kernel.
func (e *XenEntry) hasKernel() bool { return e.Kernel != (Input{Line: e.Kernel.Line}) }

// xenKexec validates a hypervisor that the agent starts.
func (v *validator) xenKexec(at string, e *XenKexecEntry) {
	v.artifact(at+".kernel", e.Kernel)
	v.xen(at, &e.XenEntry)
	v.atMost(at+".initrd", len(e.Initrd), manifest.DefaultBounds().Initrds)
	v.hinted(at+".watchdog", "it counts until dom0 takes it over", manifest.CheckWatchdog(e.Watchdog))
}

// xen validates a hypervisor and what it is given, but for dom0's kernel.
func (v *validator) xen(at string, e *XenEntry) {
	v.artifact(at+".hypervisor", e.Hypervisor)
	for i, in := range e.Initrd {
		v.artifact(fmt.Sprintf("%s.initrd[%d]", at, i), in)
	}
	for i, m := range e.Modules {
		at := fmt.Sprintf("%s.modules[%d]", at, i)
		v.artifact(at, m.Input)
		v.try(at+".args", manifest.CheckXenLine(m.Args))
	}
	v.atMost(at+".modules", len(e.Modules), manifest.DefaultBounds().XenModules)
	v.try(at+".options", manifest.CheckXenLine(e.Options))
	v.try(at+".cmdline", manifest.CheckXenLine(e.Cmdline))
}

func (e *XenKexecEntry) manifest(m Maker) (*manifest.Xen, error) {
	out := &manifest.Xen{Options: e.Options, Cmdline: e.Cmdline, Network: e.Network, Watchdog: e.Watchdog}
	var err error
	if out.Hypervisor, err = m.Object(Content{Input: e.Hypervisor}); err != nil {
		return nil, err
	}
	if out.Kernel, err = m.Object(Content{Input: e.Kernel}); err != nil {
		return nil, err
	}
	for _, in := range e.Initrd {
		ref, err := m.Object(Content{Input: in})
		if err != nil {
			return nil, err
		}
		out.Initrd = append(out.Initrd, ref)
	}
	for _, in := range e.Modules {
		ref, err := m.Object(Content{Input: in.Input})
		if err != nil {
			return nil, err
		}
		out.Modules = append(out.Modules, manifest.XenModule{Object: ref, Args: in.Args})
	}
	return out, nil
}
