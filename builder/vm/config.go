package vm

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Firmware is what the machine starts with.
type Firmware string

const (
	BIOS       Firmware = "bios"        // SeaBIOS
	UEFI       Firmware = "uefi"        // OVMF
	SecureBoot Firmware = "secure-boot" // OVMF with Microsoft's keys, Secure Boot on
)

// Bus is how an image is attached.
type Bus string

const (
	CD  Bus = "cd"  // an optical drive on AHCI
	USB Bus = "usb" // a stick on xHCI
)

// DiskBus is what a disk hangs on.
type DiskBus string

const (
	VirtIO DiskBus = "virtio" // vda, vdb, ...
	SATA   DiskBus = "sata"   // sda, sdb, ..., on the board's AHCI
	NVMe   DiskBus = "nvme"   // nvme0n1, nvme1n1, ...
)

// Config describes a machine. Exactly one of Image, Netboot and Kernel is set.
type Config struct {
	// Image is a hybrid image, attached on Bus (default CD), read-only unless
	// Writable says that the guest may change the file: a stick that remembers.
	// QEMU's id for a stick is "stick".
	Image    string
	Bus      Bus
	Writable bool
	// Netboot is a folder that is served by TFTP; Bootfile is the file in it
	// that the first NIC's boot ROM (iPXE) asks for.
	Netboot  string
	Bootfile string
	// Kernel, with Initrd and Cmdline, is started without a bootloader.
	Kernel  string
	Initrd  string
	Cmdline string

	// Disks are further disks, from which nothing is started. QEMU's ids for them
	// are disk0, disk1, ...
	Disks []Disk

	Firmware Firmware // default BIOS
	// Vars is the file that keeps UEFI variables from one machine to the next;
	// it is made where it is missing. Without it they end with the machine.
	Vars   string
	Memory int // in MiB; default 1024
	// CPU is QEMU's model; the default has RDRAND, without which a guest waits
	// for entropy.
	CPU string
	// NICs sit each on a user network of its own, where DHCP answers and the
	// host's loopback is 10.0.2.2, unless they say otherwise. Default is one
	// virtio-net-pci. QEMU's ids for them are nic0, nic1, ...
	NICs []NIC
	// KVM uses hardware virtualisation instead of emulation. It is never
	// guessed: a /dev/kvm that opens does not always run a kernel.
	KVM bool
	// VGA adds a graphics card. Without it the serial console is all there is.
	VGA bool
	// Reboots lets the guest reset. Otherwise a reset ends the machine, as
	// switching it off does.
	Reboots bool
	// Serial, where not nil, gets the serial console's raw bytes. Its errors
	// are ignored, and it holds the machine up where it blocks.
	Serial io.Writer
	// Port, where not nil, is a stream socket that the guest has as a virtio-serial port,
	// called PortName. It stays the caller's, who closes it after [Start].
	Port     *os.File
	PortName string
	// Args are further arguments of QEMU.
	Args []string
}

// NIC is a network card.
type NIC struct {
	Model string // as QEMU names it: virtio-net-pci, e1000e, rtl8139
	MAC   string // default 52:54:00:12:34:56 for the first, counted up
	Net   string // what it is plugged into, as QEMU's -netdev without an id; default "user"
}

// Disk is a disk that the guest may write to.
type Disk struct {
	File   string  // raw; its size is the disk's
	Bus    DiskBus // default VirtIO
	Serial string  // as the guest reads it; default "DISK0" for the first, counted up
	// Log, where not empty, is a file that gets a log of all writes, in the form
	// of the kernel's dm-log-writes (Documentation/admin-guide/device-mapper/log-writes.rst).
	// It is emptied at the start.
	Log string
	// Drive, where not empty, is how the file is opened, as options of QEMU's -drive in
	// the place of "format=raw". It does not go with Log.
	Drive string
}

// Where the Debian packages ovmf and ipxe-qemu put their files.
const (
	ovmfDir = "/usr/share/OVMF/"
	ipxeDir = "/usr/lib/ipxe/qemu"
)

