package handover

import (
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/sys/unix"
)

// patience is how long one step before the jump may take. A dying disk answers
// after 30 s or never, and nothing that is left to write there is worth a
// machine that hangs.
const patience = 10 * time.Second

// Step is something to be done before the machine changes hands.
type Step struct {
	Name string
	Do   func() error
}

// Quiesce takes the steps one after the other before [Execute], [Reboot] or
// [PowerOff]: leave file systems that were mounted, switch network cards off. A
// step that fails, panics or takes longer than 10 s is told to log and left
// behind: what would have to be done is then as undone as after a power cut, and
// the jump still leads somewhere.
//
// Disks need no step. Their files are closed by now, the sync that follows
// writes what is left, and then the kernel itself empties the disks' caches and
// stops their controllers, since it calls device_shutdown for kexec as for a
// reboot (kernel_restart_prepare in kernel/reboot.c; sd_shutdown, nvme_shutdown).
func Quiesce(log func(format string, args ...any), steps ...Step) {
	for _, s := range steps {
		if err := within(patience, s.Do); err != nil {
			log("hand over: %s: %v", s.Name, err)
		}
	}
}

// within calls do and waits that long for it. A panic becomes an error.
func within(limit time.Duration, do func() error) error {
	done := make(chan error, 1)
	guard.Go("handing over", do, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-time.After(limit):
		return fmt.Errorf("no answer after %.0f s", limit.Seconds())
	}
}

// sync writes what is left to the disks, as far as they answer in time.
func sync() {
	_ = within(patience, func() error { unix.Sync(); return nil })
}

// Reboot restarts the machine through its firmware. It returns only if that
// failed.
func Reboot() error { return leave(unix.LINUX_REBOOT_CMD_RESTART, "restart") }

// PowerOff switches the machine off. It returns only if that failed.
func PowerOff() error { return leave(unix.LINUX_REBOOT_CMD_POWER_OFF, "switch off") }

// leave syncs and calls reboot(2).
func leave(command int, what string) error {
	sync()
	if err := unix.Reboot(command); err != nil {
		return fmt.Errorf("the machine does not %s: %w", what, err)
	}
	return nil
}
