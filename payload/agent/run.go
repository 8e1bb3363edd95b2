package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/hardware"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
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

// crash shows a recovered panic with its stack, where there is one.
func crash(c *console.Console, where string, recovered any) error {
	if recovered == nil {
		return nil
	}
	c.Block(string(debug.Stack()))
	return fmt.Errorf("%w (%s): %v", boot.ErrCrashed, where, recovered)
}