// withDefaults fills in what is not set, and checks what is.
func (c Config) withDefaults() (Config, error) {
	sources := 0
	for _, s := range []string{c.Image, c.Netboot, c.Kernel} {
		if s != "" {
			sources++
		}
	}
	if sources != 1 {
		return Config{}, fmt.Errorf("vm: %d of image, netboot folder and kernel are given, want one", sources)
	}
	c.Bus = cmp.Or(c.Bus, CD)
	if c.Bus != CD && c.Bus != USB {
		return Config{}, fmt.Errorf("vm: bus %q: want %q or %q", c.Bus, CD, USB)
	}
	if c.Writable && (c.Image == "" || c.Bus != USB) {
		return Config{}, fmt.Errorf("vm: only an image on bus %q can be writable", USB)
	}
	c.Firmware = cmp.Or(c.Firmware, BIOS)
	if _, ok := flash[c.Firmware]; !ok {
		return Config{}, fmt.Errorf("vm: firmware %q: want %q, %q or %q", c.Firmware, BIOS, UEFI, SecureBoot)
	}
	if c.Vars != "" && c.Firmware == BIOS {
		return Config{}, fmt.Errorf("vm: firmware %q has no variables to keep in %q", BIOS, c.Vars)
	}
	c.Memory = cmp.Or(c.Memory, 1024)
	c.CPU = cmp.Or(c.CPU, "Nehalem,+rdrand")
	for _, d := range c.Disks {
		if _, ok := diskDevices[cmp.Or(d.Bus, VirtIO)]; !ok {
			return Config{}, fmt.Errorf("vm: disk %q: bus %q: want %q, %q or %q", d.File, d.Bus, VirtIO, SATA, NVMe)
		}
	}
	if len(c.NICs) == 0 {
		c.NICs = []NIC{{Model: "virtio-net-pci"}}
	}
	return c, nil
}

// flash lists the flash images of each firmware: the code, and the variables to
// start from. QEMU brings its own SeaBIOS.
var flash = map[Firmware]struct{ code, vars string }{
	BIOS:       {},
	UEFI:       {ovmfDir + "OVMF_CODE_4M.fd", ovmfDir + "OVMF_VARS_4M.fd"},
	SecureBoot: {ovmfDir + "OVMF_CODE_4M.secboot.fd", ovmfDir + "OVMF_VARS_4M.ms.fd"},
}

// checkInstalled tells which Debian package is missing, if any.
func (c Config) checkInstalled() error {
	needs := map[string]string{flash[c.Firmware].code: "ovmf", flash[c.Firmware].vars: "ovmf"}
	if c.Netboot != "" {
		needs[ipxeDir] = "ipxe-qemu"
	}
	delete(needs, "")
	for file, pkg := range needs {
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("vm: %w: install the Debian package %s", err, pkg)
		}
	}
	return nil
}

