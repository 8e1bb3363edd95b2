package cachedisk

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// flags are those of every mount.
const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME

// errFault: a file system is only read.
var errFault = errors.New("nothing is written to this file system")

// mount mounts for reading only, and returns how to undo that.
func (p *place) mount() (func() error, error) {
	for _, name := range p.Modules() {
		if err := p.config.LoadModule(name); err != nil {
			p.config.Log("cache: %s: driver %s: %v", p.Partition, name, err)
		}
	}
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mount(p.Device, p.dir, p.Driver(), flags|unix.MS_RDONLY, p.options()); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot be mounted: %w", err), os.Remove(p.dir))
	}
	if p.Fault != "" && !p.trusted() {
		p.config.Log("cache: %s: %s: it is read, and not written to", p.Partition, p.Fault)
	}
	return func() error {
		if err := unix.Unmount(p.dir, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", p.Partition, err)
		}
		return os.Remove(p.dir)
	}, nil
}

// options are the driver's: whatever it finds wrong, it is not to panic, which a
// superblock of ext may ask for. FAT goes on, since a chain of clusters that a power
// cut left too short is one damaged chunk and not the end of the cache.
func (p *place) options() string {
	switch {
	case p.Driver() == "vfat":
		return "codepage=437,iocharset=ascii,errors=continue"
	case p.Fault != "" && !p.trusted():
		return "errors=remount-ro,noload"
	}
	return "errors=remount-ro"
}

// trusted tells whether it may be written to whatever its fault.
func (p *place) trusted() bool {
	return p.Driver() == "vfat" && (p.named || p.ours) || p.Replays && p.named
}

// writable lets it be written to.
func (p *place) writable() error {
	if p.Fault != "" && !p.trusted() {
		return fmt.Errorf("%w: %s", errFault, p.Fault)
	}
	return unix.Mount("", p.dir, "", flags|unix.MS_REMOUNT, "")
}

// readOnly ends that, unless others use it, too: they would lose it as well.
func (p *place) readOnly() {
	shared, err := p.shared()
	if err == nil && !shared {
		err = unix.Mount("", p.dir, "", flags|unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	if err != nil {
		p.config.Log("cache: %s: cannot be made read-only: %v", p.Partition, err)
	}
}

// shared tells whether the file system is mounted in another place as well
// (proc_pid_mountinfo(5): the third field is the device).
func (p *place) shared() (bool, error) {
	var s unix.Stat_t
	if err := unix.Stat(p.dir, &s); err != nil {
		return false, err
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	device, mounts := fmt.Sprintf("%d:%d", unix.Major(s.Dev), unix.Minor(s.Dev)), 0
	for line := range strings.Lines(string(data)) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[2] == device {
			mounts++
		}
	}
	return mounts > 1, nil
}
