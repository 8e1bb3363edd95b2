package grub

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/manifest"
)

// Xen is the Xen hypervisor with what it is given, all on the medium. GRUB hands
// it over by the multiboot2 protocol, under UEFI with the firmware's services
// still running, so that Xen and dom0 know where they are.
type Xen struct {
	// Hypervisor is Xen itself, as it is or compressed by gzip: GRUB unpacks it.
	Hypervisor string
	// Options reach Xen as they are.
	Options string
	// Modules begin with dom0's kernel; its initrd is the second.
	Modules []Module
	// EFIModule is the path of multiboot2.mod of the package grub-efi-amd64-bin,
	// which Debian's signed GRUB has not built in.
	EFIModule string
}

// Module is a file that GRUB hands to Xen as it is, with its command line.
type Module struct {
	Path, Args string
}

// maxModules is how many modules a Xen may have: kernel, initrd, microcode, a policy,
// and room.
const maxModules = 16

func (x *Xen) validate() error {
	if len(x.Modules) == 0 || len(x.Modules) > maxModules {
		return fmt.Errorf("%d modules, want 1 to %d", len(x.Modules), maxModules)
	}
	for _, m := range append([]Module{{x.Hypervisor, x.Options}, {Path: x.EFIModule}}, x.Modules...) {
		if err := checkPath("path", m.Path); err != nil {
			return err
		}
		if err := manifest.CheckXenLine(m.Args); err != nil {
			return err
		}
	}
	return nil
}

// commands returns what starts Xen.
//
// Xen takes the first word of a command line for the name of a file and drops it,
// unless the loader calls itself "GRUB " and not 0.x (cmdline_cook in
// xen/arch/x86/setup.c): GRUB 2 leaves the name out, so the lines are given as
// they are.
func (x *Xen) commands() ([]string, error) {
	lines := []string{"boot"}
	for i := len(x.Modules) - 1; i >= 0; i-- {
		words, err := x.Modules[i].words()
		if err != nil {
			return nil, err
		}
		// Without the option GRUB unpacks an initrd, which dom0 does better.
		lines = guard("module2 --nounzip "+words, lines)
	}
	words, err := Module{x.Hypervisor, x.Options}.words()
	if err != nil {
		return nil, err
	}
	lines = guard("multiboot2 "+words, lines)
	load, err := Quote(x.EFIModule)
	if err != nil {
		return nil, err
	}
	return append(guard(`[ "$grub_platform" = efi ]`, []string{"insmod " + load}), lines...), nil
}

// XenConsole returns Xen's options for a kernel's consoles: the screen and the
// first two serial ports, as far as they are there. Xen knows no others by name.
func XenConsole(consoles []string) string {
	var names, ports []string
	for _, c := range consoles {
		serial, err := serialPorts([]string{c})
		switch {
		case err != nil:
		case len(serial) == 1 && slices.Contains(uarts[:2], serial[0].address):
			p, name := serial[0], fmt.Sprintf("com%d", slices.Index(uarts[:], serial[0].address)+1)
			names, ports = append(names, name), append(ports, fmt.Sprintf("%s=%s,%s%.1s1", name, p.speed, p.word, p.parity))
		case screen.MatchString(c):
			names = append(names, "vga")
		}
	}
	if len(names) == 0 {
		return ""
	}
	return strings.Join(append([]string{"console=" + strings.Join(names, ",")}, ports...), " ")
}

// screen matches the consoles of the kernel that are on the screen.
var screen = regexp.MustCompile(`^tty[0-9]+$`)

// words returns path and command line as GRUB's commands take them.
func (m Module) words() (string, error) {
	words, err := cmdlineWords(m.Args)
	if err != nil {
		return "", err
	}
	return quoteAll(append([]string{m.Path}, words...))
}
