// Package live makes a system that stays of a toolbox: services that are kept
// running, and where the machine runs on a Xen hypervisor, machines beside it.
//
// [Start] is the main call; [System.Stop] takes all down again, the machines
// first. The package promises that a service which is to be restarted is, with a
// pause that grows while it fails; that each line that a service or a machine's
// console prints goes to the log with its name before it, bounded as a script's;
// that what it starts comes to an end in bounded time, if need be by force; and
// that a machine which does not start hides no other.
//
// Where there is Xen, what xl(1) needs comes first and in its order: the drivers,
// xenfs, xenstored, the entry of domain 0 in it, xenconsoled. What is in xenstored
// cannot be had again: its end is the system's, see [System.Lost].
//
// The package does not judge what it is told to run: that is signed, or stands on
// the machine's own disks where the signed entry allows it. Kernels and disks of
// machines come by Config.Fetch, which verifies them.
package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"golang.org/x/sys/unix"
)

var (
	// ErrHypervisor says that machines are to be started where no Xen runs, or
	// where this system is not the one that rules it.
	ErrHypervisor = errors.New("no hypervisor")
	// ErrXen says that what xl needs did not come up, or is gone.
	ErrXen = errors.New("the hypervisor's services")
	// ErrMachine says that a machine was not started.
	ErrMachine = errors.New("the machine does not start")
	// ErrService says that a service has ended which is not restarted.
	ErrService = errors.New("the service has ended")
)

const (
	// polite is how long a service may take to end before it is killed.
	polite = 5 * time.Second
	// command is how long a command of xl may take, and building how long it may
	// take to start a machine: it unpacks the kernel, which takes a second, or a
	// minute where a processor is emulated on a busy computer.
	command  = 60 * time.Second
	building = 5 * time.Minute
	// shutdown is how long machines get to shut down, all at once, and clearing how
	// long xl gets to clear away those that have, for which Xen's own scripts run. It
	// needs a second, or twenty where a processor is emulated on a busy computer.
	shutdown = 60 * time.Second
	clearing = 60 * time.Second
)

// Config says what to make.
type Config struct {
	// Processes are the toolbox's, and Root its root directory.
	Processes *toolbox.Processes
	Root      string
	// Sys is where sysfs is mounted.
	Sys string
	// Entry says what belongs to the system.
	Entry manifest.Live
	// Env is the environment of services, beside [toolbox.Environ].
	Env []string
	// Need loads drivers by name.
	Need func(names ...string)
	// Fetch writes an object into to once it is verified.
	Fetch func(ctx context.Context, what string, ref object.Ref, to io.WriterAt) error
	// Folders finds folders of that name on the machine's disks, and mounts their
	// file systems below dir.
	Folders func(ctx context.Context, dir, name string) (found []local.Folder, err error)
	// Log prints one line, and Fail one that tells what went wrong.
	Log  func(format string, args ...any)
	Fail func(err error)
}

// System is a live system that runs.
type System struct {
	Config
	xen  string // where Xen's programs are in the toolbox; "" without Xen
	lost chan error

	daemons  group // Xen's own
	services group
	starting group // of machines

	objects map[string]string // of machines: file in the toolbox, by hash
	loops   []string          // block devices of their disks
	found   []local.Folder    // on disks, mounted
}

// group is what runs in goroutines until it is ended.
type group struct {
	sync.WaitGroup
	ctx  context.Context
	stop context.CancelFunc
}

// Start starts the system's services, and then in the background its machines.
// With an error nothing of it runs.
func Start(ctx context.Context, c Config) (*System, error) {
	s := &System{Config: c, lost: make(chan error, 1), objects: map[string]string{}}
	for _, g := range []*group{&s.daemons, &s.services, &s.starting} {
		g.ctx, g.stop = context.WithCancel(ctx)
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// start does the work of Start.
func (s *System) start() error {
	if err := s.identify(); err != nil {
		return fmt.Errorf("live: %w", err)
	}
	switch err := s.startXen(); {
	case err == nil:
	case errors.Is(err, ErrHypervisor) && len(s.Entry.Machines) == 0 && !s.Entry.Storage:
		s.Log("live: without machines: %v", err)
	default:
		return err
	}
	for _, x := range s.Entry.Services {
		s.serve(&s.services, service{name: x.Name, args: append([]string{x.Program}, x.Args...), restart: x.Restart})
	}
	if s.xen != "" {
		s.starting.run("machines", s.Fail, s.startMachines)
	}
	return nil
}

// Lost has an element once the system is of no use any more.
func (s *System) Lost() <-chan error { return s.lost }

// Stop shuts the machines down, then ends the services, in bounded time. The error
// tells what could not be ended.
func (s *System) Stop() error {
	s.starting.end()
	var err error
	if s.xen != "" {
		err = s.stopMachines()
	}
	s.services.end()
	s.daemons.end()
	return err
}

// run runs f in the background. What goes wrong is told to fail.
func (g *group) run(what string, fail func(error), f func(ctx context.Context) error) {
	g.Add(1)
	guard.Go(what, func() error { return f(g.ctx) }, func(err error) {
		if err != nil && g.ctx.Err() == nil {
			fail(err)
		}
		g.Done()
	})
}

// end ends what runs, and waits for it.
func (g *group) end() {
	g.stop()
	g.Wait()
}

// identify gives the system its name and its time.
func (s *System) identify() error {
	root, err := os.OpenRoot(s.Root)
	if err != nil {
		return err
	}
	defer root.Close()
	name := cmp.Or(s.Entry.Hostname, "farboot")
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("hostname: %w", err)
	}
	hosts := "127.0.0.1 localhost\n127.0.1.1 " + name + "\n::1 localhost ip6-localhost\n"
	err = errors.Join(root.MkdirAll("etc", 0o755), root.WriteFile("etc/hostname", []byte(name+"\n"), 0o644), root.WriteFile("etc/hosts", []byte(hosts), 0o644))
	if err != nil {
		return err
	}
	return s.setZone(root)
}

// zones is where programs find time zones, see tzset(3).
const zones = "usr/share/zoneinfo/"

// setZone sets the time zone. A toolbox without it stays at UTC, and says so.
func (s *System) setZone(root *os.Root) error {
	zone := s.Entry.Timezone
	if zone == "" {
		return nil
	}
	if _, err := root.Stat(zones + zone); err != nil {
		s.Log("live: UTC is the time: %s is not in the toolbox (Debian package tzdata)", zone)
		return nil
	}
	if err := root.Remove("etc/localtime"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return errors.Join(root.Symlink("/"+zones+zone, "etc/localtime"), root.WriteFile("etc/timezone", []byte(zone+"\n"), 0o644))
}
