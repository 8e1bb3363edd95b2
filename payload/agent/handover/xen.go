package handover

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"unsafe"

	"github.com/farboot/farboot/payload/xen"
	"golang.org/x/sys/unix"
)

// ErrLocked is wrapped by the errors of [LoadXen]: the kernel is in lockdown, as
// it is under Secure Boot, and then loads nothing but signed Linux kernels.
var ErrLocked = errors.New("Secure Boot is on")

// Xen is a hypervisor with what it is given. All of it was verified before.
type Xen struct {
	Hypervisor *Memory // as it is, or compressed by gzip
	Options    string
	Kernel     *Memory
	Initrd     *Memory // nil where there is none
	Cmdline    string  // of the kernel
	Modules    []XenModule
}

// XenModule is a further file for Xen.
type XenModule struct {
	Data *Memory
	Args string
}

// memories lists all of them, the hypervisor first and then the modules in their
// order.
func (x Xen) memories() []*Memory {
	all := []*Memory{x.Hypervisor, x.Kernel}
	if x.Initrd != nil {
		all = append(all, x.Initrd)
	}
	for _, m := range x.Modules {
		all = append(all, m.Data)
	}
	return all
}

// modules describes them as package xen wants it.
func (x Xen) modules() []xen.Module {
	all := []xen.Module{{Name: "vmlinuz", Args: x.Cmdline, Size: x.Kernel.Size()}}
	if x.Initrd != nil {
		all = append(all, xen.Module{Name: "initrd", Size: x.Initrd.Size()})
	}
	for i, m := range x.Modules {
		all = append(all, xen.Module{Name: fmt.Sprintf("module%d", i+1), Args: m.Args, Size: m.Data.Size()})
	}
	return all
}

// Size returns the bytes of all files.
func (x Xen) Size() int64 {
	var sum int64
	for _, m := range x.memories() {
		sum += m.Size()
	}
	return sum
}

// Close gives the memory back. What was loaded stays loaded.
func (x Xen) Close() {
	for _, m := range x.memories() {
		if m != nil {
			m.Close()
		}
	}
}

// LoadXen hands the hypervisor to kexec_load(2), which reads the modules from the
// very memory that was verified, without a copy in between. It does not start it.
// Where in memory all goes is package xen's to say, from what sysfs tells of the
// machine.
func LoadXen(x Xen, sysfs fs.FS) error {
	for _, m := range x.memories() {
		if !m.sealed() {
			return fmt.Errorf("%w: the memory is not sealed", ErrRefused)
		}
	}
	if Locked(sysfs) {
		return fmt.Errorf("%w: this kernel loads nothing but signed Linux kernels, and Xen is none", ErrLocked)
	}
	machine, err := xen.ReadMachine(sysfs)
	if err != nil {
		return err
	}
	hypervisor, err := xen.Unpack(io.NewSectionReader(x.Hypervisor, 0, x.Hypervisor.Size()))
	if err != nil {
		return err
	}
	plan, err := xen.New(machine, xen.Config{Hypervisor: hypervisor, Options: x.Options, Modules: x.modules()})
	if err != nil {
		return err
	}
	return kexecLoad(plan, x.memories()[1:])
}

// LoadXenTwice is to [LoadXen] what [LoadTwice] is to [Load].
func LoadXenTwice(x Xen, sysfs fs.FS, log func(format string, args ...any)) error {
	return twice(func() error { return LoadXen(x, sysfs) }, log)
}

// kexecSegment is struct kexec_segment of linux/kexec.h.
type kexecSegment struct {
	buf     *byte
	bufSize uintptr
	mem     uintptr
	memSize uintptr
}

// kexecLoad loads a plan whose modules lie in these memories.
func kexecLoad(plan *xen.Plan, modules []*Memory) error {
	var segments []kexecSegment
	for _, s := range plan.Segments {
		data := s.Data
		if data == nil {
			var unmap func()
			var err error
			if data, unmap, err = modules[s.Module].mapped(); err != nil {
				return err
			}
			defer unmap()
		}
		segments = append(segments, kexecSegment{&data[0], uintptr(len(data)), uintptr(s.Addr), uintptr(s.Size)})
	}
	_, _, errno := unix.Syscall6(unix.SYS_KEXEC_LOAD, uintptr(plan.Entry), uintptr(len(segments)),
		uintptr(unsafe.Pointer(&segments[0])), 0, 0, 0)
	runtime.KeepAlive(segments)
	if errno != 0 {
		return explainXen(errno)
	}
	return nil
}

// mapped maps the memory for reading. The pages are the file's own: a private
// mapping copies only what is written. A shared one of a sealed file is refused by
// Linux before 6.7, whatever it is for.
func (m *Memory) mapped() (data []byte, unmap func(), err error) {
	data, err = unix.Mmap(int(m.f.Fd()), 0, int(m.size), unix.PROT_READ, unix.MAP_PRIVATE)
	runtime.KeepAlive(m.f) // its finalizer would close the number that Fd gave
	if err != nil {
		return nil, nil, fmt.Errorf("memory for %s: %w", m.f.Name(), err)
	}
	return data, func() { _ = unix.Munmap(data) }, nil
}

// explainXen says in words what an error of kexec_load(2) means (kernel/kexec.c
// and sanity_check_segment_list in kernel/kexec_core.c in Linux 6.1).
func explainXen(err error) error {
	why := "Xen cannot be loaded"
	switch {
	case errors.Is(err, unix.EPERM):
		why = "this kernel does not let anybody load what is not signed"
	case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EADDRNOTAVAIL):
		why = "not enough memory for Xen and its modules"
	case errors.Is(err, unix.EINVAL):
		why = "Xen and its modules are more than half of the memory, or lie where nothing may"
	case errors.Is(err, unix.ENOSYS):
		why = "the running kernel was built without kexec_load"
	}
	return fmt.Errorf("%w: %s: %w", ErrRefused, why, err)
}
