// Command spoiler is the /init of a system that starts Xen by a plan of package xen
// from which the kernel's command line takes something away, to see what becomes of
// it: farboot.spoil="NAME", or nothing. What is to be started lies in its initrd.
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"github.com/farboot/farboot/payload/xen"
	"golang.org/x/sys/unix"
)

func main() {
	fmt.Printf("\nspoiler: %v\n", run())
}

// run returns only with an error.
func run() error {
	for dir, kind := range map[string]string{"/proc": "proc", "/sys": "sysfs"} {
		if err := unix.Mount(kind, dir, kind, 0, ""); err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
	}
	cmdline, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return err
	}
	_, what, _ := strings.Cut(string(cmdline), `farboot.spoil="`)
	what, _, _ = strings.Cut(what, `"`)
	config, modules, err := files()
	if err != nil {
		return err
	}
	machine, err := xen.ReadMachine(os.DirFS("/sys"))
	if err != nil {
		return err
	}
	if what == "place" {
		machine.Memory = reserved(machine.Memory)
	}
	plan, err := xen.New(machine, config)
	if err != nil {
		return err
	}
	spoil(plan, what)
	if err := load(plan, modules); err != nil {
		return err
	}
	fmt.Printf("\nspoiler: without its %q, Xen at %#x\n", what, segment(plan, "Xen").Addr)
	return unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC)
}

// files reads what is to be started.
func files() (xen.Config, [][]byte, error) {
	read := func(name string) ([]byte, error) { return os.ReadFile("/" + name) }
	packed, err := read("xen.gz")
	if err != nil {
		return xen.Config{}, nil, err
	}
	config := xen.Config{Options: "console=com1 com1=115200,8n1 dom0_mem=512M noreboot"}
	if config.Hypervisor, err = xen.Unpack(bytes.NewReader(packed)); err != nil {
		return xen.Config{}, nil, err
	}
	var modules [][]byte
	for _, m := range []xen.Module{{Name: "vmlinuz", Args: "console=hvc0 quiet"}, {Name: "initrd"}} {
		data, err := read(m.Name)
		if err != nil {
			return xen.Config{}, nil, err
		}
		m.Size = int64(len(data))
		config.Modules, modules = append(config.Modules, m), append(modules, data)
	}
	return config, modules, nil
}

// reserved returns a map in which the megabyte is taken that Xen was linked for.
func reserved(m xen.Map) xen.Map {
	const from, to = 2 << 20, 3 << 20
	var out xen.Map
	for _, r := range m {
		if r.Kind != xen.RAM || r.Start > from || r.End < to {
			out = append(out, r)
			continue
		}
		out = append(out, xen.Range{Start: r.Start, End: from, Kind: xen.RAM}, xen.Range{Start: from, End: to, Kind: xen.Reserved}, xen.Range{Start: to, End: r.End, Kind: xen.RAM})
	}
	return out
}

// spoil takes something away that Xen needs.
func spoil(p *xen.Plan, what string) {
	switch what {
	case "first word": // of its line, which it drops
		info := segment(p, "information").Data
		copy(info[bytes.Index(info, []byte("xen console=com1")):], "console=com1    ")
	case "BIOS data area":
		clear(segment(p, what).Data)
	case "root pointer": // the slot with its address, see docs/xen.md
		const rsdpFrom = 0xc8 + 3*4
		clear(segment(p, "trampoline").Data[rsdpFrom : rsdpFrom+4])
	}
}

// segment returns a plan's segment. One that is not there ends the program.
func segment(p *xen.Plan, name string) *xen.Segment {
	for i := range p.Segments {
		if p.Segments[i].Name == name {
			return &p.Segments[i]
		}
	}
	panic("the plan has no " + name)
}

// load loads the plan by kexec_load(2), whose segments are four words each.
func load(p *xen.Plan, modules [][]byte) error {
	var segments [][4]uintptr
	for _, s := range p.Segments {
		data := s.Data
		if data == nil {
			data = modules[s.Module]
		}
		segments = append(segments, [4]uintptr{uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)), uintptr(s.Addr), uintptr(s.Size)})
	}
	_, _, errno := unix.Syscall6(unix.SYS_KEXEC_LOAD, uintptr(p.Entry), uintptr(len(segments)), uintptr(unsafe.Pointer(&segments[0])), 0, 0, 0)
	runtime.KeepAlive(p)
	runtime.KeepAlive(modules)
	if errno != 0 {
		return errno
	}
	return nil
}
