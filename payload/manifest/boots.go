package manifest

import "github.com/farboot/farboot/payload/object"

// Linux is a kernel with its initrds and its literal command line.
type Linux struct {
	Kernel  object.Ref   `json:"kernel"`
	Initrd  []object.Ref `json:"initrd,omitzero"`
	Cmdline string       `json:"cmdline"`
	// Network appends the network in use to the command line, as BOOTIF= and
	// ip=. Nothing else is ever appended.
	Network bool `json:"network,omitzero"`
	// Watchdog arms a hardware watchdog of so many seconds before the kernel is
	// started, and leaves it running: a system that does not take it over is
	// reset. 0 arms none.
	Watchdog int `json:"watchdog,omitzero"`
}

// Local starts what is installed on the machine.
type Local struct {
	// Firmware restarts into the firmware's next boot device, in the place of
	// looking at disks.
	Firmware bool `json:"firmware,omitzero"`
	// Disk is the serial number or the wwid of the only disk to look at, as
	// sysfs shows it; empty is every one.
	Disk string `json:"disk,omitzero"`
}

// Power restarts the machine or switches it off.
type Power struct {
	// Action is [Reboot] or [Off].
	Action string `json:"action"`
}

// The actions of a [Power] entry.
const (
	Reboot = "reboot"
	Off    = "off"
)

func (x *Linux) kind() string       { return "linux" }
func (x *Linux) refs() []object.Ref { return append([]object.Ref{x.Kernel}, x.Initrd...) }
func (x *Linux) then() string       { return "" }

func (x *Local) kind() string          { return "local" }
func (x *Local) refs() []object.Ref    { return nil }
func (x *Local) then() string          { return "" }
func (x *Local) validate(Bounds) error { return CheckLocal(*x) }

func (x *Power) kind() string          { return "power" }
func (x *Power) refs() []object.Ref    { return nil }
func (x *Power) then() string          { return "" }
func (x *Power) validate(Bounds) error { return CheckPower(*x) }
