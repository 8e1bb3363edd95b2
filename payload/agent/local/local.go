// Package local finds the systems that are installed on the machine's own disks,
// so that an entry "local" can start one.
//
// [Find] is the main call: it looks at every partition, mounts what it knows
// read-only, and reads what the boot loaders there would: entries of the Boot
// Loader Specification, and grub.cfg. The package promises that not one byte is
// written to a disk, not even a journal replayed (the kernel is told to refuse
// writes); that no path leads out of the file system that it was found on; and
// that one disk which does not answer costs a bounded time and hides no other.
//
// Kernels from a disk are not verified by hash: there is nothing to compare them
// with. What is signed is the manifest, and with an entry "local" it says that
// this machine may start what its disk holds. So it is as trustworthy as whoever
// could write to the disk, no more and no less than without a boot medium. Under
// Secure Boot the kernel that runs checks the signature of the next one.
//
// Encrypted disks, LVM and RAID are seen and named, and not opened. Kernels that
// are inside of EFI programs (unified kernel images), Xen, and grub.cfg on an EFI
// partition with its kernels elsewhere (RHEL 7) are not found.
//
// u-root has parsers for the same files (pkg/boot/bls and grub, v0.16.0), and they
// were not taken. They bring 51 packages, among them os/exec, a TFTP client and a
// second way to load a kernel, and 1.35 MB of /init, where this is 0.18 MB without
// any; they read without bounds, and mount what grub.cfg tells them to.
package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/guard"
)

// ErrNone is wrapped by the error of [Find]: no disk has a system that can be
// started. The text says what was seen.
var ErrNone = errors.New("no installed system")

const (
	// patience is how long disks are given, all at once. One that has to spin
	// up takes ten seconds; the kernel gives a dying one up after 30 s and more.
	patience = 20 * time.Second
	// maxKernel and maxInitrd bound the files, in bytes. Kernels have some ten
	// MB; the largest initrds in the wild, with all firmware, some 300 MB.
	maxKernel, maxInitrd = 256 << 20, 1 << 30
)

// Config says where to look.
type Config struct {
	// Sysfs is the file tree of /sys, Dev where devtmpfs is mounted.
	Sysfs fs.FS
	Dev   string
	// Dir is an empty folder that file systems are mounted below, on tmpfs.
	Dir string
	// LoadModule gets a module into the kernel, by name; one that is in, or
	// built in, is no error. The kernel cannot ask modprobe here.
	LoadModule func(name string) error
	// Log prints one line.
	Log func(format string, args ...any)

	folder string // what [Folders] looks for
}

// System is one way to start an installed system. It is good until the cleanup
// of [Find] is called.
type System struct {
	// Title is for people, and without control characters.
	Title string
	// Kernel and Initrds are paths below the root of their file system.
	Kernel  string
	Initrds []string
	// Cmdline is what its boot loader would pass.
	Cmdline string
	// Partition is the kernel's name of where it lies, "sda2". It may differ
	// from boot to boot; FSUUID, as blkid shows it, does not.
	Partition, FSUUID string
	// DiskIDs are the disk's serial numbers and world wide names, as sysfs has
	// them. Cheap ones have none.
	DiskIDs []string

	root *os.Root
}

// OpenKernel opens the kernel. The caller closes it; its size is from Stat.
func (s System) OpenKernel() (*os.File, error) { return s.open(s.Kernel, maxKernel) }

// OpenInitrd opens one of Initrds.
func (s System) OpenInitrd(i int) (*os.File, error) { return s.open(s.Initrds[i], maxInitrd) }

func (s System) open(name string, limit int64) (*os.File, error) {
	err := regular(s.root.FS(), name, limit)
	var f *os.File
	if err == nil {
		f, err = s.root.Open(name)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Partition, err)
	}
	return f, nil
}

// look is what came of one partition.
type look struct {
	systems []System
	folder  *Folder
	seen    string // "ext4 on sda2", or ""
	close   func() error
}

// Find returns what can be started, disk by disk in the order of sysfs, and of
// each file system its default first. The caller calls cleanup before the jump,
// and with an error there is nothing to clean up. Drivers for disks and file
// systems have to be there, and disks have to be found by then.
func Find(ctx context.Context, c Config) (found []System, cleanup func() error, err error) {
	return find(ctx, c, mount)
}

