package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// drivers are what a system needs that rules over a Xen hypervisor: how its
// programs talk to it, and the far ends of the machines' cards and disks. The
// kernel asks for none of them by itself.
var drivers = []string{
	"xen-evtchn", "xen-gntdev", "xen-gntalloc", "xen-privcmd", "xenfs", "xen-netback", "xen-blkback", "bridge",
}

// runDirs are where Xen's programs of Debian keep what they need, xl console its
// lock in the first; what they print is in the last one.
var runDirs = []string{"run/lock", "run/xen", "run/xenstored", "var/lib/xen", "var/lib/xenstored", "var/log/xen", consoleDir}

// storeUp is how long xenstored may take to listen.
const storeUp = 30 * time.Second

// startXen starts what xl needs. The error wraps [ErrHypervisor] or [ErrXen].
func (s *System) startXen() error {
	version, err := s.hypervisor()
	if err != nil {
		return err
	}
	s.Need(drivers...)
	if err := s.mountXen(); err != nil {
		return err
	}
	xen := "/usr/lib/xen-" + version + "/bin"
	if _, err := os.Stat(filepath.Join(s.Root, xen, "xl")); err != nil {
		return fmt.Errorf("%w: the toolbox has no xl for Xen %s (Debian package xen-utils-%s)", ErrHypervisor, version, version)
	}
	for _, dir := range runDirs {
		if err := os.MkdirAll(filepath.Join(s.Root, dir), 0o755); err != nil {
			return fmt.Errorf("%w: %w", ErrXen, err)
		}
	}
	s.serve(&s.daemons, service{
		name: "xenstored", args: []string{xen + "/xenstored", "--no-fork", "--internal-db"},
		ended: func(err error) { s.lost <- fmt.Errorf("%w: %w", ErrXen, err) },
	})
	if err := s.waitStore(); err != nil {
		return err
	}
	// Domain 0 has to have its name and number before any other.
	if err := s.do(s.daemons.ctx, storeUp, nil, "xen-init-dom0", xen+"/xen-init-dom0"); err != nil {
		return fmt.Errorf("%w: %w", ErrXen, err)
	}
	s.serve(&s.daemons, service{
		name: "xenconsoled", restart: true,
		args: []string{xen + "/xenconsoled", "--interactive", "--log=guest", "--log-dir=/" + consoleDir},
	})
	s.daemons.run("consoles of machines", s.Fail, s.followConsoles)
	s.xen = xen
	return nil
}

// hypervisor returns Xen's version as its folders have it, "4.17".
func (s *System) hypervisor() (string, error) {
	read := func(name string) string {
		data, _ := os.ReadFile(filepath.Join(s.Sys, "hypervisor", name)) // without it there is none
		return strings.TrimSpace(string(data))
	}
	if kind := read("type"); kind != "xen" {
		return "", fmt.Errorf("%w: this machine runs on %s; start it by Xen", ErrHypervisor, strings.TrimSpace(kind+" hardware"))
	}
	return read("version/major") + "." + read("version/minor"), nil
}

// mountXen mounts xenfs, and makes sure that this system rules.
func (s *System) mountXen() error {
	dir := filepath.Join(s.Root, "proc/xen")
	if err := unix.Mount("xenfs", dir, "xenfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: xenfs: %w", ErrXen, err)
	}
	can, err := os.ReadFile(filepath.Join(dir, "capabilities"))
	if err != nil || !strings.Contains(string(can), "control_d") {
		return fmt.Errorf("%w: this system is a machine of another one (%v)", ErrHypervisor, err)
	}
	return nil
}

// waitStore waits until xenstored listens.
func (s *System) waitStore() error {
	name := filepath.Join(s.Root, "run/xenstored/socket")
	for until := time.Now().Add(storeUp); ; {
		conn, err := (&net.Dialer{}).DialContext(s.daemons.ctx, "unix", name)
		if err == nil {
			return conn.Close()
		}
		select {
		case err := <-s.lost:
			return err
		case <-s.daemons.ctx.Done():
			return context.Cause(s.daemons.ctx)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(until) {
			return fmt.Errorf("%w: xenstored does not listen: %w", ErrXen, err)
		}
	}
}
