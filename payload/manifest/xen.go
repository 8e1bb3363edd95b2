package manifest

import (
	"cmp"
	"fmt"

	"github.com/farboot/farboot/payload/object"
)

// Xen is the Xen hypervisor with dom0, its first system.
type Xen struct {
	// Hypervisor is Xen itself, as it is or compressed by gzip, as Debian has it.
	Hypervisor object.Ref `json:"hypervisor"`
	// Options are Xen's own: "dom0_mem=512M console=com1".
	Options string `json:"options,omitzero"`
	// Kernel, Initrd and Cmdline are dom0's. Xen knows one initrd, so several
	// become one.
	Kernel  object.Ref   `json:"kernel"`
	Initrd  []object.Ref `json:"initrd,omitzero"`
	Cmdline string       `json:"cmdline,omitzero"`
	// Modules follow kernel and initrd: microcode, a policy.
	Modules []XenModule `json:"modules,omitzero"`
	// Network and Watchdog are as for [Linux]. The network goes to dom0.
	Network  bool `json:"network,omitzero"`
	Watchdog int  `json:"watchdog,omitzero"`
}

// XenModule is what Xen is given beside dom0's kernel and initrd.
type XenModule struct {
	Object object.Ref `json:"object"`
	// Args are the module's command line.
	Args string `json:"args,omitzero"`
}

func (x *Xen) kind() string { return "xen" }
func (x *Xen) then() string { return "" }
func (x *Xen) refs() []object.Ref {
	all := append([]object.Ref{x.Hypervisor, x.Kernel}, x.Initrd...)
	for _, m := range x.Modules {
		all = append(all, m.Object)
	}
	return all
}

func (x *Xen) validate(b Bounds) error {
	if err := checkRef(x.Hypervisor, b.Hypervisor); err != nil {
		return fmt.Errorf("hypervisor: %w", err)
	}
	dom0 := Linux{Kernel: x.Kernel, Initrd: x.Initrd, Watchdog: x.Watchdog}
	if err := dom0.validate(b); err != nil {
		return err
	}
	for i, ref := range x.Initrd {
		if err := checkRef(ref, b.XenModule); err != nil {
			return fmt.Errorf("initrd %d: %w", i+1, err)
		}
	}
	if len(x.Modules) > b.XenModules {
		return fmt.Errorf("%d modules, at most %d", len(x.Modules), b.XenModules)
	}
	for i, m := range x.Modules {
		if err := cmp.Or(checkRef(m.Object, b.XenModule), CheckXenLine(m.Args)); err != nil {
			return fmt.Errorf("module %d: %w", i+1, err)
		}
	}
	return cmp.Or(CheckXenLine(x.Options), CheckXenLine(x.Cmdline))
}

// CheckXenLine tells what is wrong with options of Xen, or with dom0's command
// line: what [CheckCmdline] says, or more than 960 bytes. Xen keeps 1023 of
// either and cuts off the rest without a word; what is left is for what farboot
// and Xen have to add.
func CheckXenLine(s string) error {
	if len(s) > maxXenLine {
		return fmt.Errorf("command line %+q: %d bytes, at most %d fit", clip(s), len(s), maxXenLine)
	}
	return CheckCmdline(s)
}
