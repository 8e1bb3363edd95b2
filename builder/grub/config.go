package grub

import (
	"fmt"
	"strings"
)

// Config returns grub.cfg for a menu, for BIOS, UEFI and network alike.
func Config(m Menu) (string, error) {
	if err := m.Validate(); err != nil {
		return "", err
	}
	var b script
	b.line("# Written by farboot.")
	if m.Marker != "" {
		b.command(0, "search", "--no-floppy", "--file", "--set=root", m.Marker)
	}
	b.serial(m.Consoles)
	b.line("set default=0")
	b.line("set timeout=%d", m.Timeout)
	for _, e := range m.Entries {
		b.entry(e)
	}
	return b.text.String(), b.err
}

// StubConfig returns the grub.cfg of the EFI system partition, where Debian's
// signed GRUB looks when it was started from a stick: it finds the medium by
// its marker and goes on with the grub.cfg there.
func StubConfig(marker, prefix string) (string, error) {
	early, err := EarlyConfig(marker, prefix)
	if err != nil {
		return "", err
	}
	return "# Written by farboot.\n" + early + "configfile $prefix/grub.cfg\n", nil
}

// EarlyConfig returns the configuration that is embedded in a core image: GRUB
// starts from whatever device the BIOS named and finds the medium by its
// marker. It is read by the rescue parser, which knows no "if".
func EarlyConfig(marker, prefix string) (string, error) {
	for _, p := range []string{marker, prefix} {
		if err := checkPath("path", p); err != nil {
			return "", fmt.Errorf("grub: %w", err)
		}
	}
	return fmt.Sprintf("search --no-floppy --file --set=root %s\nset prefix=($root)%s\n", marker, prefix), nil
}

// script collects lines and the first error.
type script struct {
	text strings.Builder
	err  error
}

func (b *script) line(format string, args ...any) {
	fmt.Fprintf(&b.text, format+"\n", args...)
}

// command writes a command whose arguments are data. Options and plain words
// stay as they are.
func (b *script) command(indent int, name string, args ...string) {
	words := []string{name}
	for _, a := range args {
		q, err := Quote(a)
		if err != nil && b.err == nil {
			b.err = err
		}
		words = append(words, q)
	}
	b.line("%s%s", strings.Repeat("\t", indent), strings.Join(words, " "))
}

// serial brings the menu to the serial consoles. A port that is not there makes
// GRUB's serial command fail, and then nothing changes. The terminal "serial"
// is the port that was set up last.
func (b *script) serial(consoles []string) {
	ports, err := serialPorts(consoles)
	if err != nil && b.err == nil {
		b.err = err
	}
	for _, p := range ports {
		b.line("if serial --port=%s --speed=%s --word=%s --parity=%s --stop=1; then", p.address, p.speed, p.word, p.parity)
		b.line("\tterminal_input --append serial")
		b.line("\tterminal_output --append serial")
		b.line("fi")
	}
}

// entry writes one menu entry. "--" keeps a title that starts with a dash from
// being an option.
func (b *script) entry(e Entry) {
	if e.Platform != Any {
		b.line(`if [ "$grub_platform" = %s ]; then`, e.Platform)
	}
	title, err := Quote(e.Title)
	if err != nil && b.err == nil {
		b.err = err
	}
	words, err := cmdlineWords(e.Linux.Cmdline)
	if err != nil && b.err == nil {
		b.err = err
	}
	b.line("menuentry -- %s {", title)
	b.command(1, "linux", append([]string{e.Linux.Kernel}, words...)...)
	if len(e.Linux.Initrds) > 0 {
		b.command(1, "initrd", e.Linux.Initrds...)
	}
	b.line("}")
	if e.Platform != Any {
		b.line("fi")
	}
}
