// Package bootcfg reads the menus of other people's bootloaders: what GRUB, SYSLINUX
// and systemd-boot would start from a live system's medium.
//
// [Find] looks for the usual configuration files and returns the [Choice]s of the
// first that has any, the default first. It is no interpreter: of GRUB's language it
// reads commands, quotes, variables that were set and files that are included, and
// takes the body of every "if". A word of a kernel's command line with a variable that
// nobody set is left out: "findiso=${iso_path}" is for GRUB alone.
//
// A file that cannot be read is passed over, and [Find] never fails for what is in it:
// whether a choice makes sense is for its caller to say.
package bootcfg

import (
	"path"
	"slices"
	"strings"
)

// Limits of what is read: menus have some KiB in a handful of files.
const (
	maxFiles   = 64
	maxDepth   = 8
	maxFile    = 256 << 10 // bytes
	maxChoices = 256
	maxWords   = 4096 // in one command
	maxWord    = 4096 // bytes
	maxInitrds = 16
)

// Choice is one entry of a menu that starts a kernel.
type Choice struct {
	Title  string
	Kernel string   // absolute
	Initrd []string // absolute
	// Cmdline is what follows the kernel.
	Cmdline string
	// File is the configuration file that it stands in.
	File string
}

// Reader reads files of a medium.
type Reader struct {
	// Read returns what a file holds, if it has at most max bytes.
	Read func(name string, max int64) ([]byte, error)
	// List returns the names of the files in a folder, sorted.
	List func(dir string) ([]string, error)
}

// places are where configuration files lie, the best first: loopback.cfg is made for
// being started from a file.
var places = []struct {
	name string
	read func(*files, string) menu
}{
	{"/boot/grub/loopback.cfg", grub},
	{"/boot/grub2/loopback.cfg", grub},
	{"/boot/grub/grub.cfg", grub},
	{"/boot/grub2/grub.cfg", grub},
	{"/EFI/BOOT/grub.cfg", grub},
	{"/isolinux/isolinux.cfg", syslinux},
	{"/boot/isolinux/isolinux.cfg", syslinux},
	{"/isolinux.cfg", syslinux},
	{"/boot/syslinux/syslinux.cfg", syslinux},
	{"/boot/syslinux/isolinux.cfg", syslinux},
	{"/syslinux/syslinux.cfg", syslinux},
	{"/syslinux.cfg", syslinux},
	{"/loader/entries", loader},
}

// Find returns what can be started, in the order in which it is to be tried.
func Find(r Reader) []Choice {
	for _, p := range places {
		f := &files{Reader: r, left: maxFiles}
		if found := p.read(f, p.name).ordered(); len(found) > 0 {
			return found
		}
	}
	return nil
}

// files reads a bounded number of files.
type files struct {
	Reader
	left int
}

// text returns what a file holds, "" where it cannot be read.
func (f *files) text(name string) string {
	if f.left == 0 {
		return ""
	}
	f.left--
	data, err := f.Read(name, maxFile)
	if err != nil {
		return ""
	}
	return string(data)
}

// menu is what a configuration file says.
type menu struct {
	choices []Choice
	first   int // of the choices, the default; -1 is not known
}

// ordered returns the choices with the default first.
func (m menu) ordered() []Choice {
	if m.first <= 0 || m.first >= len(m.choices) {
		return m.choices
	}
	return slices.Concat(m.choices[m.first:m.first+1], m.choices[:m.first], m.choices[m.first+1:])
}

// add takes a choice that starts something.
func (m *menu) add(c Choice) {
	if c.Kernel != "" && len(m.choices) < maxChoices && len(c.Initrd) <= maxInitrds {
		m.choices = append(m.choices, c)
	}
}

// loader reads the entries of systemd-boot (the Boot Loader Specification, type 1).
func loader(f *files, dir string) menu {
	m := menu{first: -1}
	names, err := f.List(dir)
	if err != nil {
		return m
	}
	for _, name := range names {
		if path.Ext(name) != ".conf" {
			continue
		}
		c := Choice{File: path.Join(dir, name)}
		for line := range strings.Lines(f.text(c.File)) {
			key, value, _ := strings.Cut(strings.TrimSpace(strings.ReplaceAll(line, "\t", " ")), " ")
			switch value = strings.TrimSpace(value); key {
			case "title":
				c.Title = value
			case "linux":
				c.Kernel = path.Join("/", value)
			case "initrd":
				c.Initrd = append(c.Initrd, path.Join("/", value))
			case "options":
				c.Cmdline = strings.Join(strings.Fields(c.Cmdline+" "+value), " ")
			}
		}
		m.add(c)
	}
	return m
}
