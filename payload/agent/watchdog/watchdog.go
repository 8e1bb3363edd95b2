// Package watchdog finds the machine's watchdog, a timer in hardware that resets
// the machine unless it is fed, and leaves it running over the jump into the next
// kernel: one that hangs brings the machine back to its medium.
//
// The calls, in order: [Find] and [Dog.Bark] early, for why this boot happens;
// [Dog.Arm] last before the jump, and [Dog.Disarm] where the jump failed. Find
// touches no hardware. The package promises that an armed timer bites no sooner
// than it was told, and that one which could not outlive the jump is refused
// instead of armed.
//
// It does not feed the timer. The next system has to take it over, which every
// driver does as it loads; where the next system has none, the machine is reset
// in the midst of its work. Whoever writes the entry must know.
package watchdog

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNone is wrapped by the errors of [Find] and [Dog.Arm]: nothing on this
// machine will reset it after a jump.
var ErrNone = errors.New("no watchdog for this")

const (
	// Min and Max bound what a timer is set to. In less than 30 s a large
	// machine has not yet loaded its drivers; an hour is what one would wait
	// before driving there.
	Min = 30 * time.Second
	Max = time.Hour
)

const (
	// classDir has one folder for each timer of the kernel's watchdog core,
	// below /sys.
	classDir = "class/watchdog"
	// legacyDir is there, below /sys, where a driver beside the core made
	// /dev/watchdog: ipmi_watchdog is the last one.
	legacyDir = "class/misc/watchdog"
	// stopFile, below /sys, tells whether the core stops timers at the jump.
	stopFile = "module/watchdog/parameters/stop_on_reboot"
	// maxFile bounds what is read from a file of sysfs, in bytes: one page.
	maxFile = 4096
)

// Dog is one watchdog. It is for one goroutine.
type Dog struct {
	name     string // of the node below dev
	identity string // as its driver calls it; empty for a legacy one
	status   uint64 // WDIOF_ flags of why the machine started
	stops    bool   // the core stops it at the jump
	dev      string
	// fd is open while it runs, else closed. No *os.File: the garbage collector
	// would close it once the Dog is forgotten, and a close may stop the timer.
	fd int
}

// closed is the fd of a Dog that does not run.
const closed = -1

// Find returns the first watchdog in sysfs, the file tree of /sys, that can do
// the task; dev is where devtmpfs is mounted. Nothing is opened: that would start
// the timer.
func Find(sysfs fs.FS, dev string) (*Dog, error) {
	entries, err := fs.ReadDir(sysfs, classDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int {
		return cmp.Or(len(a.Name())-len(b.Name()), strings.Compare(a.Name(), b.Name()))
	})
	stops := text(sysfs, stopFile) != "0"
	var passed []string
	for _, e := range entries {
		d := &Dog{name: e.Name(), dev: dev, fd: closed, stops: stops, identity: text(sysfs, path.Join(classDir, e.Name(), "identity"))}
		if why := unfit(d.identity); why != "" {
			passed = append(passed, fmt.Sprintf(" (%s: %s)", d.identity, why))
			continue
		}
		// A number that cannot be read counts as no flags.
		d.status, _ = strconv.ParseUint(text(sysfs, path.Join(classDir, e.Name(), "bootstatus")), 0, 32)
		return d, nil
	}
	if _, err := fs.Stat(sysfs, legacyDir); err == nil && len(entries) == 0 {
		// ipmi_watchdog keeps running at a reboot and gives the next kernel
		// 120 s or what was set, whichever is more (wdog_reboot_handler).
		return &Dog{name: "watchdog", dev: dev, fd: closed}, nil
	}
	return nil, fmt.Errorf("%w: none in this machine%s", ErrNone, strings.Join(passed, ""))
}

// unfit tells why a driver's timer is none that helps, or returns "".
func unfit(identity string) string {
	switch identity {
	case "Software Watchdog": // softdog
		return "it dies with the kernel that it would have to watch"
	case "iamt_wdt": // mei_wdt
		return "it reports and does not reset"
	}
	return ""
}

