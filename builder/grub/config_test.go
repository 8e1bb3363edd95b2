package grub

import (
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/manifest"
)

var update = flag.Bool("update", false, "write the golden files anew (and fail)")

// printable holds every character that a title may have, but for the blank.
func printable() string {
	var b strings.Builder
	for c := '!'; c <= '~'; c++ {
		b.WriteRune(c)
	}
	return b.String()
}

// menus are the menus of the golden files in testdata.
func menus() map[string]Menu {
	agent := &Linux{
		Kernel:  "/live/vmlinuz",
		Initrds: []string{"/live/modules.img", "/live/agent.img"},
		Cmdline: "console=tty0 console=ttyS0,115200 quiet",
	}
	all := printable()
	return map[string]Menu{
		"agent": {Timeout: 3, Consoles: []string{"tty0", "ttyS0,115200"}, Entries: []Entry{{Title: "Ask the site", Linux: agent}}},
		"several": {Timeout: 0, Consoles: []string{"ttyS0", "ttyS3,57600e7", "tty0"}, Entries: []Entry{
			{Title: "Ask the site", Linux: agent},
			{Title: "Memory test", Platform: BIOS, Linux: &Linux{Kernel: "/live/mt86x64.bin"}},
			{Title: "Memory test", Platform: UEFI, Linux: &Linux{Kernel: "/live/mt86x64.efi"}},
		}},
		"odd-text": {Consoles: []string{"tty0"}, Entries: []Entry{
			{Title: "--id=" + all[:50], Linux: &Linux{Kernel: "/k", Cmdline: `a=1 "dyndbg=file x.c  +p; { $root" $a ${b} * ? [c] # ; } || && < > end`}},
			{Title: all[40:], Linux: &Linux{Kernel: "/k", Cmdline: "x=" + legal(all)}},
		}},
		"kinds": {Timeout: 5, Consoles: []string{"tty0"}, Default: 1, Password: password, Entries: []Entry{
			{Title: "Memory test", Linux: &Linux{Kernel: "/m/memtest", Unsigned: true}},
			{Title: "Xen", Xen: xen()},
			{Title: "Ask the site", Linux: agent},
			{Title: "Installed system", Chain: &Chain{Disk: 1}},
			{Title: "Debian", Chain: &Chain{Disk: 3, EFI: "/EFI/debian/shimx64.efi"}},
			{Title: "Next device", Locked: true, Chain: &Chain{}},
		}},
		"xen-alone": {Entries: []Entry{{Title: "Xen", Xen: xen()}}},
	}
}

// password is what grub-mkpasswd-pbkdf2 printed for "secret".
const password = "grub.pbkdf2.sha512.10000.E3BE149AE308B8FE5AA7E5C2A1300D7F169E7BDA8E956AED0B267C8DBE4F4DA513CBCD2A626D6252F0BF00CA5CD67635280DC0AA2448899DE7313982B82E7D7D.F622F0E5D2BAB3A2D7031127AA8B781E0BAB898096425C544F2D5D16363FE372B87BF60AC24451B7184BB18316650856AC542811618A735CF764DCACE213CCF2"

// legal leaves out what a command line cannot carry through GRUB.
func legal(s string) string {
	return strings.NewReplacer(`\`, "", `'`, "", `"`, "").Replace(s)
}

func TestConfigGolden(t *testing.T) {
	for name, menu := range menus() {
		t.Run(name, func(t *testing.T) {
			got, err := Config(menu)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, name+".cfg", got)
			scriptCheck(t, got)
		})
	}
}

func TestStubAndEarlyConfig(t *testing.T) {
	stub, err := StubConfig("/boot/0123456789abcdef", "/boot/grub")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "stub.cfg", stub)
	scriptCheck(t, stub)
	early, err := EarlyConfig("/boot/0123456789abcdef", "/boot/grub")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "early.cfg", early)
	for _, bad := range []string{"", "boot/x", "/boot/", "/boot/a b", "/boot/$x", "/boot/../x", "/.disk/info", "/a\nb"} {
		if _, err := StubConfig(bad, "/boot/grub"); err == nil {
			t.Errorf("StubConfig took the marker %q", bad)
		}
		if _, err := EarlyConfig("/boot/x", bad); err == nil {
			t.Errorf("EarlyConfig took the prefix %q", bad)
		}
	}
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

