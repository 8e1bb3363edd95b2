package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path"
	"runtime/debug"
	"time"

	"github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/hardware"
	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/agent/persist"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/state"
	"golang.org/x/sys/unix"
)

const (
	// panicReboot is how long the kernel shows its panic, should PID 1 die.
	panicReboot = 30 * time.Second
	// failReboot is how long the agent shows why it gave up before it reboots:
	// long enough to read, or to photograph, a stack.
	failReboot = time.Minute
)

// run is the agent. As PID 1 it never returns: a hand-over ends it, or a reboot.
func run(ctx context.Context, _ []string, _ io.Reader, _, stderr io.Writer) error {
	if os.Getpid() != 1 {
		return errors.New("this is /init of a boot medium and runs as PID 1 only")
	}
	// Nobody ends PID 1. Not all signals are ignored: SIGURG is the Go scheduler's.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGTERM)
	if err := hardware.Mount(); err != nil {
		fmt.Fprintln(stderr, "agent:", err) // there are no consoles without sysfs
	}
	c := console.Open(os.DirFS("/sys"), "/dev")
	if err := hardware.RebootOnPanic(panicReboot); err != nil {
		c.Printf("hardware: %v", err)
	}
	if err := start(ctx, c); err != nil {
		c.Printf("[%s] %v", boot.Reason(err), err)
	}
	c.Printf("rebooting in %.0f s", failReboot.Seconds())
	time.Sleep(failReboot)
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// start boots the machine. A panic becomes an error, after its stack was shown.
func start(ctx context.Context, c *console.Console) (err error) {
	var medium boot.Medium
	defer func() { err = cmp.Or(crash(c, "medium "+medium.Build, recover()), err) }()
	c.Printf("farboot: %s, kernel %s", hardware.Model(os.DirFS("/sys")), hardware.Release())
	medium, err = boot.ReadMedium(os.DirFS("/"))
	if err != nil {
		return fmt.Errorf("this medium cannot be used: %w", err)
	}
	c.Printf("farboot: medium %s of %s", medium.Build, medium.Built.UTC().Format(time.DateOnly))
	return boot.Run(ctx, rooms(ctx, c, medium), medium, boot.DefaultLimits())
}

// crash shows a recovered panic with its stack, where there is one.
func crash(c *console.Console, where string, recovered any) error {
	if recovered == nil {
		return nil
	}
	c.Block(string(debug.Stack()))
	return fmt.Errorf("%w (%s): %v", boot.ErrCrashed, where, recovered)
}

// rooms connects the stages with this machine.
func rooms(ctx context.Context, c *console.Console, medium boot.Medium) boot.Rooms {
	sysfs := os.DirFS("/sys")
	if handover.Locked(sysfs) {
		c.Printf("hardware: Secure Boot is on: only signed kernels will start")
	}
	loader := drivers(ctx, c, sysfs)
	var memory *persist.Places // from Ready on
	return boot.Rooms{
		Log:   c.Printf,
		Flush: c.Flush,
		Ready: func(ctx context.Context, limit time.Duration) error {
			loader.Wait(ctx, limit)
			if err := persist.Mount(modulesDir()); err != nil {
				c.Printf("%v", err)
			}
			memory = remembers(c, medium)
			return hardware.WaitEntropy(ctx, c.Printf)
		},
		Drop:      loader.Drop,
		Available: func() int64 { return hardware.Available(os.DirFS("/proc")) },
		Identity:  func() manifest.Identity { return hardware.Identity(sysfs) },
		Now:       time.Now,
		SetClock:  hardware.SetClock,
		Recall:    func() state.State { return memory.Load() },
		Remember:  func(s state.State) error { return memory.Save(s) },
		Places:    func() []string { return memory.Names() },
		Network: func(ctx context.Context, limits network.Limits) boot.Network {
			return network.Open(ctx, sysfs, limits, c.Printf)
		},
		Load:    func(k handover.Kernel) error { return handover.Load(k, sysfs) },
		Execute: handover.Execute,
	}
}

// remembers opens the places of this machine's memory. The time that a stick
// gets to show itself runs from here, so that it is after the first drivers.
func remembers(c *console.Console, medium boot.Medium) *persist.Places {
	return persist.Open(persist.Config{
		Sys: "/sys", Dev: "/dev", Build: medium.Build, Log: c.Printf,
		Product: medium.Store.Statement().Product, Channel: medium.Channel,
	})
}

// modulesDir is where the running kernel's modules lie.
func modulesDir() string { return path.Join("/lib/modules", hardware.Release()) }

// drivers starts the loader in the background.
func drivers(ctx context.Context, c *console.Console, sysfs fs.FS) *hardware.Loader {
	loader := hardware.NewLoader(sysfs, modulesDir(), c.Printf)
	go func() {
		defer func() {
			if err := crash(c, "loading drivers", recover()); err != nil {
				c.Printf("hardware: [%s] no more drivers are loaded: %v", boot.Reason(err), err)
			}
		}()
		loader.Run(ctx)
	}()
	return loader
}
