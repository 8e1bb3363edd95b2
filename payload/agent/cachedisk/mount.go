package cachedisk

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// flags are those of every mount. Whether it can be written to is the file system's
// own flag and not the mount's.
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
	unmount := func() error {
		if err := unix.Unmount(p.dir, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", p.Partition, err)
		}
		return os.Remove(p.dir)
	}
	if err := p.hold(); err != nil {
		return nil, errors.Join(err, p.release(), unmount())
	}
	if p.Fault != "" && !p.trusted() {
		p.config.Log("cache: %s: %s: it is read, and not written to", p.Partition, p.Fault)
	}
	return func() error { return errors.Join(p.release(), unmount()) }, nil
}

// hold opens what is needed of the mount later, when its path and /proc may lead
// elsewhere: by then another system has changed the root.
func (p *place) hold() (err error) {
	if err = unix.Mount("", p.dir, "", flags|unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
		return err
	}
	if p.mounts, err = os.Open("/proc/self/mountinfo"); err != nil {
		return err
	}
	p.root, err = os.Open(p.dir)
	return err
}

// release closes it.
func (p *place) release() error {
	var errs []error
	for _, f := range []*os.File{p.mounts, p.root} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
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
	return p.set("rw")
}

// set changes a flag of the file system (fsconfig(2), Linux 5.2).
func (p *place) set(flag string) error {
	fd, err := unix.Fspick(int(p.root.Fd()), "", unix.FSPICK_EMPTY_PATH|unix.FSPICK_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.FsconfigSetFlag(fd, flag); err != nil {
		return err
	}
	return unix.FsconfigReconfigure(fd)
}

// readOnly ends that, unless others use it, too: they would lose it as well.
func (p *place) readOnly() {
	elsewhere, err := p.elsewhere()
	if err == nil && !elsewhere {
		err = p.set("ro")
	}
	if err != nil {
		p.config.Log("cache: %s: cannot be made read-only: %v", p.Partition, err)
	}
}

// elsewhere tells whether the file system is mounted in another place as well
// (proc_pid_mountinfo(5): the third field is the device).
func (p *place) elsewhere() (bool, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(p.root.Fd()), &s); err != nil {
		return false, err
	}
	if _, err := p.mounts.Seek(0, io.SeekStart); err != nil {
		return false, err
	}
	data, err := io.ReadAll(p.mounts)
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