// scriptCheck has GRUB's own parser read a script.
func scriptCheck(t *testing.T, script string) {
	t.Helper()
	path, err := exec.LookPath("grub-script-check")
	if err != nil {
		t.Fatalf("this test needs the package grub-common: %v", err)
	}
	cmd := exec.Command(path)
	cmd.Stdin = strings.NewReader(script)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("grub-script-check: %v\n%s\n%s", err, msg, script)
	}
}

// TestModulesHaveCommands finds every command of the scripts in a module that
// MenuModules brings along.
func TestModulesHaveCommands(t *testing.T) {
	const dir = "/usr/lib/grub/i386-pc"
	list, err := os.ReadFile(filepath.Join(dir, "command.lst"))
	if err != nil {
		t.Fatalf("this test needs the package grub-pc-bin: %v", err)
	}
	for name, menu := range menus() {
		t.Run(name, func(t *testing.T) { testCommands(t, dir, string(list), menu) })
	}
}

// testCommands finds the commands of a menu's script in GRUB's list.
func testCommands(t *testing.T, dir, list string, menu Menu) {
	modules, err := closure(os.DirFS(dir), MenuModules(menu))
	if err != nil {
		t.Fatal(err)
	}
	// The core's, the parser's, ours; and those that run under UEFI alone.
	have := map[string]bool{"set": true, "export": true, "insmod": true, "function": true, "failed": true}
	for line := range strings.Lines(list) {
		command, module, _ := strings.Cut(strings.TrimSpace(line), ": ")
		for _, m := range modules {
			if m == module {
				have[strings.TrimPrefix(command, "*")] = true
			}
		}
	}
	early, err := EarlyConfig("/boot/x", "/boot/grub")
	if err != nil {
		t.Fatal(err)
	}
	config, err := Config(menu)
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range parseScript(t, early+config) {
		if words[0] == "if" {
			words = words[1:]
		}
		switch words[0] {
		case "then", "else", "fi", "}":
		default:
			if !have[words[0]] {
				t.Errorf("no module has the command %q", words[0])
			}
		}
	}
}

