package grub

import (
	"strings"
	"testing"
)

func xen() *Xen {
	return &Xen{
		Hypervisor: "/m/xen", Options: "console=com1 dom0_mem=512M", EFIModule: "/boot/grub/x86_64-efi/multiboot2.mod",
		Modules: []Module{{"/live/vmlinuz", `console=hvc0 "dyndbg=file x.c  +p"`}, {"/live/initrd.img", ""}, {"/m/ucode", "ucode"}},
	}
}

func TestXenConsole(t *testing.T) {
	for want, consoles := range map[string][]string{
		"console=vga,com1 com1=115200,8n1": {"tty0", "ttyS0,115200"},
		"console=com2 com2=57600,7e1":      {"ttyS1,57600e7", "hvc0", "ttyS3"},
		"console=com1 com1=9600,8n1":       {"ttyS0"},
		"":                                 {"hvc0", "ttyS9"},
	} {
		if got := XenConsole(consoles); got != want {
			t.Errorf("%q: %q, want %q", consoles, got, want)
		}
	}
}

// throughXen follows a line to Xen and to dom0: what comes out must be what went
// in. GRUB leaves the file's name out.
func throughXen(t *testing.T, line string) {
	x := &Xen{Hypervisor: "/x", Options: line, EFIModule: "/m", Modules: []Module{{"/k", line}}}
	text, err := Config(Menu{Entries: []Entry{{Title: "X", Xen: x}}})
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string]string{}
	for _, words := range parseScript(t, text) {
		if words[0] == "if" && len(words) > 2 {
			lines[words[1]] = loaderCmdline(words[2:])
		}
	}
	want := map[string]string{"multiboot2": strings.TrimSuffix("/x "+line, " "), "module2": strings.TrimSuffix("--nounzip /k "+line, " ")}
	for command, want := range want {
		if got := lines[command]; got != want {
			t.Fatalf("%s would hand over %q, not %q", command, got, want)
		}
	}
}
