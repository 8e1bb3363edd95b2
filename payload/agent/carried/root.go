package carried

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/agent/hardware"
	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/carry"
)

// Where a root file system is put together, below [carry.Dir].
const (
	lowerDir = carry.Dir + "/lower" // the image
	upperDir = carry.Dir + "/upper" // what is written
	rootDir  = carry.Dir + "/root"  // both, as one
	ramDir   = carry.Dir + "/ram"   // a copy of the image
)

// Overlays is the folder of a local file system that keeps what systems write: one
// for each entry.
const Overlays = "farboot-overlay"

// appears is how long a disk may take to show itself.
const appears = 20 * time.Second

// switchRoot makes the image the root file system and executes its init. It returns
// only where that fails.
func (m *machine) switchRoot(d carry.Document, args []string) error {
	for _, dir := range []string{lowerDir, upperDir, rootDir, ramDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	device := d.Device
	if d.Root.Copy {
		copied, err := copyRAM(device)
		if err != nil {
			m.log("image: it is read as it is needed: %v", err)
		} else {
			device = copied
		}
	}
	options := ""
	if d.Root.Fstype == "ext4" {
		options = "noload" // a journal cannot be replayed where nothing can be written
	}
	if err := unix.Mount(device, lowerDir, d.Root.Fstype, unix.MS_RDONLY, options); err != nil {
		return fmt.Errorf("mount %s as %s: %w", device, d.Root.Fstype, err)
	}
	files, work, err := m.upper(d.Root)
	if err != nil {
		return err
	}
	options = fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lowerDir, files, work)
	if err := unix.Mount("overlay", rootDir, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount overlay: %w", err)
	}
	return m.enter(d.Root.Init, args)
}

// upper returns the folders of what is written: in memory, or on the disk with the
// label.
func (m *machine) upper(r *carry.Root) (files, work string, err error) {
	dir := upperDir
	if r.Label == "" {
		err = unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755")
	} else {
		dir = filepath.Join(upperDir, Overlays, r.Entry)
		err = m.mountLabel(r.Label)
	}
	if err != nil {
		return "", "", fmt.Errorf("overlay: %w", err)
	}
	files, work = filepath.Join(dir, "files"), filepath.Join(dir, "work")
	return files, work, errors.Join(os.MkdirAll(files, 0o755), os.MkdirAll(work, 0o755))
}

// mountLabel mounts the file system of that label, which may be late.
func (m *machine) mountLabel(label string) error {
	c := local.Config{Sysfs: os.DirFS("/sys"), Dev: "/dev", Dir: upperDir, LoadModule: func(string) error { return nil }, Log: m.log}
	for until := time.Now().Add(appears); ; time.Sleep(again / 8) {
		v, err := Labelled(context.Background(), c, label)
		if err == nil {
			return unix.Mount(v.Device, upperDir, "ext4", 0, "")
		}
		if !errors.Is(err, ErrNoDisk) || time.Now().After(until) {
			return err
		}
	}
}

// ErrNoDisk: no file system can keep what a system writes.
var ErrNoDisk = errors.New("no disk for the overlay")

// Labelled returns the one ext4 file system of that label that can be written to.
func Labelled(ctx context.Context, c local.Config, label string) (local.Volume, error) {
	all, err := local.Volumes(ctx, c)
	if err != nil {
		return local.Volume{}, err
	}
	var found []local.Volume
	for _, v := range all {
		if v.Label == label && v.Kind == "ext4" {
			found = append(found, v)
		}
	}
	switch {
	case len(found) != 1:
		return local.Volume{}, fmt.Errorf("%w: %d ext4 file systems have the label %q, want one", ErrNoDisk, len(found), label)
	case found[0].Fault != "" && !found[0].Replays: // a system is switched off without unmounting it
		return local.Volume{}, fmt.Errorf("%w: %s on %s: %s", ErrNoDisk, label, found[0].Partition, found[0].Fault)
	}
	return found[0], nil
}

// enter moves into the root file system, gives the memory of this one back, and
// executes the init there.
func (m *machine) enter(init string, args []string) error {
	for _, k := range kernelMounts {
		if err := os.MkdirAll(rootDir+k.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(k.dir, rootDir+k.dir, "", unix.MS_MOVE, ""); err != nil {
			return fmt.Errorf("move %s: %w", k.dir, err)
		}
	}
	for _, name := range []string{carry.File, carry.Modules, carry.Roots, "/init"} {
		if err := os.RemoveAll(name); err != nil {
			m.log("%v", err)
		}
	}
	for _, step := range []func() error{
		func() error { return unix.Chdir(rootDir) },
		func() error { return unix.Mount(rootDir, "/", "", unix.MS_MOVE, "") },
		func() error { return unix.Chroot(".") },
		func() error { return unix.Chdir("/") },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("switch to the image: %w", err)
		}
	}
	args[0] = init
	return fmt.Errorf("%s: %w", init, unix.Exec(init, args, os.Environ()))
}

// copyRAM copies a device into memory and returns the one that it is then, if there
// is twice as much memory as it takes.
func copyRAM(device string) (string, error) {
	from, err := os.Open(device)
	if err != nil {
		return "", err
	}
	defer from.Close()
	size, err := from.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = from.Seek(0, io.SeekStart)
	}
	if err != nil {
		return "", err
	}
	if free := hardware.Available(os.DirFS("/proc")); free < 2*size {
		return "", fmt.Errorf("%d bytes of memory are free, a copy wants %d", free, 2*size)
	}
	if err := unix.Mount("tmpfs", ramDir, "tmpfs", 0, fmt.Sprintf("mode=0700,size=%d", size+(1<<20))); err != nil {
		return "", err
	}
	to, err := os.OpenFile(filepath.Join(ramDir, "image"), os.O_CREATE|os.O_RDWR, 0o400)
	if err != nil {
		return "", err
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		return "", errors.Join(err, unix.Unmount(ramDir, unix.MNT_DETACH))
	}
	return attach(to)
}

// attach makes a loop device of a file, for good.
func attach(f *os.File) (string, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer control.Close()
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("/dev/loop%d", n)
	device, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	defer device.Close()
	return name, unix.IoctlLoopConfigure(int(device.Fd()), &unix.LoopConfig{
		Fd: uint32(f.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_READ_ONLY},
	})
}
