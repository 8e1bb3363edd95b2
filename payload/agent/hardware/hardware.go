// Package hardware wakes the machine: kernel file systems, drivers, randomness,
// the clock, and who this machine is.
//
// The calls, in order: [Mount], [NewLoader] and [Loader.Run] in the background,
// [WaitEntropy], [Identity]. Drivers are loaded by modalias for as long as the
// loader runs, so that a card behind a slow USB hub is found late and not never,
// and a driver whose probe hangs holds up nobody but the drivers after it.
//
// Everything is read from sysfs as a file tree, so that tests can make one up.
// The package does not bring anything up that talks: that is network's.
package hardware

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/sys/unix"
)

// mounts are the kernel's file systems that the agent needs. Where must is false
// the agent only explains less without it.
var mounts = []struct {
	kind, dir string
	flags     uintptr
	data      string
	must      bool
}{
	{"proc", "/proc", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", true},
	{"sysfs", "/sys", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", true},
	{"devtmpfs", "/dev", unix.MS_NOSUID | unix.MS_NOEXEC, "mode=0755", true},
	{"tmpfs", "/run", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "mode=0755,size=4m", true},
	{"securityfs", "/sys/kernel/security", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC, "", false},
}

// Mount mounts the kernel's file systems. What is mounted already stays.
func Mount() error {
	for _, m := range mounts {
		if err := os.MkdirAll(m.dir, 0o755); err != nil && m.must {
			return fmt.Errorf("mount point: %w", err)
		}
		err := unix.Mount(m.kind, m.dir, m.kind, m.flags, m.data)
		if err != nil && !errors.Is(err, unix.EBUSY) && m.must {
			return fmt.Errorf("mount %s on %s: %w", m.kind, m.dir, err)
		}
	}
	return nil
}

// RebootOnPanic makes the kernel reboot so long after a panic, and so after the
// death of PID 1 for reasons that no Go code can catch: a fatal error of the
// runtime, or a kill for want of memory. Without it the machine would stand
// still. A time that the command line chose (panic=) stays.
func RebootOnPanic(after time.Duration) error {
	const name = "/proc/sys/kernel/panic"
	if chosen, err := os.ReadFile(name); err != nil || strings.TrimSpace(string(chosen)) != "0" {
		return err
	}
	return os.WriteFile(name, fmt.Appendf(nil, "%d\n", int(after.Seconds())), 0)
}

// MuteSysRq makes the kernel ignore the magic SysRq keys; proc is usually /proc. A
// BREAK on a serial console is one of them, and comes by itself where a cable is
// plugged or a console server restarts: the byte behind it, within five seconds,
// is a command. Debian's kernels (CONFIG_MAGIC_SYSRQ_DEFAULT_ENABLE 0x1b6) obey
// "b", which resets the machine, "o", which switches it off, and "u", which makes
// all file systems read-only. None opens a shell, but each could end a write to a
// disk halfway. An owner who wants the keys says sysrq_always_enabled on the
// command line, which the kernel puts above this. The next kernel begins with
// settings of its own.
func MuteSysRq(proc string) error {
	f, err := os.OpenFile(filepath.Join(proc, "sys/kernel/sysrq"), os.O_WRONLY|os.O_TRUNC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a kernel without such keys
	}
	if err != nil {
		return err
	}
	_, err = f.WriteString("0\n")
	return errors.Join(err, f.Close())
}

// Release returns the version of the running kernel, "6.1.0-56-amd64".
func Release() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(name.Release[:])
}

// Available returns how many bytes of memory can be used without reclaiming any
// that are in use, by the kernel's estimate in /proc/meminfo, whose file tree
// procfs is. It returns -1 where the kernel does not tell.
func Available(procfs fs.FS) int64 {
	data, _ := fs.ReadFile(procfs, "meminfo") // none is no MemAvailable
	for line := range strings.Lines(string(data)) {
		// "MemAvailable:     183192 kB"
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemAvailable:" {
			if kib, err := strconv.ParseInt(f[1], 10, 64); err == nil {
				return kib << 10
			}
		}
	}
	return -1
}

// SetClock sets the system's clock. The firmware's clock stays as it is.
func SetClock(t time.Time) error {
	ts := unix.NsecToTimespec(t.UnixNano())
	if err := unix.ClockSettime(unix.CLOCK_REALTIME, &ts); err != nil {
		return fmt.Errorf("clock: cannot be set: %w", err)
	}
	return nil
}

// entropyNews is how often WaitEntropy says that it still waits.
const entropyNews = 10 * time.Second

// WaitEntropy returns once the kernel's random generator is seeded, which it must
// be before anything draws a random number: DHCP would hang without a word. A
// machine without RDRAND and without a hardware generator may take a minute.
func WaitEntropy(ctx context.Context, log func(format string, args ...any)) error {
	var one [1]byte
	if _, err := unix.Getrandom(one[:], unix.GRND_NONBLOCK); err == nil {
		return nil
	}
	log("hardware: waiting for entropy (no RDRAND, or no driver for the hardware generator)")
	seeded := make(chan struct{})
	guard.Go("waiting for entropy", func() error {
		// A blocking call, since only that makes the kernel gather timing jitter
		// (wait_for_random_bytes in drivers/char/random.c). Signals of the Go
		// scheduler interrupt it.
		for {
			if _, err := unix.Getrandom(one[:], 0); !errors.Is(err, unix.EINTR) {
				return nil
			}
		}
	}, func(error) { close(seeded) })
	for {
		select {
		case <-seeded:
			log("hardware: entropy is there")
			return nil
		case <-time.After(entropyNews):
			log("hardware: still waiting for entropy")
		case <-ctx.Done():
			return fmt.Errorf("waiting for entropy: %w", ctx.Err())
		}
	}
}
