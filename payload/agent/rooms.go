package main

import (
	"context"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/hardware"
	"github.com/farboot/farboot/payload/agent/image"
	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/agent/menu"
	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/agent/persist"
	"github.com/farboot/farboot/payload/agent/watchdog"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/flash/disks"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/state"
)

const (
	// mounts is where the file systems of disks are looked at.
	mounts = "/run/local"
	// mediumDir is where the image that the machine was started from is.
	mediumDir = "/run/medium"
)

// rooms connects the stages with this machine.
func rooms(ctx context.Context, c *console.Console, medium boot.Medium) boot.Rooms {
	sysfs := os.DirFS("/sys")
	if handover.Locked(sysfs) {
		c.Printf("hardware: Secure Boot is on: only signed kernels will start")
	}
	loader := drivers(ctx, c, sysfs)
	var memory *persist.Places // from Ready on, or from a crash before it
	places := func() *persist.Places {
		if memory == nil {
			memory = remembers(c, medium)
		}
		return memory
	}
	dog := &keeper{sysfs: sysfs}
	rooms := boot.Rooms{
		Log:   c.Printf,
		Flush: c.Flush,
		Ready: func(ctx context.Context, limit time.Duration) error {
			loader.Wait(ctx, limit)
			if err := persist.Mount(modulesDir()); err != nil {
				c.Printf("%v", err)
			}
			places()
			return hardware.WaitEntropy(ctx, c.Printf)
		},
		Drop:      loader.Drop,
		Available: func() int64 { return hardware.Available(os.DirFS("/proc")) },
		Identity:  func() manifest.Identity { return hardware.Identity(sysfs) },
		Cmdline:   cmdline,
		Now:       time.Now,
		SetClock:  hardware.SetClock,
		Recall:    func() state.State { return places().Load() },
		Remember:  func(s state.State) error { return places().Save(s) },
		Secret:    func(machine string) ([]byte, string, error) { return places().Secret(machine) },
		Places:    func() []string { return places().Names() },
		Holder:    func() string { return places().Holder() },
		Network: func(ctx context.Context, limits network.Limits, networks ...netconf.Network) boot.Network {
			if names := netconf.Modules(networks); len(names) > 0 {
				loader.Need(names...)
			}
			return network.Open(ctx, sysfs, limits, c.Printf, networks...)
		},
		ReadFile: func(name string, most int64) ([]byte, string, error) { return places().ReadFile(name, most) },
		Objects:  os.DirFS(settings.ObjectDir),
		Bark:     dog.bark,
		Arm:      dog.arm,
		Disarm:   dog.disarm,
		Choose:   func(ctx context.Context, m menu.Menu) (string, string, error) { return menu.Choose(ctx, c, m) },
		Story: report.NewRecorder(console.Uptime, report.Report{
			Boot: report.BootID(os.DirFS("/proc")), Model: hardware.Model(sysfs),
			Medium: medium.Build, Product: medium.Store.Statement().Product,
		}),
		Post: report.Post,
	}
	rooms.Carriage = carriage(c, sysfs, loader)
	withHandover(&rooms, c, sysfs)
	withDisks(&rooms, c, medium, sysfs, loader)
	return rooms
}

// withHandover adds the ways out of this program.
func withHandover(rooms *boot.Rooms, c *console.Console, sysfs fs.FS) {
	rooms.Load = func(k handover.Kernel) error { return handover.LoadTwice(k, sysfs, c.Printf) }
	rooms.LoadXen = func(x handover.Xen) error { return handover.LoadXenTwice(x, sysfs, c.Printf) }
	rooms.Execute = handover.Execute
	rooms.BootNext = func() (string, error) { return handover.BootNext("/sys/firmware/efi/efivars") }
	rooms.Reboot = handover.Reboot
	rooms.PowerOff = handover.PowerOff
}

// withDisks adds what has to do with disks, and with what is mounted from them.
func withDisks(rooms *boot.Rooms, c *console.Console, medium boot.Medium, sysfs fs.FS, loader *hardware.Loader) {
	burned := &image.Image{
		Sys: "/sys", Dev: "/dev", Dir: mediumDir, Build: medium.Build, Need: loader.Need, Log: c.Printf,
	}
	rooms.OnMedium = burned.Open
	rooms.Disks = func() ([]disks.Disk, error) { return listDisks(medium.Build) }
	rooms.Flash = func(ctx context.Context, node string, job flash.Job) (flash.Result, error) {
		return writeDisk(ctx, loader.Need, node, job)
	}
	rooms.Tools = func(ctx context.Context, image *os.File) (boot.Tools, error) {
		return openTools(ctx, c, loader.Need, image)
	}
	rooms.Systems = func(ctx context.Context) ([]local.System, func() error, error) {
		if err := os.MkdirAll(mounts, 0o700); err != nil {
			return nil, nil, err
		}
		need := func(name string) error { loader.Need(name); return nil }
		return local.Find(ctx, local.Config{Sysfs: sysfs, Dev: "/dev", Dir: mounts, LoadModule: need, Log: c.Printf})
	}
}

// remembers opens the places of this machine's memory. The time that a stick
// gets to show itself runs from here, so that it is after the first drivers.
func remembers(c *console.Console, medium boot.Medium) *persist.Places {
	return persist.Open(persist.Config{
		Sys: "/sys", Dev: "/dev", Build: medium.Build, Log: c.Printf,
		Product: medium.Store.Statement().Product, Channel: medium.Channel, Lineage: medium.Lineage,
	})
}

// modulesDir is where the running kernel's modules lie.
func modulesDir() string { return path.Join("/lib/modules", hardware.Release()) }

// drivers starts the loader in the background.
func drivers(ctx context.Context, c *console.Console, sysfs fs.FS) *hardware.Loader {
	loader := hardware.NewLoader(sysfs, modulesDir(), c.Printf)
	guard.Go("loading drivers", func() error { loader.Run(ctx); return nil }, func(err error) {
		if guard.Tell(err, c.Printf); err != nil {
			c.Printf("hardware: [%s] no more drivers are loaded: %v", boot.Reason(err), err)
		}
	})
	return loader
}

// keeper has the machine's watchdog. It looks for it when it is first asked: the
// driver may come late.
type keeper struct {
	sysfs fs.FS
	dog   *watchdog.Dog
}

// find returns the watchdog.
func (k *keeper) find() (_ *watchdog.Dog, err error) {
	if k.dog == nil {
		k.dog, err = watchdog.Find(k.sysfs, "/dev")
	}
	return k.dog, err
}

// bark tells whether the watchdog has reset the machine.
func (k *keeper) bark() bool {
	dog, err := k.find()
	return err == nil && dog.Bark()
}

// arm starts the watchdog.
func (k *keeper) arm(least time.Duration) (time.Duration, error) {
	dog, err := k.find()
	if err != nil {
		return 0, err
	}
	return dog.Arm(least)
}

// disarm stops the watchdog if it runs.
func (k *keeper) disarm() error {
	if k.dog == nil {
		return nil
	}
	return k.dog.Disarm()
}

// cmdline returns the kernel's command line.
func cmdline() string {
	data, _ := os.ReadFile("/proc/cmdline") // without it there are no words
	return string(data)
}
