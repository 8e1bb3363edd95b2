package medium

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/xen"
)

// Where GRUB's module for Xen lies in its package and on the medium. It is for
// UEFI: the signed GRUB has it not built in, and takes it where Secure Boot is
// off.
const (
	grubModulesPackage = "grub-efi-amd64-bin"
	multibootFile      = "usr/lib/grub/x86_64-efi/multiboot2.mod"
	multibootPath      = "boot/grub/x86_64-efi/multiboot2.mod"
)

// hasXen tells whether the menu has an entry of kind xen.
func hasXen(r *recipe.Medium) bool {
	return slices.ContainsFunc(r.Menu, func(e recipe.MenuEntry) bool { return e.Xen != nil })
}

// bootXen turns an entry of kind xen, whose files lie in dir, into the
// bootloader's.
func bootXen(r *recipe.Medium, e recipe.MenuEntry, dir string) *grub.Xen {
	x := &grub.Xen{Hypervisor: dir + "xen", Options: e.Xen.Options, EFIModule: "/" + multibootPath}
	if !hasOption(x.Options, "console") {
		x.Options = join(grub.XenConsole(r.Console), x.Options)
	}
	if e.HasAgent() {
		x.Modules = []grub.Module{
			{Path: "/" + kernelPath, Args: join(consoleArgs(dom0Consoles(r.Console)), agentCmdline, r.Cmdline, e.Xen.Cmdline)},
			{Path: "/" + initrdPath},
		}
	} else {
		x.Modules = []grub.Module{{Path: dir + "kernel", Args: e.Xen.Cmdline}}
		if len(e.Xen.Initrd) > 0 {
			x.Modules = append(x.Modules, grub.Module{Path: dir + "initrd"})
		}
	}
	for i, m := range e.Xen.Modules {
		x.Modules = append(x.Modules, grub.Module{Path: fmt.Sprintf("%smodule%d", dir, i), Args: m.Args})
	}
	return x
}

// dom0Consoles returns what a kernel's consoles are in dom0: the serial port is
// Xen's there, and reached by way of it.
func dom0Consoles(consoles []string) []string {
	var out []string
	for _, c := range consoles {
		if strings.HasPrefix(c, "ttyS") {
			c = "hvc0"
		}
		if !slices.Contains(out, c) {
			out = append(out, c)
		}
	}
	return out
}

// xenFiles puts the files of an entry of kind xen on the medium.
func (c *composer) xenFiles(e recipe.MenuEntry, x *grub.Xen) error {
	path, _, err := c.Blobs.Path(e.Xen.Hypervisor)
	if err != nil {
		return err
	}
	if err := checkHypervisor(path); err != nil {
		what := e.Xen.Hypervisor.Name()
		if e.Xen.Hypervisor.Deb != "" {
			what += " " + e.Xen.Hypervisor.File
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := c.menuFile(x.Hypervisor, e.Xen.Hypervisor); err != nil {
		return err
	}
	if !e.HasAgent() {
		if err := c.menuFile(x.Modules[0].Path, e.Xen.Kernel); err != nil {
			return err
		}
	}
	if len(e.Xen.Initrd) > 0 {
		if err := c.joined(x.Modules[1].Path, e.Xen.Initrd); err != nil {
			return err
		}
	}
	own := x.Modules[len(x.Modules)-len(e.Xen.Modules):]
	for i, m := range e.Xen.Modules {
		if err := c.menuFile(own[i].Path, m.Input); err != nil {
			return err
		}
	}
	return nil
}

// checkHypervisor tells whether GRUB could start a file as Xen: what it could not
// would be seen at the machine only, as "no multiboot header found".
func checkHypervisor(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	unpacked, err := xen.Unpack(f)
	if err != nil {
		return err
	}
	return xen.Check(unpacked)
}

// joined puts several initrds on the medium as one file, since Xen hands one to
// dom0. Each begins at a multiple of 4 bytes, as the kernel wants archives.
func (c *composer) joined(name string, inputs []recipe.Input) error {
	name = strings.TrimPrefix(name, "/")
	var parts []tree.File
	for _, in := range inputs {
		path, ref, err := c.Blobs.Path(in)
		if err != nil {
			return err
		}
		f, err := c.scanned(name, in.Name(), path, ref)
		if err != nil {
			return err
		}
		parts = append(parts, f, tree.Bytes(name, make([]byte, -f.Size&3)))
	}
	return c.m.files.Add(tree.Concat(name, parts...))
}

// multiboot puts GRUB's module for Xen on the medium. It has to be of the very
// build that the signed GRUB is: one of another fits by chance only.
func (c *composer) multiboot() error {
	signed, _ := c.Lock.Lookup("deb:" + grubEFIPackage)
	modules, _ := c.Lock.Lookup("deb:" + grubModulesPackage)
	if got := signedVersion(modules.Version); got != signed.Version {
		return fmt.Errorf("%s %s does not fit %s %s: update the lock", grubModulesPackage, modules.Version, grubEFIPackage, signed.Version)
	}
	f, err := c.taken(multibootPath, grubModulesPackage, multibootFile)
	if err != nil {
		return fmt.Errorf("UEFI loader: %w", err)
	}
	return c.m.files.Add(f)
}

// signedVersion returns the version of the package with GRUB as Debian signed it,
// for that of the package it was made from: "1+2.06+13+deb12u2" for
// "2.06-13+deb12u2".
func signedVersion(version string) string {
	return "1+" + strings.Replace(version, "-", "+", 1)
}
