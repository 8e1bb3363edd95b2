package manifest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/object"
)

// Bounds say what a manifest can ask of a machine at most. They catch mistakes and a
// careless signer; the machine's own memory is checked where it is needed.
type Bounds struct {
	// Entries in one manifest: more fit into no menu.
	Entries int
	// Boot entries in one list: each failure costs a download and a retry.
	Boot int
	// Initrds of one entry. Real ones have 1 to 4 (microcode, initrd, firmware,
	// answers); each is one open file and one progress line.
	Initrds int
	// Kernel size in bytes. Debian's has 8 MiB, one with everything built in
	// and an embedded initramfs stays well under this.
	Kernel int64
	// Initrd size in bytes, each. Live systems are served as one initrd of a
	// few GiB; it has to fit into RAM twice.
	Initrd int64
	// Watchdog bounds an armed watchdog, in seconds: the shortest in which a
	// kernel reaches a user space that takes it over, and an hour, after which
	// nobody waits for a machine.
	WatchdogMin, WatchdogMax int
}

// DefaultBounds returns those that [Manifest.Validate] applies.
func DefaultBounds() Bounds {
	return Bounds{
		Entries: 256,
		Boot:    16,
		Initrds: 16,
		Kernel:  256 << 20,
		Initrd:  16 << 30,

		WatchdogMin: 30,
		WatchdogMax: 3600,
	}
}

// Validate tells what is wrong with the manifest; the error wraps
// [ErrMalformed] and names the place.
func (m *Manifest) Validate() error {
	if err := m.validate(DefaultBounds()); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

func (m *Manifest) validate(b Bounds) error {
	if err := m.validateHead(); err != nil {
		return err
	}
	if n := len(m.Entries); n == 0 || n > b.Entries {
		return fmt.Errorf("%d entries, want 1 to %d", n, b.Entries)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Entries)) {
		if err := CheckName(name); err != nil {
			return fmt.Errorf("entries: %w", err)
		}
		if err := m.Entries[name].validate(b); err != nil {
			return fmt.Errorf("entry %q: %w", name, err)
		}
	}
	seen := map[Match]bool{}
	for i, machine := range m.Machines {
		if err := CheckMatch(machine.Match); err != nil {
			return fmt.Errorf("machine %d: %w", i+1, err)
		}
		if seen[machine.Match] {
			return fmt.Errorf("machine %d: matches the same as one before it", i+1)
		}
		seen[machine.Match] = true
		if err := m.validateBoot(machine.Boot, b); err != nil {
			return fmt.Errorf("machine %d: %w", i+1, err)
		}
	}
	if err := m.validateDocument(); err != nil {
		return err
	}
	if m.Default == nil && (len(m.Machines) > 0 || m.Documents) {
		return nil
	}
	if err := m.validateBoot(m.Default, b); err != nil {
		return fmt.Errorf("default: %w", err)
	}
	return nil
}

// validateHead checks all that stands above the entries.
func (m *Manifest) validateHead() error {
	switch {
	case m.Format != Format:
		return fmt.Errorf("format %d, this program reads format %d", m.Format, Format)
	case m.Epoch < 1:
		return fmt.Errorf("epoch %d, want 1 or more", m.Epoch)
	case m.Version < 1:
		return fmt.Errorf("version %d, want 1 or more", m.Version)
	case m.Issued.IsZero() || !m.Issued.Before(m.Expires):
		return errors.New("want a time of issue and a later one of expiry")
	}
	for _, f := range []struct{ what, value string }{
		{"product", m.Product}, {"arch", m.Arch}, {"channel", m.Channel},
	} {
		if err := CheckName(f.value); err != nil {
			return fmt.Errorf("%s: %w", f.what, err)
		}
	}
	return nil
}

// validateDocument checks what a site with a document for each machine may
// hold, and what such a document may.
func (m *Manifest) validateDocument() error {
	if m.Documents && (m.Document != "" || len(m.Machines) > 0) {
		return errors.New("machines have documents of their own, but it names some")
	}
	if m.Document == "" {
		return nil
	}
	if len(m.Machines) != 1 || m.Default != nil {
		return errors.New("a document is for exactly one machine and has no default")
	}
	if id := DocumentID(m.Machines[0].Match); id != m.Document {
		return fmt.Errorf("document %+q: its machine has %q", clip(m.Document), id)
	}
	return nil
}

// validateBoot checks a list of entries to boot.
func (m *Manifest) validateBoot(names []string, b Bounds) error {
	if n := len(names); n == 0 || n > b.Boot {
		return fmt.Errorf("%d entries to boot, want 1 to %d", n, b.Boot)
	}
	for i, name := range names {
		if _, ok := m.Entries[name]; !ok {
			return fmt.Errorf("there is no entry %+q", clip(name))
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("entry %q stands twice", name)
		}
	}
	return nil
}

