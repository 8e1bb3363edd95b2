package grub

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/farboot/farboot/payload/manifest"
)

// Menu is what the bootloader shows. The same Menu serves BIOS and UEFI, disc
// and network; package netboot writes it for iPXE.
type Menu struct {
	// Timeout is how long a menu of several entries waits, in seconds; 0 starts
	// the first at once. A key stops the clock, and noise on a serial line passes
	// for a key: where nobody will ever choose, 0 is right.
	Timeout int
	// Consoles are the kernel's console= values ("tty0", "ttyS1,57600n8"). The
	// menu appears on the screen and on the last serial port among them that
	// the machine has.
	Consoles []string
	// Entries has at least one.
	Entries []Entry
	// Default is the index of the entry that starts where nobody chooses. Where it
	// is not shown the first that is takes its place.
	Default int
	// Password, where set, is what grub-mkpasswd-pbkdf2 prints: "grub.pbkdf2...."
	// Whoever wants GRUB's command line, its editor or a locked entry is asked for
	// the name "admin" and it. Without one they are open to whoever is at the
	// keyboard, as the machine is.
	Password string
}

// Entry is one line of the menu. Exactly one of Linux, Xen and Chain is set.
type Entry struct {
	Title string
	// Platform limits the entry to one kind of firmware.
	Platform Platform
	// Locked entries start for those who know the password.
	Locked bool
	Linux  *Linux
	Xen    *Xen
	Chain  *Chain
}

// Platform is a kind of firmware, as $grub_platform names it.
type Platform string

// The kinds of firmware.
const (
	Any  Platform = ""
	BIOS Platform = "pc"
	UEFI Platform = "efi"
)

// Linux is a kernel on the medium with its initrds and command line.
type Linux struct {
	Kernel  string   // absolute path on the medium
	Initrds []string // absolute paths, loaded in this order
	// Cmdline reaches the kernel as it is, behind GRUB's own
	// "BOOT_IMAGE=<kernel>".
	Cmdline string
	// Unsigned says that nobody signed the kernel.
	Unsigned bool
}

// Limits of a Menu.
const (
	maxTimeout = 3600 // seconds; more is a typing mistake
	maxEntries = 64   // more than four screens of a serial console
	maxInitrds = 16   // far more than layers there are
	maxPath    = 255  // bytes
	// maxLine is what is left for arguments on an x86 kernel's command line
	// (setup header field cmdline_size), with GRUB's prefix counted in. GRUB
	// drops what is beyond it without a word.
	maxLine     = 2047
	imagePrefix = "BOOT_IMAGE="
)

// plainPath allows paths in which no character means anything to GRUB, iPXE or
// ISO 9660.
var plainPath = regexp.MustCompile(`^(/[A-Za-z0-9][A-Za-z0-9._+-]*)+$`)

// Validate tells what is wrong with a menu. [Config] calls it.
func (m Menu) Validate() error {
	if m.Timeout < 0 || m.Timeout > maxTimeout {
		return fmt.Errorf("menu: timeout %d: want 0 to %d seconds", m.Timeout, maxTimeout)
	}
	if len(m.Entries) == 0 || len(m.Entries) > maxEntries {
		return fmt.Errorf("menu: %d entries, want 1 to %d", len(m.Entries), maxEntries)
	}
	if _, err := serialPorts(m.Consoles); err != nil {
		return fmt.Errorf("menu: %w", err)
	}
	for i, e := range m.Entries {
		if err := e.validate(); err != nil {
			return fmt.Errorf("menu: entry %d: %w", i+1, err)
		}
	}
	if m.Default < 0 || m.Default >= len(m.Entries) {
		return fmt.Errorf("menu: default %d of %d entries", m.Default, len(m.Entries))
	}
	return m.checkLocks()
}

func (e Entry) validate() error {
	if err := manifest.CheckTitle(e.Title); err != nil {
		return err
	}
	if e.Platform != Any && e.Platform != BIOS && e.Platform != UEFI {
		return fmt.Errorf("platform %q: want %q, %q or none", e.Platform, BIOS, UEFI)
	}
	kind, err := e.kind()
	if err != nil {
		return err
	}
	return kind.validate()
}

// kind is what an entry starts.
type kind interface {
	validate() error
	// commands returns what starts it; what comes behind runs where that failed.
	commands() ([]string, error)
}

// kind returns the one kind of the entry.
func (e Entry) kind() (kind, error) {
	var kinds []kind
	if e.Linux != nil {
		kinds = append(kinds, e.Linux)
	}
	if e.Xen != nil {
		kinds = append(kinds, e.Xen)
	}
	if e.Chain != nil {
		kinds = append(kinds, e.Chain)
	}
	if len(kinds) != 1 {
		return nil, errors.New("want exactly one kind of entry")
	}
	return kinds[0], nil
}

// Unsigned tells that the entry cannot start under Secure Boot, where it is not
// shown. Nobody signs kernels for multiboot2, and GRUB's module for it is refused.
func (e Entry) Unsigned() bool { return e.Xen != nil || e.Linux != nil && e.Linux.Unsigned }

func (l *Linux) validate() error {
	if len(l.Initrds) > maxInitrds {
		return fmt.Errorf("%d initrds, at most %d", len(l.Initrds), maxInitrds)
	}
	for _, p := range append([]string{l.Kernel}, l.Initrds...) {
		if err := checkPath("path", p); err != nil {
			return err
		}
	}
	return l.checkCmdline()
}

// checkCmdline refuses a command line that would not arrive whole.
func (l *Linux) checkCmdline() error {
	words, err := cmdlineWords(l.Cmdline)
	if err != nil {
		return err
	}
	if n := len(imagePrefix) + len(l.Kernel) + 1 + len(l.Cmdline); n > maxLine {
		return fmt.Errorf("command line: %d bytes with GRUB's %q, at most %d reach the kernel", n, imagePrefix+l.Kernel, maxLine)
	}
	for _, w := range words {
		if w == "vga=ask" {
			return errors.New("command line: vga=ask makes GRUB wait for a key and start nothing")
		}
	}
	return nil
}

func checkPath(what, p string) error {
	if !plainPath.MatchString(p) || len(p) > maxPath {
		return fmt.Errorf("%s %q: want an absolute path of letters, digits and '.', '_', '+', '-'", what, strings.ToValidUTF8(p, "?"))
	}
	return nil
}
