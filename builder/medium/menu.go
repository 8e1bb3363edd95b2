package medium

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/netboot"
	"github.com/farboot/farboot/builder/recipe"
)

// agentCmdline is what every agent's kernel gets: quiet, so that the console
// is the agent's, and a reboot after a panic, because nobody is there to press
// a button.
const agentCmdline = "quiet panic=30"

// Check tells, before anything is fetched, what in a recipe's menu the
// bootloaders could not carry to a kernel as it is written.
func Check(r *recipe.Recipe) error {
	menu := bootMenu(r.Medium)
	if menu.Password != "" {
		if err := grub.CheckPassword(menu.Password); err != nil {
			return r.Mistake("password", `"grub-mkpasswd-pbkdf2" of the package grub-common makes one`, "%v", err)
		}
	}
	for i, e := range r.Medium.Menu {
		one := menu
		one.Entries, one.Default = slices.Clone(menu.Entries[i:i+1]), 0
		one.Entries[0].Locked = false
		_, err := grub.Config(one)
		if err == nil {
			_, err = netboot.IPXE(one)
		}
		if err != nil {
			return &recipe.Error{Path: r.Path, Line: e.Line, Field: fmt.Sprintf("menu[%d]", i), Msg: strings.TrimPrefix(err.Error(), "menu: entry 1: ")}
		}
	}
	if err := menu.Validate(); err != nil {
		return r.Mistake("menu", "", "%s", strings.TrimPrefix(err.Error(), "menu: "))
	}
	return nil
}

// bootMenu turns the recipe's menu into the bootloader's.
func bootMenu(r *recipe.Medium) grub.Menu {
	menu := grub.Menu{Timeout: *r.Timeout, Consoles: r.Console, Default: r.First(), Password: r.Password}
	for i, e := range r.Menu {
		menu.Entries = append(menu.Entries, bootEntry(r, e, fmt.Sprintf("/boot/menu/%d/", i)))
	}
	return menu
}

// bootEntry turns an entry, whose files lie in dir, into the bootloader's.
func bootEntry(r *recipe.Medium, e recipe.MenuEntry, dir string) grub.Entry {
	entry := grub.Entry{Title: e.Title, Locked: e.Locked}
	switch {
	case e.Agent != nil:
		entry.Linux = &grub.Linux{
			Kernel: "/" + kernelPath, Initrds: []string{"/" + initrdPath},
			Cmdline: join(consoleArgs(r.Console), agentCmdline, r.Cmdline, e.Agent.Cmdline),
		}
	case e.Linux != nil:
		entry.Linux = &grub.Linux{Kernel: dir + "kernel", Cmdline: e.Linux.Cmdline}
		for j := range e.Linux.Initrd {
			entry.Linux.Initrds = append(entry.Linux.Initrds, fmt.Sprintf("%sinitrd%d", dir, j))
		}
	case e.Xen != nil:
		entry.Xen = bootXen(r, e, dir)
	case e.Memtest != nil:
		entry.Linux = &grub.Linux{Kernel: dir + "memtest", Cmdline: memtestCmdline(r.Console, e.Memtest.Cmdline), Unsigned: true}
	case e.Chain != nil:
		entry.Chain = &grub.Chain{Disk: e.Chain.Disk, EFI: e.Chain.EFI}
		if !e.Chain.Firmware {
			entry.Chain.Disk = max(entry.Chain.Disk, 1)
		}
	}
	return entry
}

// memtestConsole matches the serial consoles that memtest86+ takes; it knows
// neither parity nor other speeds.
var memtestConsole = regexp.MustCompile(`^(ttyS[0-3],(?:9600|19200|38400|115200|230400))(?:n8?)?$`)

// memtestCmdline returns the options of memtest86+: it shows itself on the screen
// always, and on a serial console where it is told to.
func memtestCmdline(consoles []string, options string) string {
	if hasOption(options, "console") {
		return options
	}
	for _, c := range slices.Backward(consoles) {
		if m := memtestConsole.FindStringSubmatch(c); m != nil {
			return join("console="+m[1], options)
		}
	}
	return options
}

// hasOption tells whether a command line sets an option.
func hasOption(line, name string) bool { return strings.Contains(" "+line, " "+name+"=") }

// consoleArgs returns the console= arguments for a kernel.
func consoleArgs(consoles []string) string {
	var args []string
	for _, c := range consoles {
		args = append(args, "console="+c)
	}
	return strings.Join(args, " ")
}

// join puts the parts of a command line together, leaving out empty ones.
func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " ")
}