// Validate tells what is wrong with an entry that stands outside of a manifest;
// the error wraps [ErrMalformed]. One of an unknown kind passes if its title does.
func (e Entry) Validate() error {
	if err := e.validate(DefaultBounds()); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return nil
}

func (e Entry) validate(b Bounds) error {
	if err := CheckTitle(e.Title); err != nil {
		return err
	}
	if e.Unknown != "" {
		return nil
	}
	all := e.contents()
	if len(all) != 1 {
		return errors.New("want exactly one kind: linux, local, power, script, rescue or flash")
	}
	return all[0].validate(b)
}

// CheckLocal tells what is wrong with a local entry: it names a disk that the
// firmware would not care about, or by something else than plain text.
func CheckLocal(x Local) error {
	if x.Firmware && x.Disk != "" {
		return errors.New("firmware and disk exclude each other: the firmware decides itself")
	}
	if err := checkText(x.Disk, maxDisk); err != nil {
		return fmt.Errorf("disk %+q: %w", clip(x.Disk), err)
	}
	return nil
}

// CheckPower tells what is wrong with a power entry.
func CheckPower(x Power) error {
	if x.Action != Reboot && x.Action != Off {
		return fmt.Errorf("action %+q: want %q or %q", clip(x.Action), Reboot, Off)
	}
	return nil
}

// CheckWatchdog tells what is wrong with a watchdog's seconds; 0 is none.
func CheckWatchdog(seconds int) error {
	b := DefaultBounds()
	if seconds != 0 && (seconds < b.WatchdogMin || seconds > b.WatchdogMax) {
		return fmt.Errorf("watchdog of %d seconds, want %d to %d", seconds, b.WatchdogMin, b.WatchdogMax)
	}
	return nil
}

func (x *Linux) validate(b Bounds) error {
	if err := checkRef(x.Kernel, b.Kernel); err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	if len(x.Initrd) > b.Initrds {
		return fmt.Errorf("%d initrds, at most %d", len(x.Initrd), b.Initrds)
	}
	for i, ref := range x.Initrd {
		if err := checkRef(ref, b.Initrd); err != nil {
			return fmt.Errorf("initrd %d: %w", i+1, err)
		}
	}
	if err := CheckWatchdog(x.Watchdog); err != nil {
		return err
	}
	return CheckCmdline(x.Cmdline)
}

// checkRef refuses sizes that cannot be and a hash that was left out.
func checkRef(ref object.Ref, most int64) error {
	if ref.Size < 1 || ref.Size > most {
		return fmt.Errorf("%d bytes, want 1 to %d", ref.Size, most)
	}
	if ref.SHA256 == (object.ID{}) {
		return errors.New("sha256 is missing")
	}
	return nil
}

// CheckMatch tells what is wrong with a Match: nothing is set, or what is set is
// not spelled as a machine would spell it. A UUID must not be one of the two
// that SMBIOS (DSP0134, section 7.2.1) gives to machines that have none.
func CheckMatch(m Match) error {
	digits := strings.ReplaceAll(m.UUID, "-", "")
	switch {
	case m == Match{}:
		return errors.New("want at least one of mac, uuid and serial")
	case m.MAC != "" && !shaped(m.MAC, macShape):
		return fmt.Errorf("mac %+q: want it like \"52:54:00:12:34:56\", in lower case", clip(m.MAC))
	case m.UUID != "" && !shaped(m.UUID, uuidShape):
		return fmt.Errorf("uuid %+q: want it like \"4c4c4544-0042-3510-8050-b4c04f4d5931\", in lower case", clip(m.UUID))
	case m.UUID != "" && (strings.Trim(digits, "0") == "" || strings.Trim(digits, "f") == ""):
		return fmt.Errorf("uuid %q: stands for \"no uuid\", many machines have it", m.UUID)
	}
	if err := checkText(m.Serial, maxSerial); err != nil {
		return fmt.Errorf("serial %+q: %w", clip(m.Serial), err)
	}
	return nil
}

// Shapes of the names of a machine; x is a lower-case hexadecimal digit.
const (
	macShape  = "xx:xx:xx:xx:xx:xx"
	uuidShape = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
)

// shaped tells whether s is like shape, where x stands for a lower-case
// hexadecimal digit and everything else for itself.
func shaped(s, shape string) bool {
	if len(s) != len(shape) {
		return false
	}
	for i := range len(s) {
		hex := '0' <= s[i] && s[i] <= '9' || 'a' <= s[i] && s[i] <= 'f'
		if shape[i] == 'x' && !hex || shape[i] != 'x' && s[i] != shape[i] {
			return false
		}
	}
	return true
}
