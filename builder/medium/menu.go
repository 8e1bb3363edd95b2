package medium

import (
	"fmt"
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
	for i, e := range r.Medium.Menu {
		one := menu
		one.Entries = menu.Entries[i : i+1]
		_, err := grub.Config(one)
		if err == nil {
			_, err = netboot.IPXE(one)
		}
		if err != nil {
			return &recipe.Error{Path: r.Path, Line: e.Line, Field: fmt.Sprintf("menu[%d]", i), Msg: err.Error()}
		}
	}
	return nil
}

// bootMenu turns the recipe's menu into the bootloader's.
func bootMenu(r *recipe.Medium) grub.Menu {
	menu := grub.Menu{Timeout: *r.Timeout, Consoles: r.Console}
	for i, e := range r.Menu {
		entry := grub.Entry{Title: e.Title}
		dir := fmt.Sprintf("/boot/menu/%d/", i)
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
		}
		menu.Entries = append(menu.Entries, entry)
	}
	return menu
}

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
