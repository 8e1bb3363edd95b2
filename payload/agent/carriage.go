package main

import (
	"context"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/agent/cachedisk"
	"github.com/farboot/farboot/payload/agent/carried"
	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/hardware"
	"github.com/farboot/farboot/payload/agent/local"
)

// rootsFile is where a medium has its CA certificates, and Go looks for them.
const rootsFile = "/etc/ssl/certs/ca-certificates.crt"

// carriage is what it takes to carry this program into the next system.
func carriage(c *console.Console, sysfs fs.FS, loader *hardware.Loader) boot.Carriage {
	disks := local.Config{
		Sysfs: sysfs, Dev: "/dev", Dir: mounts, Log: c.Printf,
		LoadModule: func(name string) error { loader.Need(name); return nil },
	}
	return boot.Carriage{
		Program: "/proc/self/exe", Roots: rootsFile,
		Cards:   func() []carried.Card { return carried.Cards(sysfs) },
		Devices: func() []string { return carried.Devices(sysfs) },
		Total: func() int64 {
			var info unix.Sysinfo_t
			if unix.Sysinfo(&info) != nil {
				return -1
			}
			return int64(info.Totalram) * int64(info.Unit)
		},
		Labelled: func(ctx context.Context, label string) (local.Volume, error) {
			return carried.Labelled(ctx, disks, label)
		},
		Cache: func(ctx context.Context, w cachedisk.Where) (*cachedisk.Found, error) {
			if err := os.MkdirAll(mounts, 0o700); err != nil {
				return nil, err
			}
			return cachedisk.Find(ctx, disks, w)
		},
	}
}