func TestConfigRefuses(t *testing.T) {
	good := func() Menu {
		return Menu{Timeout: 3, Consoles: []string{"tty0"}, Entries: []Entry{{Title: "A", Linux: &Linux{Kernel: "/k"}}}}
	}
	if _, err := Config(good()); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Menu){
		"no entries":        func(m *Menu) { m.Entries = nil },
		"many entries":      func(m *Menu) { m.Entries = make([]Entry, maxEntries+1) },
		"timeout below 0":   func(m *Menu) { m.Timeout = -1 },
		"timeout of days":   func(m *Menu) { m.Timeout = maxTimeout + 1 },
		"no title":          func(m *Menu) { m.Entries[0].Title = "" },
		"title newline":     func(m *Menu) { m.Entries[0].Title = "a\nb" },
		"title escape":      func(m *Menu) { m.Entries[0].Title = "a\x1b[2Jb" },
		"title umlaut":      func(m *Menu) { m.Entries[0].Title = "Prüfung" },
		"title NUL":         func(m *Menu) { m.Entries[0].Title = "a\x00" },
		"no kernel":         func(m *Menu) { m.Entries[0].Linux.Kernel = "" },
		"kernel device":     func(m *Menu) { m.Entries[0].Linux.Kernel = "(hd0)/k" },
		"kernel option":     func(m *Menu) { m.Entries[0].Linux.Kernel = "--x" },
		"kernel variable":   func(m *Menu) { m.Entries[0].Linux.Kernel = "/$k" },
		"kernel blank":      func(m *Menu) { m.Entries[0].Linux.Kernel = "/a b" },
		"kernel climbs":     func(m *Menu) { m.Entries[0].Linux.Kernel = "/../k" },
		"kernel long":       func(m *Menu) { m.Entries[0].Linux.Kernel = "/" + strings.Repeat("k", maxPath) },
		"initrd newc":       func(m *Menu) { m.Entries[0].Linux.Initrds = []string{"newc:x:/k"} },
		"many initrds":      func(m *Menu) { m.Entries[0].Linux.Initrds = make([]string, maxInitrds+1) },
		"no kind":           func(m *Menu) { m.Entries[0].Linux = nil },
		"two kinds":         func(m *Menu) { m.Entries[0].Chain = &Chain{} },
		"default":           func(m *Menu) { m.Default = 1 },
		"default below 0":   func(m *Menu) { m.Default = -1 },
		"password":          func(m *Menu) { m.Password = "secret" },
		"password reboots":  func(m *Menu) { m.Password = password + "; reboot" },
		"password of weeks": func(m *Menu) { m.Password = strings.Replace(password, ".10000.", ".999999999.", 1) },
		"password of a day": func(m *Menu) { m.Password = strings.Replace(password, ".10000.", ".9999.", 1) },
		"lock, no password": func(m *Menu) { m.Entries = append(m.Entries, m.Entries[0]); m.Entries[1].Locked = true },
		"locked default":    func(m *Menu) { m.Password, m.Entries[0].Locked = password, true },
		"locked next best":  func(m *Menu) { lockedNextBest(m) },
		"xen without dom0":  func(m *Menu) { m.Entries[0] = Entry{Title: "X", Xen: &Xen{Hypervisor: "/x", EFIModule: "/m"}} },
		"many modules":      func(m *Menu) { m.Entries[0] = spoiled(func(x *Xen) { x.Modules = make([]Module, maxModules+1) }) },
		"xen's options":     func(m *Menu) { m.Entries[0] = spoiled(func(x *Xen) { x.Options = `a\b` }) },
		"long options":      func(m *Menu) { m.Entries[0] = spoiled(func(x *Xen) { x.Options = strings.Repeat("a", 961) }) },
		"dom0's line":       func(m *Menu) { m.Entries[0] = spoiled(func(x *Xen) { x.Modules[0].Args = "a\nreboot" }) },
		"xen's path":        func(m *Menu) { m.Entries[0] = spoiled(func(x *Xen) { x.Hypervisor = "--quirk-bad-kludge" }) },
		"module's path":     func(m *Menu) { m.Entries[0] = spoiled(func(x *Xen) { x.Modules[1].Path = "/a b" }) },
		"UEFI module":       func(m *Menu) { m.Entries[0] = spoiled(func(x *Xen) { x.EFIModule = "" }) },
		"disk":              func(m *Menu) { m.Entries[0] = Entry{Title: "D", Chain: &Chain{Disk: MaxDisk + 1}} },
		"disk below 0":      func(m *Menu) { m.Entries[0] = Entry{Title: "D", Chain: &Chain{Disk: -1}} },
		"medium's loader":   func(m *Menu) { m.Entries[0] = Entry{Title: "D", Chain: &Chain{EFI: "/efi/boot/bootx64.efi"}} },
		"EFI device":        func(m *Menu) { m.Entries[0] = Entry{Title: "D", Chain: &Chain{EFI: "(hd0)/x.efi"}} },
		"platform":          func(m *Menu) { m.Entries[0].Platform = "pc ]; reboot; [" },
		"vga=ask":           func(m *Menu) { m.Entries[0].Linux.Cmdline = "quiet vga=ask" },
		"cmdline newline":   func(m *Menu) { m.Entries[0].Linux.Cmdline = "a\nreboot" },
		"cmdline tab":       func(m *Menu) { m.Entries[0].Linux.Cmdline = "a\tb" },
		"cmdline too long":  func(m *Menu) { m.Entries[0].Linux.Cmdline = strings.Repeat("a", maxLine-len("BOOT_IMAGE=/k ")+1) },
		"console injection": func(m *Menu) { m.Consoles = []string{"ttyS0,115200; reboot"} },
		"console speed":     func(m *Menu) { m.Consoles = []string{"ttyS0,fast"} },
		"console empty":     func(m *Menu) { m.Consoles = []string{""} },
		"console newline":   func(m *Menu) { m.Consoles = []string{"tty0\n"} },
	} {
		m := good()
		spoil(&m)
		if text, err := Config(m); err == nil {
			t.Errorf("%s: taken:\n%s", name, text)
		}
	}
	m := good()
	m.Entries[0].Linux.Cmdline = strings.Repeat("a", maxLine-len("BOOT_IMAGE=/k "))
	if _, err := Config(m); err != nil {
		t.Errorf("longest command line: %v", err)
	}
}

