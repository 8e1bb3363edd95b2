package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/agent/carried"
	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/hardware"
	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
	"golang.org/x/sys/unix"
)

// panicReboot is how long the kernel shows its panic, should PID 1 die.
const panicReboot = 30 * time.Second

// run is the agent. As PID 1 it never returns: a hand-over ends it, or a reboot.
func run(ctx context.Context, args []string, _ io.Reader, _, stderr io.Writer) error {
	if len(args) > 0 && path.Base(args[0]) == toolbox.ModprobeName {
		return toolbox.Modprobe(modulesDir(), args[1:])
	}
	if len(args) > 0 && args[0] == carry.Name {
		return carried.Serve()
	}
	if os.Getpid() != 1 {
		return errors.New("this is /init of a boot medium and runs as PID 1 only")
	}
	if carried.Here() {
		return carried.Run(args)
	}
	// Nobody ends PID 1. Not all signals are ignored: SIGURG is the Go scheduler's.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGTERM)
	if err := hardware.Mount(); err != nil {
		fmt.Fprintln(stderr, "agent:", err) // there are no consoles without sysfs
	}
	c := console.Open(os.DirFS("/sys"), "/dev")
	if err := errors.Join(hardware.RebootOnPanic(panicReboot), hardware.MuteSysRq("/proc")); err != nil {
		c.Printf("hardware: %v", err)
	}
	err := guard.Call("starting", func() error { return start(ctx, c) })
	if guard.Tell(err, c.Printf); err != nil {
		c.Printf("[%s] %v", boot.Reason(err), err)
	}
	pause := boot.Pause(err)
	c.Printf("rebooting in %.0f s", pause.Seconds())
	time.Sleep(pause)
	unix.Sync()
	return unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

// start boots the machine.
func start(ctx context.Context, c *console.Console) error {
	c.Printf("farboot: %s, kernel %s", hardware.Model(os.DirFS("/sys")), hardware.Release())
	medium, err := boot.ReadMedium(os.DirFS("/"))
	if err != nil {
		return fmt.Errorf("this medium cannot be used: %w", err)
	}
	c.Printf("farboot: medium %s of %s", medium.Build, medium.Built.UTC().Format(time.DateOnly))
	if err := syslog(ctx, c, medium); err != nil {
		c.Printf("[%s] %v", boot.Reason(err), err)
	}
	return boot.Run(ctx, rooms(ctx, c, medium), medium, boot.DefaultLimits())
}

// syslog sends all lines to a server as well, where the medium names one.
func syslog(ctx context.Context, c *console.Console, medium boot.Medium) error {
	if medium.Syslog == "" {
		return nil
	}
	sysfs := os.DirFS("/sys")
	return c.Syslog(ctx, console.Syslog{
		URL: medium.Syslog, Boot: report.BootID(os.DirFS("/proc")), Build: medium.Build,
		Host: func() string {
			ids := manifest.DocumentIDs(hardware.Identity(sysfs))
			return strings.Join(ids[:min(1, len(ids))], "")
		},
		Now: func() time.Time {
			if now := time.Now(); now.After(medium.Built) {
				return now
			}
			return time.Time{}
		},
	})
}
