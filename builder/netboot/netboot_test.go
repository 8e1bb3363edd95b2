package netboot

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/grub"
)

var update = flag.Bool("update", false, "write the golden files anew (and fail)")

func agent() *grub.Linux {
	return &grub.Linux{
		Kernel:  "/live/vmlinuz",
		Initrds: []string{"/live/modules.img", "/live/agent.img"},
		Cmdline: "console=tty0 console=ttyS0,115200 quiet",
	}
}

// password is what grub-mkpasswd-pbkdf2 prints, of a shorter salt and hash.
const password = "grub.pbkdf2.sha512.10000.E3BE149AE308B8FE.F622F0E5D2BAB3A2D7031127AA8B781E0BAB898096425C544F2D5D16363FE372"

func xen() *grub.Xen {
	return &grub.Xen{Hypervisor: "/live/xen", EFIModule: "/live/multiboot2.mod", Modules: []grub.Module{{Path: "/live/vmlinuz"}}}
}

// menus are the menus of the golden files in testdata.
func menus() map[string]grub.Menu {
	several := []grub.Entry{
		{Title: "Ask the site", Linux: agent()},
		{Title: "Memory test", Platform: grub.BIOS, Linux: &grub.Linux{Kernel: "/live/mt86x64.bin"}},
		{Title: "Memory test", Platform: grub.UEFI, Linux: &grub.Linux{Kernel: "/live/mt86x64.efi"}},
	}
	return map[string]grub.Menu{
		"agent":   {Timeout: 3, Entries: several[:1]},
		"several": {Timeout: 5, Entries: several},
		"at-once": {Timeout: 0, Entries: []grub.Entry{several[1], several[0]}},
		"kinds": {Timeout: 5, Default: 2, Password: password, Entries: []grub.Entry{
			{Title: "Xen", Xen: xen()},
			{Title: "Next device", Chain: &grub.Chain{}},
			{Title: "Ask the site", Linux: agent()},
			{Title: "Locked", Locked: true, Linux: agent()},
			{Title: "Second disk", Chain: &grub.Chain{Disk: 2, EFI: "/EFI/debian/shimx64.efi"}},
		}},
		"xen-alone": {Entries: []grub.Entry{{Title: "Xen", Xen: xen()}}},
		"odd-text": {Timeout: 5, Entries: []grub.Entry{
			{Title: `#1 || a && b ;  two blanks; x#y ||z \`, Linux: &grub.Linux{Kernel: "/k", Cmdline: `# a || b && c ; "d e  f" $x $ {y} ||z`}},
			{Title: "-m :label ${", Linux: agent()},
		}},
	}
}

func TestIPXEGolden(t *testing.T) {
	for name, menu := range menus() {
		t.Run(name, func(t *testing.T) {
			if name == "odd-text" {
				if _, err := IPXE(menu); !errors.Is(err, ErrText) {
					t.Errorf("error %v, want ErrText for a setting in a title", err)
				}
				menu.Entries[1].Title = strings.TrimSuffix(menu.Entries[1].Title, " ${")
			}
			got, err := IPXE(menu)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".ipxe", got)
		})
	}
}

func TestDnsmasqGolden(t *testing.T) { golden(t, Dnsmasq, DnsmasqExample()) }

func TestIPXERefuses(t *testing.T) {
	for name, e := range map[string]grub.Entry{
		"no title":         {Linux: agent()},
		"newline":          {Title: "a\nshell", Linux: agent()},
		"command setting":  {Title: "a", Linux: &grub.Linux{Kernel: "/k", Cmdline: "x=${net0/mac}"}},
		"kernel of a host": {Title: "a", Linux: &grub.Linux{Kernel: "http://192.0.2.1/k"}},
	} {
		if text, err := IPXE(grub.Menu{Entries: []grub.Entry{e}}); err == nil {
			t.Errorf("%s: taken:\n%s", name, text)
		}
	}
}

// FuzzIPXE reads the script as iPXE does and looks for the same command line
// and title, and for no other command.
func FuzzIPXE(f *testing.F) {
	for _, menu := range menus() {
		for _, e := range menu.Entries {
			if e.Linux != nil {
				f.Add(e.Title, e.Linux.Cmdline)
			}
		}
	}
	f.Fuzz(func(t *testing.T, title, cmdline string) {
		entry := grub.Entry{Title: title, Linux: &grub.Linux{Kernel: "/k", Cmdline: cmdline}}
		menu := grub.Menu{Timeout: 1, Entries: []grub.Entry{entry, entry}}
		script, err := IPXE(menu)
		if err != nil {
			if menu.Validate() == nil && !strings.Contains(title+cmdline, "${") {
				t.Fatalf("a good menu: %v", err)
			}
			return
		}
		item := []string{"item entry0 " + title, "item entry1 " + title}
		kernel := []string{strings.TrimSuffix("kernel --name kernel k "+cmdline, " "), "goto failed", "boot", "goto failed"}
		want := append([]string{"menu farboot"}, item...)
		want = append(want, "choose --timeout 1000 entry", "goto menu", "goto ${entry}")
		want = append(append(want, kernel...), kernel...)
		want = append(want, "echo This machine did not start. Next try in 10 seconds.", "sleep 10", "imgfree", "chain --replace boot.ipxe", "goto failed")
		if diff := cmp.Diff(want, readScript(script)); diff != "" {
			t.Fatalf("commands (-want +got):\n%s", diff)
		}
	})
}

// readScript returns the commands of a script with their arguments as iPXE
// joins them (process_script in image/script.c, system in core/exec.c).
func readScript(script string) []string {
	script = strings.ReplaceAll(script, "\\\n", "")
	var commands []string
	for line := range strings.Lines(script) {
		var args []string
		end := func() {
			if args != nil {
				commands, args = append(commands, strings.Join(args, " ")), nil
			}
		}
		for i, word := range strings.Fields(line) {
			if word[0] == '#' || i == 0 && word[0] == ':' {
				break
			}
			if word == "||" || word == "&&" || word == ";" {
				end()
				continue
			}
			args = append(args, strings.ReplaceAll(word, "${}", ""))
		}
		end()
	}
	return commands
}

// golden compares got with a file of testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Errorf("%s written: read it, then test without -update", path)
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