// lockedNextBest locks what starts under Secure Boot, where the default is not
// shown.
func lockedNextBest(m *Menu) {
	linux := m.Entries[0]
	linux.Locked, m.Password = true, password
	m.Entries = []Entry{{Title: "X", Xen: xen()}, linux, m.Entries[0]}
}

// spoiled returns an entry with a mistake.
func spoiled(spoil func(*Xen)) Entry {
	x := xen()
	spoil(x)
	return Entry{Title: "X", Xen: x}
}

func TestCmdlineWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                           nil,
		"a":                          {"a"},
		"a b=c":                      {"a", "b=c"},
		`"a b"`:                      {"a b"},
		`"a=b  c" d "e f"`:           {"a=b  c", "d", "e f"},
		"$x `y` {z} ; # | & < > ( )": {"$x", "`y`", "{z}", ";", "#", "|", "&", "<", ">", "(", ")"},
	} {
		got, err := cmdlineWords(line)
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", line, diff)
		}
	}
	for _, line := range []string{
		`a\b`, `a'b'`, `a  b`, `a="b c"`, `"a"`, `""`, `"a b"c`, `"a b" "c"`, `"a b`, `"a b"  c`, `a" b"`, " a", "a ",
	} {
		if words, err := cmdlineWords(line); err == nil {
			t.Errorf("%q: taken as %q", line, words)
		}
	}
	if _, err := cmdlineWords(`a\b`); !errors.Is(err, ErrText) {
		t.Errorf("error %v is not ErrText", err)
	}
}

// FuzzConfig puts a title and a command line into a menu, reads the script with
// a parser of its own, and follows the words through GRUB's linux command: what
// comes out must be what went in, and no other command.
func FuzzConfig(f *testing.F) {
	for _, menu := range menus() {
		for _, e := range menu.Entries {
			if e.Linux != nil {
				f.Add(e.Title, e.Linux.Cmdline)
			}
		}
	}
	f.Add(`It's'; reboot; '`, `a='b'`)
	f.Add(`$(reboot) ${root} \`, `"a b" c`)
	f.Fuzz(func(t *testing.T, title, cmdline string) {
		menu := Menu{Entries: []Entry{{Title: title, Linux: &Linux{Kernel: "/k", Initrds: []string{"/i"}, Cmdline: cmdline}}}}
		text, err := Config(menu)
		if err != nil {
			if manifest.CheckTitle(title) == nil && cmdline == "" {
				t.Fatalf("title refused: %v", err)
			}
			return
		}
		got := parseScript(t, text)
		var line []string
		for i, words := range got {
			if len(words) > 2 && words[1] == "linux" {
				line, got[i] = words[2:], words[:2]
			}
		}
		want := [][]string{
			{"function", "failed", "{"},
			{"echo", "This entry did not start. The machine restarts in 10 seconds."},
			{"sleep", "10"}, {"reboot"}, {"}"},
			{"set", "default=0"}, {"set", "timeout=0"},
			{"menuentry", "--", title, "{"},
			{"if", "linux"}, {"then"}, {"if", "initrd", "/i"}, {"then"}, {"boot"}, {"fi"}, {"fi"}, {"failed"}, {"}"},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("commands (-want +got):\n%s", diff)
		}
		if got := loaderCmdline(line); got != strings.TrimSuffix("/k "+cmdline, " ") {
			t.Fatalf("the kernel would see %q, not %q", got, cmdline)
		}
		if manifest.CheckXenLine(cmdline) == nil {
			throughXen(t, cmdline)
		}
	})
}

// loaderCmdline joins arguments as grub_create_loader_cmdline does
// (grub-core/lib/cmdline.c of GRUB 2.06).
func loaderCmdline(args []string) string {
	var out []string
	for _, a := range args {
		a = strings.NewReplacer(`\`, `\\`, `'`, `\'`, `"`, `\"`).Replace(a)
		if strings.Contains(a, " ") {
			a = `"` + a + `"`
		}
		out = append(out, a)
	}
	return strings.Join(out, " ")
}
