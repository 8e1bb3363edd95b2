package recipe_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
)

// mediumWithMenu has an entry of every kind, and every key of theirs.
const mediumWithMenu = `kind: medium
name: menu
kernel: {deb: linux-image-amd64}
trust: keys
site: [http://10.0.2.2:8080]
default: Xen
password: grub.pbkdf2.sha512.10000.00.00
menu:
  - {title: Ask the site, agent: {cmdline: a}}
  - title: Xen
    xen:
      hypervisor: {deb: xen-hypervisor-4.17-amd64, file: boot/xen-4.17-amd64.gz}
      options: dom0_mem=512M
      modules: [{file: ucode.bin, args: x}]
  - title: Xen with another kernel
    xen: {hypervisor: {file: xen}, kernel: {file: k}, initrd: [{file: a.img}, {file: b.img}], cmdline: console=hvc0}
  - {title: Memory test, locked: true, memtest: {}}
  - {title: Another test, memtest: {file: test.efi, cmdline: nosmp}}
  - {title: First disk, chain: {}}
  - {title: Second disk, chain: {disk: 2, efi: /EFI/debian/shimx64.efi}}
  - {title: Next device, chain: {firmware: true}}
`

func TestMenu(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(mediumWithMenu))
	if err != nil {
		t.Fatal(err)
	}
	m := r.Medium
	var names []string
	for _, in := range r.Inputs() {
		names = append(names, in.Name())
		if in.Line == 0 {
			t.Errorf("input %+v has no line", in)
		}
	}
	want := []string{
		"deb:linux-image-amd64", "deb:xen-hypervisor-4.17-amd64", "file:ucode.bin",
		"file:xen", "file:k", "file:a.img", "file:b.img", "deb:memtest86+", "file:test.efi",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Error(diff)
	}
	if m.First() != 1 || !m.Menu[3].Locked || m.Menu[3].Memtest.File != "boot/memtest86+x64.efi" {
		t.Errorf("first %d, memory test %+v", m.First(), m.Menu[3].Memtest)
	}
	var agents []int
	for i, e := range m.Menu {
		if e.HasAgent() {
			agents = append(agents, i)
		}
	}
	if diff := cmp.Diff([]int{0, 1}, agents); diff != "" {
		t.Errorf("entries with the agent: %s", diff)
	}
	if diff := cmp.Diff(recipe.ChainEntry{Disk: 2, EFI: "/EFI/debian/shimx64.efi"}, *m.Menu[6].Chain); diff != "" {
		t.Error(diff)
	}
}

// TestShippedMenu: the recipe that shows all kinds is one.
func TestShippedMenu(t *testing.T) {
	r, err := recipe.Load("../../recipes/menu.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Medium.Menu); n != 6 || r.Medium.First() != 0 {
		t.Errorf("%d entries, of which %d is the first", n, r.Medium.First())
	}
}

func TestRefusalsOfMenu(t *testing.T) {
	const agent = "  - {title: Ask the site, agent: {cmdline: a}}\n"
	for _, m := range []mistake{
		{"no kind", mediumWithMenu, ", agent: {cmdline: a}", "", `x.yaml:9: menu[0]: want exactly one of agent, linux, xen, memtest and chain`, `"memtest: {}"`},
		{"two kinds", mediumWithMenu, "chain: {}", "chain: {}, memtest: {}", `x.yaml:19: menu[5]: want exactly one`, ``},
		{"unknown kind", mediumWithMenu, "memtest: {}", "memtset: {}", `x.yaml:17: menu[3].memtset: unknown key`, `did you mean "memtest"?`},
		{"default", mediumWithMenu, "default: Xen", "default: Zen", `x.yaml:6: default: no entry of the menu has the title "Zen"`, `did you mean "Xen"?`},
		{"ambiguous default", mediumWithMenu, "title: First disk", "title: Xen", `x.yaml:6: default: two entries of the menu have the title "Xen"`, ``},
		{"lock without password", mediumWithMenu, "password: grub.pbkdf2.sha512.10000.00.00\n", "", `x.yaml:16: menu[3].locked: nobody could start it`, `grub-mkpasswd-pbkdf2`},
		{"lock", mediumWithMenu, "locked: true", "locked: yes", `x.yaml:17: menu[3].locked: want true or false, have "yes"`, ``},
		{"agent's command line", mediumWithMenu, "cmdline: a}", `cmdline: 'a="'}`, `x.yaml:9: menu[0].agent.cmdline: command line`, ``},
		{"no hypervisor", mediumWithMenu, "hypervisor: {file: xen}, ", "", `x.yaml:16: menu[2].xen.hypervisor: want one of deb, url and file`, ``},
		{"initrd without kernel", mediumWithMenu, "kernel: {file: k}, ", "", `x.yaml:16: menu[2].xen.initrd: without a kernel`, `add "kernel:"`},
		{"hypervisor's package", mediumWithMenu, ", file: boot/xen-4.17-amd64.gz", "", `x.yaml:12: menu[1].xen.hypervisor: which file`, `add "file:"`},
		{"dom0's kernel", mediumWithMenu, "kernel: {file: k}", "kernel: {file: ../k}", `x.yaml:16: menu[2].xen.kernel.file: "../k"`, ``},
		{"memtest's file", mediumWithMenu, "memtest: {file: test.efi", "memtest: {deb: memtest86+", `x.yaml:18: menu[4].memtest: which file`, ``},
		{"memtest's options", mediumWithMenu, "cmdline: nosmp", `cmdline: "no\tsmp"`, `x.yaml:18: menu[4].memtest.cmdline: character U+0009`, ``},
		{"disk", mediumWithMenu, "disk: 2", "disk: -1", `x.yaml:20: menu[6].chain.disk: -1: disks are counted from 1`, ``},
		{"disk's name", mediumWithMenu, "disk: 2", "disk: first", `x.yaml:20: menu[6].chain.disk: want a plain number, have "first"`, ``},
		{"firmware and disk", mediumWithMenu, "firmware: true", "firmware: true, disk: 1", `x.yaml:21: menu[7].chain.firmware: firmware excludes disk and efi`, ``},
	} {
		t.Run(m.name, m.refused)
	}
	// Xen with a kernel of its own does not start the agent.
	m := mistake{"no agent", mediumWithMenu, agent, "", "", ""}
	m.base = replaced(t, replaced(t, mediumWithMenu, "      options: dom0_mem=512M\n", "      kernel: {file: k}\n"), "default: Xen\n", "")
	m.want, m.hint = `menu: no entry starts the agent`, `agent: {}`
	t.Run(m.name, m.refused)
}

// replaced replaces what stands once in a text.
func replaced(t *testing.T, text, old, with string) string {
	t.Helper()
	before, after, found := strings.Cut(text, old)
	if !found {
		t.Fatalf("no %q", old)
	}
	return before + with + after
}
