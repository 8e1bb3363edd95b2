// Package iso reads at the desk what a machine has to know to start the live system of
// an ISO of whomever: kernel, initrd and command line, which program in the initrd
// finds the medium and how it is told, which /init comes first, and the kernel's
// release with its modules.
//
// [Examine] does all of that, and refuses with a reason what would not start: better
// at the desk than on a black screen. [System.Modules] then makes the modules that the
// machine may need. The ISO is hostile input: packages isofs, bootcfg, initrd and
// unsquash, which read its parts, bound what they take.
//
// Families are told apart by what their initrds hold, see [Families]. Whether a system
// works once its root file system is mounted this package cannot know.
package iso

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/iso/bootcfg"
	"github.com/farboot/farboot/builder/iso/isofs"
	"github.com/farboot/farboot/payload/manifest"
)

// ErrCannot is wrapped by errors that say why an ISO cannot be started.
var ErrCannot = errors.New("this ISO cannot be started by farboot")

// Options are what the recipe says.
type Options struct {
	// Kernel and Initrd are files of the ISO, and Cmdline is the whole command line;
	// empty is what the ISO's own menu says.
	Kernel  string
	Initrd  []string
	Cmdline string
	// Append are words that come behind the command line.
	Append string
	Live   Live
}

// Live is what the live system is told, in its family's own words.
type Live struct {
	Lang     string // "de_DE.UTF-8"
	Keyboard string // "de"
	Timezone string // "Europe/Vienna"
	Hostname string
	Username string
	// SSHKeys are lines of authorized_keys for root and for users that are made while
	// the system starts.
	SSHKeys []string
}

// System is what an ISO would start.
type System struct {
	Family  string
	Release string
	Kernel  isofs.File
	Initrd  []isofs.File
	Cmdline string
	// InitLink or Init is the /init of the initrd: an absolute path that it links to,
	// or what it holds.
	InitLink string
	Init     []byte
	// Memory is what the system takes at least, in MiB.
	Memory int
	// Layer are files for one more initrd; there may be none.
	Layer []initramfs.File

	volume *isofs.Volume
	boot   *contents
}

// Examine reads an ISO of size bytes.
func Examine(r io.ReaderAt, size int64, o Options) (*System, error) {
	v, err := isofs.Open(r, size)
	if err != nil {
		return nil, err
	}
	s := &System{volume: v}
	choice, err := s.choose(o)
	if err != nil {
		return nil, err
	}
	if s.boot, err = readInitrds(v, s.Initrd); err != nil {
		return nil, err
	}
	if err := s.takeInit(); err != nil {
		return nil, err
	}
	s.Memory = int((s.boot.unpacked+s.Kernel.Size)>>20) + leastMemory
	return s, s.settle(choice, o)
}

// leastMemory is what a small Debian takes beside its initrd, in MiB.
const leastMemory = 256

// settle finds the family, and writes the command line.
func (s *System) settle(choice bootcfg.Choice, o Options) error {
	f := s.family(choice)
	s.Family = f.name
	line := splitWords(choice.Cmdline)
	switch {
	case o.Cmdline != "":
		line = splitWords(o.Cmdline)
	case f.name == unknown:
		return fmt.Errorf("%w: nothing that is known to look for a live system's medium is in its initrd (known are %s); with \"cmdline:\" the recipe can say how it is told, %s stands for the device",
			ErrCannot, strings.Join(Families(), ", "), manifest.Device)
	default:
		line = f.line(line)
	}
	more, err := f.options(o.Live)
	if err != nil {
		return err
	}
	line = append(append(line, more...), splitWords(o.Append)...)
	s.Cmdline = strings.Join(line, " ")
	if err := manifest.CheckCarriedLine(s.Cmdline); err != nil {
		return err
	}
	if len(o.Live.SSHKeys) > 0 {
		s.Layer, err = f.keyLayer(s.boot, o.Live.SSHKeys)
	}
	return err
}

// choose finds kernel and initrds: those of the recipe, or the first of the ISO's own
// menus that it has, or those that lie where families have them.
func (s *System) choose(o Options) (bootcfg.Choice, error) {
	if o.Kernel != "" {
		c := bootcfg.Choice{Kernel: o.Kernel, Initrd: o.Initrd}
		return c, s.try(c)
	}
	var first error
	for _, c := range append(bootcfg.Find(s.reader()), s.usual()...) {
		if len(o.Initrd) > 0 {
			c.Initrd = o.Initrd
		}
		err := s.try(c)
		if err == nil {
			return c, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = fmt.Errorf("%w: there is no menu of a bootloader in it that names a kernel; with \"kernel:\", \"initrd:\" and \"cmdline:\" the recipe can say what to start", ErrCannot)
	}
	return bootcfg.Choice{}, first
}

// try takes kernel and initrds of a choice, if they can be started.
func (s *System) try(c bootcfg.Choice) error {
	kernel, err := s.file(c.Kernel)
	if err != nil {
		return err
	}
	release, err := readRelease(s.volume, kernel)
	if err != nil {
		return err
	}
	if len(c.Initrd) == 0 {
		return fmt.Errorf("%w: %s has no initrd", ErrCannot, c.Kernel)
	}
	var initrds []isofs.File
	for _, name := range c.Initrd {
		f, err := s.file(name)
		if err != nil {
			return err
		}
		initrds = append(initrds, f)
	}
	s.Kernel, s.Release, s.Initrd = kernel, release, initrds
	return nil
}

// file returns a file with something in it.
func (s *System) file(name string) (isofs.File, error) {
	f, err := s.volume.Find(name)
	if err == nil && (!f.Mode.IsRegular() || f.Size == 0) {
		err = &fs.PathError{Op: "find", Path: name, Err: errors.New("not a regular file with anything in it")}
	}
	if err != nil {
		return f, fmt.Errorf("%w: %w", ErrCannot, err)
	}
	return f, nil
}

// reader lets package bootcfg read.
func (s *System) reader() bootcfg.Reader {
	return bootcfg.Reader{Read: s.volume.ReadFile, List: func(dir string) ([]string, error) {
		files, err := s.volume.List(dir)
		var names []string
		for _, f := range files {
			names = append(names, path.Base(f.Path))
		}
		return names, err
	}}
}

// usual are kernels and initrds where families have them, for ISOs whose menus cannot
// be read.
func (s *System) usual() []bootcfg.Choice {
	var all []bootcfg.Choice
	for _, p := range [][2]string{
		{"/live/vmlinuz", "/live/initrd.img"},
		{"/casper/vmlinuz", "/casper/initrd"},
		{"/images/pxeboot/vmlinuz", "/images/pxeboot/initrd.img"},
		{"/arch/boot/x86_64/vmlinuz-linux", "/arch/boot/x86_64/initramfs-linux.img"},
		{"/boot/vmlinuz-lts", "/boot/initramfs-lts"},
		{"/boot/isolinux/linux64", "/boot/isolinux/minirt.gz"},
	} {
		if _, err := s.volume.Find(p[0]); err == nil {
			all = append(all, bootcfg.Choice{Kernel: p[0], Initrd: p[1:2]})
		}
	}
	return all
}

// splitWords splits a command line at blanks that do not stand in double quotes.
func splitWords(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && (r == ' ' || r == '\t')
	})
}
