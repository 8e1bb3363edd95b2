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
	// lock is in force from the moment that it was read. Of the commands before it
	// none waits for a key.
	lock = "set superusers=" + Admin + "\nexport superusers\npassword_pbkdf2 " + Admin + " %s\n"
	// defaultID names the entry that starts where nobody chooses.
	defaultID = "default"
	// nothingSigned keeps a menu without entries from becoming a command line.
	nothingSigned = `if [ "$lockdown" = y ]; then
	echo 'Secure Boot is on, and nothing on this medium starts under it.'
	sleep 10
	reboot
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
	if m.Password != "" {
		fmt.Fprintf(&b, lock, m.Password)
	}
	for _, p := range ports {
		fmt.Fprintf(&b, serialBlock, p.address, p.speed, p.word, p.parity)
	}
	timeout := m.Timeout
	if len(m.Entries) == 1 {
		timeout = 0 // nothing to choose, and a byte of noise on the line would stop the clock for ever
	}
	first := "0"
	if m.Default > 0 {
		first = defaultID
	}
	fmt.Fprintf(&b, "set default=%s\nset timeout=%d\n", first, timeout)
	for i, e := range m.Entries {
		text, err := e.script(m.options(i))
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	if m.starts(firmware{platform: UEFI, secure: true}) < 0 {
		b.WriteString(nothingSigned)
	}
	return b.String(), nil
}

// options returns the options of an entry's menuentry. An entry is known by an id
// where it is not the first: those before it may not be shown.
func (m Menu) options(i int) string {
	var options string
	if i > 0 && i == m.Default {
		options += "--id " + defaultID + " "
	}
	if m.Password != "" && !m.Entries[i].Locked {
		options += "--unrestricted "
	}
	return options
}

// script returns the entry's part of grub.cfg. "--" keeps a title that starts
// with a dash from being an option.
func (e Entry) script(options string) (string, error) {
	title, err := Quote(e.Title)
	if err != nil {
		return "", err
	}
	kind, err := e.kind()
	if err != nil {
		return "", err
	}
	lines, err := kind.commands()
	if err != nil {
		return "", err
	}
	lines = wrap("menuentry "+options+"-- "+title+" {", append(lines, "failed"), "}")
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

// either returns lines of which the first run where a command succeeds, and the
// others where it does not.
func either(command string, yes, no []string) []string {
	return slices.Concat([]string{"if " + command + "; then"}, indent(yes), []string{"else"}, indent(no), []string{"fi"})
}

// wrap indents lines between an opening and a closing one.
func wrap(open string, lines []string, end string) []string {
	return slices.Concat([]string{open}, indent(lines), []string{end})
}

func indent(lines []string) []string {
	out := make([]string, len(lines))
	for i, l := range lines {
		out[i] = "\t" + l
	}
	return out
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
	echo 'The menu was left, or cannot be read. The machine restarts in 10 seconds.'
else
	echo 'The medium was not found. The machine restarts in 10 seconds.'
fi
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
	for _, f := range []struct {
		modules []string
		wants   func(Entry) bool
	}{
		{[]string{"multiboot2", "gzio"}, func(e Entry) bool { return e.Xen != nil }},
		{[]string{"chain", "drivemap"}, func(e Entry) bool { return e.Chain != nil && e.Chain.Disk > 0 }},
		{[]string{"minicmd"}, func(e Entry) bool { return e.Chain != nil && e.Chain.Disk == 0 }}, // exit
	} {
		if slices.ContainsFunc(m.Entries, f.wants) {
			modules = append(modules, f.modules...)
		}
	}
	if m.Password != "" {
		modules = append(modules, "password_pbkdf2")
	}
	return modules
}