func find(ctx context.Context, c Config, mount mounter) ([]System, func() error, error) {
	disks, err := listDisks(c.Sysfs)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNone, err)
	}
	looks, silent := lookAt(ctx, c, mount, disks)
	var found []System
	var seen []string
	cleanup := func() error {
		var faults []error
		for _, l := range looks {
			faults = append(faults, l.close())
		}
		return errors.Join(faults...)
	}
	for _, l := range looks {
		found = append(found, l.systems...)
		if l.seen != "" {
			seen = append(seen, l.seen)
		}
	}
	for _, name := range silent {
		seen = append(seen, name+" does not answer")
	}
	if len(found) > 0 {
		return found, cleanup, nil
	}
	if len(seen) == 0 {
		seen = []string{fmt.Sprintf("%d disks without a file system that is known", len(disks))}
	}
	return nil, nil, errors.Join(fmt.Errorf("%w: seen: %s", ErrNone, strings.Join(seen, ", ")), cleanup())
}

// lookAt looks at all disks at once. It returns what came of those that answered
// in time, in their order, and the names of the others.
func lookAt(ctx context.Context, c Config, mount mounter, disks []disk) (looks []look, silent []string) {
	return each(ctx, c, disks, func(d disk) []look { return d.look(c, mount) }, func(l look) { _ = l.close() })
}

// each calls f for all disks at once. It returns what came of those that answered in
// time, in their order, and the names of the others; should these answer after all,
// what came of it goes to late.
func each[T any](ctx context.Context, c Config, disks []disk, f func(disk) []T, late func(T)) (all []T, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answers := make([]chan []T, len(disks))
	for i, d := range disks {
		answers[i] = make(chan []T, 1)
		var got []T
		guard.Go("looking at "+d.name, func() error { got = f(d); return nil }, func(err error) {
			if err != nil {
				c.Log("local: %v", err)
			}
			answers[i] <- got
		})
	}
	for i, answer := range answers {
		select {
		case got := <-answer:
			all = append(all, got...)
			continue
		default:
		}
		select {
		case got := <-answer:
			all = append(all, got...)
		case <-ctx.Done():
			c.Log("local: %s: no answer after %.0f s, it is left alone", disks[i].name, patience.Seconds())
			silent = append(silent, disks[i].name)
			guard.Go("leaving a disk", func() error {
				for _, t := range <-answer {
					late(t)
				}
				return nil
			}, func(error) {})
		}
	}
	return all, silent
}

// look looks at all partitions of a disk.
func (d disk) look(c Config, mount mounter) []look {
	var all []look
	for _, part := range d.partitions {
		l, err := d.lookInto(c, mount, part)
		if err != nil {
			c.Log("local: %s: %v", part, err)
		}
		all = append(all, l)
	}
	return all
}

// lookInto looks at one partition. With an error there is nothing in it.
func (d disk) lookInto(c Config, mount mounter, part string) (look, error) {
	nothing := look{close: func() error { return nil }}
	device := path.Join(c.Dev, part)
	f, err := probeDevice(device)
	if f.kind != "" {
		nothing.seen = f.kind + " on " + part
	}
	if err != nil || f.driver == "" {
		return nothing, err
	}
	for _, name := range f.modules() {
		if err := c.LoadModule(name); err != nil {
			c.Log("local: %s: driver %s: %v", part, name, err)
		}
	}
	dir := path.Join(c.Dir, part)
	unmount, err := mount(device, dir, f)
	if err != nil {
		return nothing, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nothing, errors.Join(err, unmount())
	}
	l := look{seen: nothing.seen, close: func() error { return errors.Join(root.Close(), unmount()) }}
	if c.folder != "" {
		if info, err := root.Stat(c.folder); err != nil || !info.IsDir() {
			return nothing, l.close()
		}
		l.folder = &Folder{Partition: part, Close: l.close}
		return l, nil
	}
	log := func(format string, args ...any) { c.Log("local: "+part+": "+format, args...) }
	for _, e := range scan(root.FS(), f.uuid, log) {
		l.systems = append(l.systems, System{
			Title: e.Title, Kernel: e.Kernel, Initrds: e.Initrds, Cmdline: e.Cmdline,
			Partition: part, FSUUID: f.uuid, DiskIDs: d.ids, root: root,
		})
	}
	return l, nil
}
