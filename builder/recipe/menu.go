package recipe

import (
	"fmt"

	"github.com/farboot/farboot/payload/manifest"
)

// MenuEntry is one line of the bootloader's menu. Exactly one kind is set.
type MenuEntry struct {
	Title string      `yaml:"title" json:"title"`
	Agent *AgentEntry `yaml:"agent" json:"agent,omitzero"`
	Linux *LinuxEntry `yaml:"linux" json:"linux,omitzero"`
	// Xen is not shown under Secure Boot, where it cannot start. Without a kernel
	// dom0 is the medium's own, with the agent. Where its options name no console,
	// they are given the medium's.
	Xen *XenEntry `yaml:"xen" json:"xen,omitzero"`
	// Line is where the entry stands in the recipe, for messages.
	Line int `yaml:"-" json:"-"`
}

// AgentEntry starts the medium's own agent.
type AgentEntry struct {
	// Cmdline is added to the agent's kernel command line, for this entry only.
	Cmdline string `yaml:"cmdline" json:"cmdline,omitzero"`
}

// inputs lists what the entry's files come from.
func (e MenuEntry) inputs() []Input { return append(e.Linux.inputs(), e.Xen.inputs()...) }

// HasAgent tells whether the entry starts the medium's agent.
func (e MenuEntry) HasAgent() bool { return e.Agent != nil || e.Xen != nil && !e.Xen.hasKernel() }

// menu validates the bootloader's menu.
func (v *validator) menu(menu []MenuEntry) {
	agents := 0
	for i, e := range menu {
		v.menuEntry(fmt.Sprintf("menu[%d]", i), e)
		if e.HasAgent() {
			agents++
		}
	}
	if agents == 0 {
		v.fail("menu", `add "- {title: Ask the site, agent: {}}"`, "no entry starts the agent")
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
	if kinds != 1 {
		v.fail(at, `"agent: {}" asks the site, "linux:" starts a kernel from the medium, "xen:" a hypervisor`, "want exactly one of agent, linux and xen")
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
