package grub

import (
	"fmt"
	"slices"
	"strings"
)

// The script around the menu's own text. GRUB's parser reads it under BIOS and
// UEFI alike; what runs under BIOS has to be in [MenuModules].
const (
	// header says what happens when an entry does not start. Left to itself,
	// GRUB would boot a kernel whose initrd it could not read, or sit in its
	// menu for ever.
	header = `# Written by farboot.
function failed {
	echo 'This entry did not start. The machine restarts in 10 seconds.'
	sleep 10
	reboot
}
`
	// serialBlock shows the menu on one serial port as well. Where the port is
	// missing GRUB's serial command fails and nothing changes. The terminal
	// called "serial" is the port that was set up last.
	serialBlock = `if serial --port=%s --speed=%s --word=%s --parity=%s --stop=1; then
	terminal_input --append serial
	terminal_output --append serial
fi
`
	// search asks the device that GRUB was started from before all others: a
	// dying disk can take minutes to answer.
	search = "search --no-floppy --file --set=root --hint=%s %s"
)

// Config returns grub.cfg for a menu. All paths are meant on the device that
// grub.cfg was read from: [EarlyConfig] and [StubConfig] see to that.
func Config(m Menu) (string, error) {
	if err := m.Validate(); err != nil {
		return "", err
	}
	ports, err := serialPorts(m.Consoles)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(header)
	for _, p := range ports {
		fmt.Fprintf(&b, serialBlock, p.address, p.speed, p.word, p.parity)
	}
	timeout := m.Timeout
	if len(m.Entries) == 1 {
		timeout = 0 // nothing to choose, and a byte of noise on the line would stop the clock for ever
	}
	fmt.Fprintf(&b, "set default=0\nset timeout=%d\n", timeout)
	for _, e := range m.Entries {
		text, err := e.script()
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

// script returns the entry's part of grub.cfg. "--" keeps a title that starts
// with a dash from being an option.
func (e Entry) script() (string, error) {
	title, err := Quote(e.Title)
	if err != nil {
		return "", err
	}
	start := e.Linux.commands
	if e.Xen != nil {
		start = e.Xen.commands
	}
	lines, err := start()
	if err != nil {
		return "", err
	}
	lines = wrap("menuentry -- "+title+" {", append(lines, "failed"), "}")
	if e.Unsigned() {
		lines = guard(`[ "$lockdown" != y ]`, lines)
	}
	if e.Platform != Any {
		lines = guard(fmt.Sprintf(`[ "$grub_platform" = %s ]`, e.Platform), lines)
	}
	return strings.Join(lines, "\n") + "\n", nil
}

// commands returns what starts the kernel.
func (l *Linux) commands() ([]string, error) {
	words, err := cmdlineWords(l.Cmdline)
	if err != nil {
		return nil, err
	}
	linux, err := quoteAll(append([]string{l.Kernel}, words...))
	if err != nil {
		return nil, err
	}
	lines := []string{"boot"}
	if len(l.Initrds) > 0 {
		initrd, err := quoteAll(l.Initrds)
		if err != nil {
			return nil, err
		}
		lines = guard("initrd "+initrd, lines)
	}
	return guard("linux "+linux, lines), nil
}

// guard returns lines that run only where a command succeeds.
func guard(command string, lines []string) []string {
	return wrap("if "+command+"; then", lines, "fi")
}

// wrap indents lines between an opening and a closing one.
func wrap(open string, lines []string, end string) []string {
	out := []string{open}
	for _, l := range lines {
		out = append(out, "\t"+l)
	}
	return append(out, end)
}

// quoteAll quotes words and joins them with blanks.
func quoteAll(words []string) (string, error) {
	quoted := make([]string, len(words))
	for i, w := range words {
		q, err := Quote(w)
		if err != nil {
			return "", err
		}
		quoted[i] = q
	}
	return strings.Join(quoted, " "), nil
}

// EarlyConfig returns the configuration to embed in a core image: it finds the
// medium by its marker ("/boot/<build-id>") and sets where grub.cfg lies on it.
// GRUB's rescue parser reads it, which knows no "if".
func EarlyConfig(marker, prefix string) (string, error) {
	for _, p := range []string{marker, prefix} {
		if err := checkPath("path", p); err != nil {
			return "", fmt.Errorf("grub: %w", err)
		}
	}
	return fmt.Sprintf(search+"\nset prefix=($root)%s\n", "$root", marker, prefix), nil
}

// StubConfig returns the grub.cfg of the EFI system partition, where Debian's
// signed GRUB looks first when it was started from a stick. It finds the medium
// by its marker, on the same disk if it is there, and goes on with the grub.cfg
// in prefix. When there is no such medium the machine restarts: the stub must
// not go on with itself for ever.
func StubConfig(marker, prefix string) (string, error) {
	for _, p := range []string{marker, prefix} {
		if err := checkPath("path", p); err != nil {
			return "", fmt.Errorf("grub: %w", err)
		}
	}
	return fmt.Sprintf(`# Written by farboot.
regexp --set=1:disk '^([^,]+),' "$root"
if `+search+`; then
	set prefix=($root)%s
	configfile "$prefix/grub.cfg"
fi
echo 'The medium was not found. The machine restarts in 10 seconds.'
sleep 10
reboot
`, `"$disk"`, marker, prefix), nil
}

// MenuModules returns the modules that a core image needs to run [EarlyConfig]
// and the [Config] of such entries from an ISO, so that no file of grub-pc-bin
// has to lie on the medium; ls is there for whoever has to find out why one does
// not start.
func MenuModules(m Menu) []string {
	modules := []string{
		"biosdisk", "part_gpt", "part_msdos", "iso9660",
		"search", "search_fs_file", "normal", "test",
		"serial", "terminal", "linux", "boot",
		"echo", "sleep", "reboot", "ls",
	}
	if slices.ContainsFunc(m.Entries, func(e Entry) bool { return e.Xen != nil }) {
		modules = append(modules, xenModules...)
	}
	return modules
}
