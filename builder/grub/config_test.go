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
	}
}

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
	modules, err := closure(os.DirFS(dir), MenuModules(menus()["several"]))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{"set": true, "function": true, "failed": true} // the core's, the parser's, ours
	for line := range strings.Lines(string(list)) {
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
	config, err := Config(menus()["several"])
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range parseScript(t, early+config) {
		if words[0] == "if" {
			words = words[1:]
		}
		switch words[0] {
		case "then", "fi", "}":
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
			f.Add(e.Title, e.Linux.Cmdline)
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
