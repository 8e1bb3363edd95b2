package medium

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/recipe"
)

// menuRecipe has a password, which is "secret".
const menuRecipe = `kind: medium
name: menu
kernel: {deb: linux-image-amd64}
trust: keys
site: [http://10.0.2.2:8080]
console: [tty0, "ttyS1,57600"]
cmdline: all
default: Installed
password: grub.pbkdf2.sha512.10000.E3BE149AE308B8FE5AA7E5C2A1300D7F169E7BDA8E956AED0B267C8DBE4F4DA5.F622F0E5D2BAB3A2D7031127AA8B781E0BAB898096425C544F2D5D16363FE372B87BF60AC24451B7184BB18316650856
menu:
  - {title: Xen, xen: {hypervisor: {file: x}, options: "console=none dom0_mem=1G", kernel: {file: k}, initrd: [{file: a}, {file: b}], cmdline: c, modules: [{file: u, args: v}]}}
  - {title: Live, xen: {hypervisor: {file: x}, cmdline: live}}
  - {title: Test, locked: true, memtest: {cmdline: nosmp}}
  - {title: Installed, chain: {efi: /EFI/debian/shimx64.efi}}
  - {title: Third, chain: {disk: 3}}
  - {title: Next, chain: {firmware: true}}
`

// TestBootMenu: what becomes of a recipe's menu.
func TestBootMenu(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(menuRecipe))
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(r); err != nil {
		t.Fatal(err)
	}
	const module = "/boot/grub/x86_64-efi/multiboot2.mod"
	want := grub.Menu{
		Timeout: 3, Consoles: r.Medium.Console, Default: 3, Password: r.Medium.Password,
		Entries: []grub.Entry{
			{Title: "Xen", Xen: &grub.Xen{Hypervisor: "/boot/menu/0/xen", Options: "console=none dom0_mem=1G", EFIModule: module, Modules: []grub.Module{
				{Path: "/boot/menu/0/kernel", Args: "c"}, {Path: "/boot/menu/0/initrd"}, {Path: "/boot/menu/0/module0", Args: "v"},
			}}},
			{Title: "Live", Xen: &grub.Xen{Hypervisor: "/boot/menu/1/xen", Options: "console=vga,com2 com2=57600,8n1", EFIModule: module, Modules: []grub.Module{
				{Path: "/boot/vmlinuz", Args: "console=tty0 console=hvc0 quiet panic=30 all live"}, {Path: "/boot/initrd.img"},
			}}},
			{Title: "Test", Locked: true, Linux: &grub.Linux{Kernel: "/boot/menu/2/memtest", Cmdline: "nosmp", Unsigned: true}},
			{Title: "Installed", Chain: &grub.Chain{Disk: 1, EFI: "/EFI/debian/shimx64.efi"}},
			{Title: "Third", Chain: &grub.Chain{Disk: 3}},
			{Title: "Next", Chain: &grub.Chain{}},
		},
	}
	if diff := cmp.Diff(want, bootMenu(r.Medium)); diff != "" {
		t.Error(diff)
	}
}

// TestCheck: what the bootloader could not do is refused with its line.
func TestCheck(t *testing.T) {
	for old, c := range map[string]struct{ with, want string }{
		"10000.E3BE":           {"100.E3BE", "x.yaml:9: password: 100 rounds of PBKDF2"},
		"password: grub":       {"password: hunter2", "x.yaml:9: password: not what grub-mkpasswd-pbkdf2 prints"},
		"dom0_mem=1G":          {`a'b`, `x.yaml:11: menu[0]: command line "console=none a'b"`},
		"cmdline: live":        {`cmdline: 'a\b'`, `x.yaml:12: menu[1]: command line`},
		"/EFI/debian/shimx64":  {"/EFI/BOOT/BOOTX64", `x.yaml:14: menu[3]: file "/EFI/BOOT/BOOTX64.efi": the medium itself`},
		"efi: /EFI":            {"efi: EFI", `x.yaml:14: menu[3]: file "EFI/debian/shimx64.efi": want an absolute path`},
		"disk: 3":              {"disk: 9", "x.yaml:15: menu[4]: disk 9: want 0 to 8"},
		"default: Installed":   {"default: Test", "x.yaml:11: menu: entry 3 is locked, and starts on a BIOS where nobody chooses"},
		"title: Installed":     {"locked: true, title: Installed", "x.yaml:11: menu: entry 4 is locked, and starts on a BIOS"},
		"default: Installed\n": {"default: Live\n", ""},
	} {
		text := strings.Replace(menuRecipe, old, c.with, 1)
		r, err := recipe.Parse("x.yaml", []byte(text))
		if err != nil || text == menuRecipe {
			t.Fatalf("%s: %v", old, err)
		}
		err = Check(r)
		var e *recipe.Error
		if c.want == "" && err == nil {
			continue
		}
		if !errors.As(err, &e) || !strings.HasPrefix(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: error %v, want %q", old, err, c.want)
		}
	}
	locked := strings.Replace(strings.Replace(menuRecipe, "default: Installed", "default: Live", 1), "  - {title: Installed", "  - {title: Installed, locked: true", 1)
	r, err := recipe.Parse("x.yaml", []byte(locked))
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(r); err == nil || !strings.Contains(err.Error(), "entry 4 is locked, and starts on UEFI with Secure Boot") {
		t.Errorf("error %v", err)
	}
}

func TestMemtestCmdline(t *testing.T) {
	for want, c := range map[string]struct {
		consoles []string
		options  string
	}{
		"console=ttyS0,115200 nosmp": {[]string{"tty0", "ttyS0,115200n8"}, "nosmp"},
		"console=ttyS1,9600":         {[]string{"ttyS1,9600"}, ""},
		"console=ttyS2":              {[]string{"ttyS1,9600"}, "console=ttyS2"},
		"":                           {[]string{"tty0", "ttyS0,57600", "ttyS1,9600e7", "hvc0"}, ""},
	} {
		if got := memtestCmdline(c.consoles, c.options); got != want {
			t.Errorf("%q %q: %q, want %q", c.consoles, c.options, got, want)
		}
	}
}

func TestSignedVersion(t *testing.T) {
	if got := signedVersion("2.06-13+deb12u2"); got != "1+2.06+13+deb12u2" {
		t.Error(got)
	}
}
