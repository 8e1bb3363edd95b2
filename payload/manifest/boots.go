package manifest

import (
	"errors"
	"fmt"

	"github.com/farboot/farboot/payload/object"
)

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

func (x *Linux) validate(b Bounds) error {
	if err := checkRef(x.Kernel, b.Kernel); err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	if len(x.Initrd) > b.Initrds {
		return fmt.Errorf("%d initrds, at most %d", len(x.Initrd), b.Initrds)
	}
	for i, ref := range x.Initrd {
		if err := checkRef(ref, b.Initrd); err != nil {
			return fmt.Errorf("initrd %d: %w", i+1, err)
		}
	}
	if err := CheckWatchdog(x.Watchdog); err != nil {
		return err
	}
	return CheckCmdline(x.Cmdline)
}

// CheckLocal tells what is wrong with a local entry: it names a disk that the
// firmware would not care about, or by something else than plain text.
func CheckLocal(x Local) error {
	if x.Firmware && x.Disk != "" {
		return errors.New("firmware and disk exclude each other: the firmware decides itself")
	}
	if err := checkText(x.Disk, maxDisk); err != nil {
		return fmt.Errorf("disk %+q: %w", clip(x.Disk), err)
	}
	return nil
}

// CheckPower tells what is wrong with a power entry.
func CheckPower(x Power) error {
	if x.Action != Reboot && x.Action != Off {
		return fmt.Errorf("action %+q: want %q or %q", clip(x.Action), Reboot, Off)
	}
	return nil
}

// CheckWatchdog tells what is wrong with a watchdog's seconds; 0 is none.
func CheckWatchdog(seconds int) error {
	b := DefaultBounds()
	if seconds != 0 && (seconds < b.WatchdogMin || seconds > b.WatchdogMax) {
		return fmt.Errorf("watchdog of %d seconds, want %d to %d", seconds, b.WatchdogMin, b.WatchdogMax)
	}
	return nil
}

// checkRef refuses sizes that cannot be and a hash that was left out.
func checkRef(ref object.Ref, most int64) error {
	if ref.Size < 1 || ref.Size > most {
		return fmt.Errorf("%d bytes, want 1 to %d", ref.Size, most)
	}
	if ref.SHA256 == (object.ID{}) {
		return errors.New("sha256 is missing")
	}
	return nil
}
