package netboot

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/farboot/farboot/builder/grub"
)

// ErrText is wrapped by every refusal of a text that iPXE could not carry as it
// is.
var ErrText = errors.New("not possible in an iPXE script")

// ipxePlatform translates to what iPXE calls ${platform}.
var ipxePlatform = map[grub.Platform]string{grub.BIOS: "pcbios", grub.UEFI: "efi"}

// retry ends every script. The script is fetched again, as it may be new.
const retry = `:failed
echo This machine did not start. Next try in 10 seconds.
sleep 10
imgfree
chain --replace ` + Script + ` || goto failed
`

// IPXE returns the script for a menu. Its paths are relative to the place from
// which iPXE got the script, be it TFTP or HTTP.
func IPXE(m grub.Menu) (string, error) {
	if err := m.Validate(); err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString("#!ipxe\n# Written by farboot.\n")
	m = offered(m)
	if len(m.Entries) == 0 {
		b.WriteString("echo Nothing on this medium can be started by iPXE.\n")
	}
	choice := chooseFirst
	if m.Timeout > 0 && len(m.Entries) > 1 {
		choice = chooseByMenu
	}
	text, err := choice(m)
	if err != nil {
		return "", err
	}
	b.WriteString(text)
	for i, e := range m.Entries {
		text, err := start(e)
		if err != nil {
			return "", fmt.Errorf("menu: entry %d: %w", i+1, err)
		}
		fmt.Fprintf(&b, ":entry%d\n%s", i, text)
	}
	b.WriteString(retry)
	return b.String(), nil
}

// offered returns the menu without what iPXE cannot start: Xen, which wants
// multiboot2, and what is locked, since iPXE asks for no password. What starts
// where nobody chooses comes first.
func offered(m grub.Menu) grub.Menu {
	entries := slices.Concat(m.Entries[m.Default:m.Default+1], m.Entries[:m.Default], m.Entries[m.Default+1:])
	m.Entries = slices.DeleteFunc(entries, func(e grub.Entry) bool { return e.Xen != nil || e.Locked })
	m.Default = 0
	return m
}

// start returns what starts an entry.
func start(e grub.Entry) (string, error) {
	if e.Linux != nil {
		return boot(e.Linux)
	}
	// Firmware goes on with its next device where iPXE returns to it.
	next := "exit\n"
	if e.Chain.Disk > 0 {
		next = fmt.Sprintf("%s\nsanboot --no-describe --drive %#x || goto failed\n", onPlatform(grub.UEFI, "exit"), 0x7f+e.Chain.Disk)
	}
	return next, nil
}

// chooseFirst goes to the first entry that suits the firmware.
func chooseFirst(m grub.Menu) (string, error) {
	var b strings.Builder
	for i, e := range m.Entries {
		fmt.Fprintf(&b, "%s\n", onPlatform(e.Platform, fmt.Sprintf("goto entry%d", i)))
	}
	b.WriteString("goto failed\n")
	return b.String(), nil
}

// chooseByMenu shows the menu; Esc shows it again.
func chooseByMenu(m grub.Menu) (string, error) {
	var b strings.Builder
	b.WriteString(":menu\nmenu farboot\n")
	for i, e := range m.Entries {
		title, err := quote(e.Title)
		if err != nil {
			return "", fmt.Errorf("menu: entry %d: title: %w", i+1, err)
		}
		fmt.Fprintf(&b, "%s\n", onPlatform(e.Platform, fmt.Sprintf("item entry%d %s", i, title)))
	}
	fmt.Fprintf(&b, "choose --timeout %d entry || goto menu\n", m.Timeout*1000)
	b.WriteString("goto ${entry}\n")
	return b.String(), nil
}

// onPlatform runs a command on one kind of firmware only. The "||" at its end
// keeps the script going on others.
func onPlatform(p grub.Platform, command string) string {
	if p == grub.Any {
		return command
	}
	return fmt.Sprintf("iseq ${platform} %s && %s ||", ipxePlatform[p], command)
}

// boot loads an entry and starts it. An EFI kernel finds its initrds by
// "initrd="; under BIOS iPXE hands them over by itself.
func boot(l *grub.Linux) (string, error) {
	cmdline, err := quote(l.Cmdline)
	if err != nil {
		return "", fmt.Errorf("command line: %w", err)
	}
	kernel := []string{"kernel --name kernel", relative(l.Kernel)}
	var initrds strings.Builder
	for i, path := range l.Initrds {
		kernel = append(kernel, fmt.Sprintf("initrd=initrd%d", i))
		fmt.Fprintf(&initrds, "initrd --name initrd%d %s || goto failed\n", i, relative(path))
	}
	if cmdline != "" {
		kernel = append(kernel, cmdline)
	}
	return fmt.Sprintf("%s || goto failed\n%sboot || goto failed\n", strings.Join(kernel, " "), initrds.String()), nil
}

// relative makes a path of the tree one that iPXE resolves against the script's
// own address.
func relative(path string) string { return strings.TrimPrefix(path, "/") }

// quote returns s as iPXE arguments that are joined to s again. iPXE knows no
// quotes: it cuts a line into words at blanks, takes some words for operators
// and the rest of the line for a comment after a word that starts with '#',
// and a backslash at the end for a line to be continued (core/exec.c,
// image/script.c). An empty setting, "${}", in front of or behind a word takes
// the meaning away. Only a setting cannot be written as text.
func quote(s string) (string, error) {
	if strings.Contains(s, "${") {
		return "", fmt.Errorf(`%q: "${" is %w`, s, ErrText)
	}
	words := strings.Split(s, " ")
	if s == "" {
		words = nil
	}
	for i, w := range words {
		switch {
		case w == "", w == "||", w == "&&", w == ";", strings.HasPrefix(w, "#"):
			words[i] = "${}" + w
		case strings.HasSuffix(w, `\`):
			words[i] = w + "${}"
		}
	}
	return strings.Join(words, " "), nil
}