// text returns a file of sysfs without the newline, or "".
func text(sysfs fs.FS, name string) string {
	data, err := fs.ReadFile(sysfs, name)
	if err != nil || len(data) > maxFile {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// String names the watchdog on the screen.
func (d *Dog) String() string {
	return strings.TrimSuffix(fmt.Sprintf("%s (%s)", d.name, cmp.Or(d.identity, "IPMI")), " ()")
}

// Bark tells whether this watchdog was what reset the machine last. False does
// not say that it was not: iTCO_wdt, of most Intel boards, never tells, and one
// by IPMI would have to be started for the question.
func (d *Dog) Bark() bool { return d.status&unix.WDIOF_CARDRESET != 0 }

// Arm starts the timer, or starts it again: the machine is reset after at least
// that long, and leaves it running, over the jump as well. It returns what the
// timer was really set to, which may be some seconds more. A timer that cannot
// count that far is refused: one that bites early would reset machines that do
// well.
//
// What holds at the jump (Linux 6.1): kernel_kexec calls the reboot notifiers,
// and there the core stops every timer whose driver asked for that
// (WDOG_STOP_ON_REBOOT in drivers/watchdog/watchdog_core.c); i6300esb, iTCO_wdt
// and sp5100_tco do, wdat_wdt does not. The parameter stop_on_reboot=0 of the
// module watchdog overrides them all. It can only be given as the module is
// loaded, so Arm refuses where it was not. What the core does in software to
// stretch a timer ends with its kernel; hence the question for the time left,
// which the hardware answers.
func (d *Dog) Arm(least time.Duration) (actual time.Duration, err error) {
	if least < Min || least > Max {
		return 0, fmt.Errorf("watchdog %s: %s is not between %s and %s", d, least, Min, Max)
	}
	if d.stops {
		return 0, fmt.Errorf("watchdog %s: %w: it would be stopped at the jump: the module watchdog was loaded without stop_on_reboot=0", d, ErrNone)
	}
	if d.fd == closed {
		name := filepath.Join(d.dev, d.name)
		if d.fd, err = unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC, 0); err != nil {
			return 0, fmt.Errorf("watchdog %s: %w", d, &fs.PathError{Op: "open", Path: name, Err: err})
		}
	}
	actual, err = set(d.fd, least)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("watchdog %s: %w", d, err), d.Disarm())
	}
	return actual, nil
}

// set sets the timer and starts it from the beginning.
func set(fd int, least time.Duration) (time.Duration, error) {
	seconds := int((least + time.Second - 1) / time.Second)
	if err := unix.IoctlSetPointerInt(fd, unix.WDIOC_SETTIMEOUT, seconds); err != nil {
		return 0, fmt.Errorf("%w: it cannot be set to %d s: %w", ErrNone, seconds, err)
	}
	// Fed by a write: other than WDIOC_KEEPALIVE that also takes back a "V" which
	// somebody wrote before, and which would let a close stop the timer.
	if _, err := unix.Write(fd, []byte{0}); err != nil {
		return 0, fmt.Errorf("cannot be fed: %w", err)
	}
	actual, err := unix.IoctlGetInt(fd, unix.WDIOC_GETTIMEOUT)
	if err != nil {
		return 0, fmt.Errorf("does not tell its time: %w", err)
	}
	// Many drivers do not tell. One second may have begun since.
	if left, err := unix.IoctlGetInt(fd, unix.WDIOC_GETTIMELEFT); err == nil && left > 0 && left+1 < actual {
		actual = left + 1
	}
	if actual < seconds {
		return 0, fmt.Errorf("%w: it counts %d s at most, %d s are asked for", ErrNone, actual, seconds)
	}
	return time.Duration(actual) * time.Second, nil
}

// Disarm stops the timer, where it runs: the jump it was armed for will not
// happen. After an error it may still be running, and the machine will be reset.
func (d *Dog) Disarm() error {
	if d.fd == closed {
		return nil
	}
	err := unix.IoctlSetPointerInt(d.fd, unix.WDIOC_SETOPTIONS, unix.WDIOS_DISABLECARD)
	if err != nil { // with a "V" before it, a close stops the timer, too
		_, _ = unix.Write(d.fd, []byte("V"))
	}
	err = errors.Join(err, unix.Close(d.fd))
	d.fd = closed
	if err != nil {
		return fmt.Errorf("watchdog %s: cannot be stopped: %w", d, err)
	}
	return nil
}
