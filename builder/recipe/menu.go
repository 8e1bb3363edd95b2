package recipe

import (
	"fmt"
	"slices"

	"github.com/farboot/farboot/payload/manifest"
)

// MenuEntry is one line of the bootloader's menu. Exactly one kind is set.
type MenuEntry struct {
	Title string `yaml:"title" json:"title"`
	// Locked asks for the recipe's password. Default false.
	Locked bool        `yaml:"locked" json:"locked,omitzero"`
	Agent  *AgentEntry `yaml:"agent" json:"agent,omitzero"`
	Linux  *LinuxEntry `yaml:"linux" json:"linux,omitzero"`
	// Xen is not shown under Secure Boot, where it cannot start. Without a kernel
	// dom0 is the medium's own, with the agent. Where its options name no console,
	// they are given the medium's.
	Xen *XenEntry `yaml:"xen" json:"xen,omitzero"`
	// Memtest is not shown under Secure Boot, where it cannot start.
	Memtest *MemtestEntry `yaml:"memtest" json:"memtest,omitzero"`
	Chain   *ChainEntry   `yaml:"chain" json:"chain,omitzero"`
	// Line is where the entry stands in the recipe, for messages.
	Line int `yaml:"-" json:"-"`
}

// AgentEntry starts the medium's own agent.
type AgentEntry struct {
	// Cmdline is added to the agent's kernel command line, for this entry only.
	Cmdline string `yaml:"cmdline" json:"cmdline,omitzero"`
}

// MemtestEntry starts a memory test. {} is memtest86+ of Debian, on the screen and
// on the serial console, whatever the firmware.
type MemtestEntry struct {
	// The file must be one that starts as a Linux kernel does, by BIOS and by UEFI.
	Input `yaml:",inline"`
	// Cmdline are its options: "nosmp keyboard=legacy".
	Cmdline string `yaml:"cmdline" json:"cmdline,omitzero"`
}

// ChainEntry starts what is installed on the machine. {} is the first disk's boot
// sector under BIOS; UEFI firmware goes on with its next boot entry.
type ChainEntry struct {
	// Disk is the disk to take under BIOS, counted from 1 without the medium.
	Disk int `yaml:"disk" json:"disk,omitzero"`
	// EFI is the file to start under UEFI, from the first disk that has it:
	// "/EFI/debian/shimx64.efi".
	EFI string `yaml:"efi" json:"efi,omitzero"`
	// Firmware goes on with the firmware's next boot device, under BIOS too.
	Firmware bool `yaml:"firmware" json:"firmware,omitzero"`
}

// inputs lists what the entry's files come from.
func (e MenuEntry) inputs() []Input {
	in := append(e.Linux.inputs(), e.Xen.inputs()...)
	if e.Memtest != nil {
		in = append(in, e.Memtest.Input)
	}
	return in
}

// HasAgent tells whether the entry starts the medium's agent.
func (e MenuEntry) HasAgent() bool { return e.Agent != nil || e.Xen != nil && !e.Xen.hasKernel() }

// First returns the index in the menu of the entry that starts where nobody
// chooses.
func (m *Medium) First() int {
	return max(0, slices.IndexFunc(m.Menu, func(e MenuEntry) bool { return e.Title == m.Default }))
}

// menu validates the bootloader's menu.
func (v *validator) menu(m *Medium) {
	agents := 0
	var titles []string
	for i, e := range m.Menu {
		at := fmt.Sprintf("menu[%d]", i)
		v.menuEntry(at, e)
		if e.Locked && m.Password == "" {
			v.fail(at+".locked", `add "password:" with what grub-mkpasswd-pbkdf2 prints`, "nobody could start it")
		}
		if e.HasAgent() {
			agents++
		}
		titles = append(titles, e.Title)
	}
	if agents == 0 {
		v.fail("menu", `add "- {title: Ask the site, agent: {}}"`, "no entry starts the agent")
	}
	first := slices.Index(titles, m.Default)
	switch {
	case m.Default == "":
	case first < 0:
		v.fail("default", didYouMean(m.Default, titles), "no entry of the menu has the title %q", m.Default)
	case slices.Contains(titles[first+1:], m.Default):
		v.fail("default", "", "two entries of the menu have the title %q", m.Default)
	}
}

// menuEntry validates one entry of the bootloader's menu.
func (v *validator) menuEntry(at string, e MenuEntry) {
	v.try(at+".title", manifest.CheckTitle(e.Title))
	kinds := 0
	if e.Agent != nil {
		kinds++
		v.try(at+".agent.cmdline", manifest.CheckCmdline(e.Agent.Cmdline))
	}
	if e.Linux != nil {
		kinds++
		v.linux(at+".linux", e.Linux)
	}
	if e.Xen != nil {
		kinds++
		v.menuXen(at+".xen", e.Xen)
	}
	if e.Memtest != nil {
		kinds++
		v.memtest(at+".memtest", e.Memtest)
	}
	if e.Chain != nil {
		kinds++
		v.chain(at+".chain", *e.Chain)
	}
	if kinds != 1 {
		v.fail(at, `"agent: {}" asks the site, "linux:" starts a kernel from the medium, "xen:" a hypervisor, "memtest: {}" a memory test, "chain: {}" what is installed`,
			"want exactly one of agent, linux, xen, memtest and chain")
	}
}

// menuXen validates a hypervisor that GRUB starts.
func (v *validator) menuXen(at string, e *XenEntry) {
	v.xen(at, e)
	switch {
	case e.hasKernel():
		v.artifact(at+".kernel", e.Kernel)
	case len(e.Initrd) > 0:
		v.fail(at+".initrd", `add "kernel:", or leave it out`, "without a kernel dom0 is the medium's own, with its own initrd")
	}
}

// memtest validates a memory test, or sets its default. The file for UEFI is one
// for BIOS as well: it starts by either of Linux's boot protocols.
func (v *validator) memtest(at string, e *MemtestEntry) {
	if e.Input == (Input{Line: e.Line}) {
		e.Deb, e.File = "memtest86+", "boot/memtest86+x64.efi"
	}
	v.artifact(at, e.Input)
	v.try(at+".cmdline", manifest.CheckCmdline(e.Cmdline))
}

// chain validates what is started of the machine.
func (v *validator) chain(at string, e ChainEntry) {
	if e.Firmware && (e.Disk != 0 || e.EFI != "") {
		v.fail(at+".firmware", "", "firmware excludes disk and efi")
	}
	if e.Disk < 0 {
		v.fail(at+".disk", "", "%d: disks are counted from 1", e.Disk)
	}
}