// vars returns the machine's firmware variables: those that were kept, or else
// a copy of the firmware's own, in memory where nothing is to be kept.
func (c Config) vars() (*os.File, error) {
	f, err := c.varsFile()
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Size() > 0 {
		return f, nil
	}
	var data []byte
	if from := flash[c.Firmware].vars; from != "" {
		if data, err = os.ReadFile(from); err != nil {
			f.Close()
			return nil, err
		}
	}
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// varsFile opens the file for the variables, which is empty where it is new.
func (c Config) varsFile() (*os.File, error) {
	if c.Vars != "" {
		return os.OpenFile(c.Vars, os.O_RDWR|os.O_CREATE, 0o600)
	}
	fd, err := unix.MemfdCreate("vars", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "vars"), nil
}

// File descriptors that QEMU inherits, behind the three of every process.
const (
	qmpFD  = 3
	varsFD = 4
	portFD = 5
)

// args returns QEMU's command line for a Config with defaults.
func (c Config) args() []string {
	machine, accel := "q35", "tcg"
	if c.Firmware == SecureBoot {
		machine = "q35,smm=on" // the variables are written in system management mode only
	}
	if c.KVM {
		accel = "kvm"
	}
	args := []string{
		"-nodefaults", "-no-user-config", "-display", "none",
		"-machine", machine, "-accel", accel, "-cpu", c.CPU, "-m", strconv.Itoa(c.Memory),
		"-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial",
		"-chardev", fmt.Sprintf("socket,id=qmp,fd=%d", qmpFD), "-mon", "chardev=qmp,mode=control",
		"-boot", "strict=on",
	}
	if c.VGA {
		args = append(args, "-vga", "std")
	}
	if !c.Reboots {
		args = append(args, "-no-reboot")
	}
	if code := flash[c.Firmware].code; code != "" {
		args = append(args,
			"-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+quote(code),
			"-drive", fmt.Sprintf("if=pflash,unit=1,format=raw,file=/dev/fd/%d", varsFD))
	}
	if c.Firmware == SecureBoot {
		args = append(args, "-global", "driver=cfi.pflash01,property=secure,value=on")
	}
	if c.Port != nil {
		args = append(args, "-chardev", fmt.Sprintf("socket,id=port,fd=%d", portFD),
			"-device", "virtio-serial-pci", "-device", "virtserialport,chardev=port,name="+quote(c.PortName))
	}
	return slices.Concat(args, c.sourceArgs(), c.diskArgs(), c.nicArgs(), c.Args)
}

// sourceArgs attaches what is started.
func (c Config) sourceArgs() []string {
	drive := "if=none,id=boot,format=raw,file=" + quote(c.Image)
	if !c.Writable {
		drive += ",readonly=on"
	}
	switch {
	case c.Netboot != "":
		return nil // the first NIC does it
	case c.Kernel != "" && c.Initrd != "":
		return []string{"-kernel", c.Kernel, "-append", c.Cmdline, "-initrd", c.Initrd}
	case c.Kernel != "":
		return []string{"-kernel", c.Kernel, "-append", c.Cmdline}
	case c.Bus == USB:
		return []string{"-drive", drive, "-device", "qemu-xhci", "-device", "usb-storage,id=stick,drive=boot,removable=on,bootindex=0"}
	}
	return []string{"-drive", drive + ",media=cdrom", "-device", "ide-cd,drive=boot,bootindex=0"}
}

// diskDevices are QEMU's names for a disk on each bus.
var diskDevices = map[DiskBus]string{VirtIO: "virtio-blk-pci", SATA: "ide-hd", NVMe: "nvme"}

// diskArgs adds the disks.
func (c Config) diskArgs() []string {
	var args []string
	port := 0 // of AHCI's six; the first is the CD drive's
	for i, d := range c.Disks {
		drive := fmt.Sprintf("if=none,id=drive%d,%s,file=%s", i, cmp.Or(d.Drive, "format=raw"), quote(d.File))
		if d.Log != "" {
			drive = fmt.Sprintf("if=none,id=drive%d,driver=blklogwrites,file.driver=raw,file.file.driver=file,file.file.filename=%s,log.driver=file,log.filename=%s", i, quote(d.File), quote(d.Log))
		}
		device := fmt.Sprintf("%s,id=disk%d,drive=drive%d,serial=%s", diskDevices[cmp.Or(d.Bus, VirtIO)], i, i, quote(cmp.Or(d.Serial, fmt.Sprintf("DISK%d", i))))
		if d.Bus == SATA {
			port++
			device += fmt.Sprintf(",bus=ide.%d", port)
		}
		args = append(args, "-drive", drive, "-device", device)
	}
	return args
}

// nicArgs adds the network cards. Only a netboot has a boot ROM on its first.
func (c Config) nicArgs() []string {
	var args []string
	for i, nic := range c.NICs {
		mac := cmp.Or(nic.MAC, fmt.Sprintf("52:54:00:12:34:%02x", 0x56+i))
		netdev := fmt.Sprintf("%s,id=net%d", cmp.Or(nic.Net, "user"), i)
		device := fmt.Sprintf("%s,id=nic%d,netdev=net%d,mac=%s", nic.Model, i, i, mac)
		if c.Netboot != "" && i == 0 {
			netdev += ",tftp=" + quote(c.Netboot) + ",bootfile=" + quote(c.Bootfile)
			device += ",bootindex=0"
		} else {
			device += ",romfile="
		}
		args = append(args, "-netdev", netdev, "-device", device)
	}
	return args
}

// quote makes a value safe within QEMU's comma-separated options.
func quote(s string) string { return strings.ReplaceAll(s, ",", ",,") }
