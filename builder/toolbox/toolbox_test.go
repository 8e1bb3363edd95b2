package toolbox_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/builder/toolbox"
)

// describe tells what lies at a place: content, target or mode.
func describe(root, name string) string {
	info, err := os.Lstat(filepath.Join(root, name))
	if err != nil {
		return "nothing"
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		target, _ := os.Readlink(filepath.Join(root, name))
		return "-> " + target
	case info.IsDir():
		return info.Mode().String()
	}
	data, _ := os.ReadFile(filepath.Join(root, name))
	return string(data)
}

// TestRoot: what becomes of packages, and what is added to them.
func TestRoot(t *testing.T) {
	p := newPackages(t)
	p.add("tools", "", "bin/tool", "tool", "sbin/other", "-> ../bin/tool", "usr/sbin/twin", "= bin/tool",
		"lib/tools/x", "-> ../../usr/share/tools/y", "usr/share/tools/y", "y", "usr/share/man/man1/tool.1", "text",
		"usr/bin/vi", "a better vi", "etc/hosts", "127.0.0.1 mine", "tmp", "/", "var/run", "/", "usr/share/locale/de/x", "text", "opt/big/part", "large")
	p.add("ca-certificates", "", "usr/share/ca-certificates/mozilla/B.crt", "second", "usr/share/ca-certificates/mozilla/A.crt", "first\n")
	p.file("etc/motd", "welcome")
	p.file("bin/tool", "my tool")
	p.c.Alternatives = map[string]string{"editor": "/bin/vi"}
	p.c.Drop = []string{"opt/big"}
	root := p.build()
	for name, want := range map[string]string{
		"bin": "-> usr/bin", "sbin": "-> usr/sbin", "lib": "-> usr/lib", "lib32": "nothing",
		"usr/bin/tool": "my tool", "usr/sbin/other": "-> ../bin/tool", "usr/sbin/twin": "tool",
		"usr/lib/tools/x": "-> /usr/share/tools/y", "usr/share/man": "nothing", "usr/share/locale": "nothing", "opt/big": "nothing",
		"etc/hosts": "127.0.0.1 mine", "etc/motd": "welcome", "etc/resolv.conf": "", "etc/mtab": "-> ../proc/self/mounts",
		"var/run":    "-> /run",
		"etc/passwd": "root:*:0:0:root:/root:/bin/sh\nnobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
		"root":       "drwx------", "tmp": "dtrwxrwxrwx", "proc": "dr-xr-xr-x", "usr/bin/sh": "-> dash", "usr/bin/ls": "-> busybox", "usr/bin/vi": "a better vi",
		"usr/bin/editor": "-> /bin/vi", "usr/bin/reboot": "nothing", "usr/bin/init": "nothing",
		"etc/ssl/certs/ca-certificates.crt": "first\n\nsecond\n", "usr/lib/ssl/cert.pem": "-> /etc/ssl/certs/ca-certificates.crt",
		"usr/share/farboot/packages": "busybox-static 1.0 amd64\nca-certificates 1.0 amd64\ndash 1.0 amd64\ntools 1.0 amd64\n",
	} {
		if got := describe(root, name); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
}

// TestApplets: busybox itself says which commands it has.
func TestApplets(t *testing.T) {
	root := newPackages(t).build()
	out, err := exec.Command(filepath.Join(root, "usr/bin/busybox"), "--list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for name := range strings.FieldsSeq(string(out)) {
		if describe(root, "usr/bin/"+name) == "nothing" {
			missing = append(missing, name)
		}
	}
	missing = slices.DeleteFunc(missing, func(n string) bool { return n == "init" }) // not every build has it
	if want := []string{"halt", "linuxrc", "poweroff", "reboot"}; !slices.Equal(missing, want) {
		t.Errorf("missing are %q, want %q", missing, want)
	}
}

// TestFilesOfTwoPackages: a conflict is refused with all names, unless one
// package replaces the other's files or both have the same.
func TestFilesOfTwoPackages(t *testing.T) {
	for _, test := range []struct{ name, fields, other, want string }{
		{"different", "", "theirs", `"usr/bin/x" is in a and in b, and neither replaces the other`},
		{"same", "", "ours", ""},
		{"replaced", "Replaces: a (<< 2)\n", "theirs", ""},
		{"replaces an older one", "Replaces: a (<< 1)\n", "theirs", `is in a and in b`},
		{"folder", "", "/", `is in a and in b`},
	} {
		p := newPackages(t)
		p.add("a", "", "bin/x", "ours")
		p.add("b", test.fields, "usr/bin/x", test.other)
		path, _, err := toolbox.Build(t.Context(), p.c)
		if test.want == "" {
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
			} else if got := describe(unsquash(t, path), "usr/bin/x"); got != test.other {
				t.Errorf("%s: got %q", test.name, got)
			}
			continue
		}
		if !errors.Is(err, toolbox.ErrFiles) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// TestReproducible: another cache, another order of packages and another moment
// make no difference.
func TestReproducible(t *testing.T) {
	p := newPackages(t)
	p.add("a", "", "usr/bin/a", strings.Repeat("a", 1<<20))
	p.add("b", "", "usr/bin/b", strings.Repeat("a", 1<<20))
	first, ref, err := toolbox.Build(t.Context(), p.c)
	if err != nil {
		t.Fatal(err)
	}
	again, sameRef, err := toolbox.Build(t.Context(), p.c)
	if err != nil || again != first || ref != sameRef {
		t.Errorf("from the cache: %s %v %v, want %s %v", again, sameRef, err, first, ref)
	}
	if p.c.Cache, err = cache.Open(filepath.Join(t.TempDir(), "other")); err != nil {
		t.Fatal(err)
	}
	if _, anew, err := toolbox.Build(t.Context(), p.c); err != nil || anew != ref {
		t.Errorf("anew: %v %v, want %v", anew, err, ref)
	}
	p.file("etc/x", "x")
	if _, other, err := toolbox.Build(t.Context(), p.c); err != nil || other == ref {
		t.Errorf("with another file: %v %v", other, err)
	}
}

// TestSecretInOverlay is issue 3's: a planted key among the recipe's own files is
// refused with a message that names it.
func TestSecretInOverlay(t *testing.T) {
	p := newPackages(t)
	dir := t.TempDir()
	key := filepath.Join(dir, "id")
	if out, err := exec.Command(tool(t, "ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	data, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	p.file("root/.ssh/id_ed25519", string(data))
	_, _, err = toolbox.Build(t.Context(), p.c)
	if !errors.Is(err, leak.ErrSecret) || !strings.Contains(err.Error(), `"root/.ssh/id_ed25519"`) || !strings.Contains(err.Error(), "overlay/id_ed25519") {
		t.Errorf("got %v", err)
	}
}

// TestLibraries: programs of this machine, with and without what they are linked
// with.
func TestLibraries(t *testing.T) {
	dir := t.TempDir()
	compile := func(name, source string, args ...string) string {
		t.Helper()
		file := filepath.Join(dir, name)
		cmd := exec.Command(tool(t, "cc", "gcc"), append([]string{"-x", "c", "-", "-o", file}, args...)...)
		cmd.Stdin = strings.NewReader(source)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("cc: %v\n%s", err, out)
		}
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	const call, part, libc = "int f(void); int main(void) { return f(); }", "int f(void) { return 0; }", "/lib/x86_64-linux-gnu/libc.so.6"
	library := compile("libpart.so", part, "-shared", "-fPIC")
	program := compile("program", call, "-L"+dir, "-lpart")
	relative := compile("relative", call, "-L"+dir, "-lpart", "-Wl,-rpath,$ORIGIN/../lib/private")
	libcData, err := os.ReadFile(libc)
	if err != nil {
		t.Fatal(err)
	}
	loader, err := os.ReadFile("/lib64/ld-linux-x86-64.so.2")
	if err != nil {
		t.Fatal(err)
	}
	const standard = "lib/x86_64-linux-gnu/"
	c := []string{standard + "libc.so.6", string(libcData), standard + "ld-linux-x86-64.so.2", string(loader), "lib64/ld-linux-x86-64.so.2", "-> /" + standard + "ld-linux-x86-64.so.2"}
	for _, test := range []struct {
		name  string
		files []string
		want  string
	}{
		{"all there", append(slices.Clone(c), "usr/bin/p", program, "usr/lib/x86_64-linux-gnu/libpart.so", library), ""},
		{"by a link", append(slices.Clone(c), "usr/bin/p", program, "usr/lib/x86_64-linux-gnu/libpart.so", "-> /usr/lib/real", "usr/lib/real", library), ""},
		{"along its own path", append(slices.Clone(c), "usr/bin/p", relative, "usr/lib/private/libpart.so", library), ""},
		{"at another place", append(slices.Clone(c), "usr/bin/p", program, "usr/lib/private/libpart.so", library), "/usr/bin/p of a needs libpart.so"},
		{"no library", append(slices.Clone(c), "usr/bin/p", program), "/usr/bin/p of a needs libpart.so"},
		{"a link to nothing", append(slices.Clone(c), "usr/bin/p", program, "usr/lib/libpart.so", "-> gone"), "/usr/bin/p of a needs libpart.so"},
		{"not a library", append(slices.Clone(c), "usr/bin/p", program, "usr/lib/libpart.so", "text"), "/usr/bin/p of a needs libpart.so"},
		{"no loader", append(c[:4:4], "usr/bin/p", program, "usr/lib/libpart.so", library), "needs /lib64/ld-linux-x86-64.so.2"},
	} {
		p := newPackages(t)
		p.add("a", "", test.files...)
		_, _, err := toolbox.Build(t.Context(), p.c)
		if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, toolbox.ErrLibrary) || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%s: got %v, want %q", test.name, err, test.want)
		}
	}
}

// TestScripts: a script without its interpreter is told, and costs nothing else.
func TestScripts(t *testing.T) {
	p := newPackages(t)
	p.add("a", "", "usr/bin/one", "#!/bin/sh\n", "usr/bin/two", "#! /bin/bash -e\n", "usr/bin/three", "#!/usr/bin/env python3\n", "usr/bin/four", "#!/usr/bin/env awk\n")
	var told bytes.Buffer
	p.c.Warn = func(message string) { fmt.Fprintln(&told, message) }
	p.build()
	if want := "/usr/bin/three of a needs python3\n/usr/bin/two of a needs /bin/bash\n"; told.String() != want {
		t.Errorf("got %q, want %q", told.String(), want)
	}
}

// TestRefusals of what a recipe says.
func TestRefusals(t *testing.T) {
	for want, change := range map[string]func(p *packages){
		`"../x" is not a clean path`:            func(p *packages) { p.file("../x", "x") },
		`"/etc/x" is not a clean path`:          func(p *packages) { p.file("/etc/x", "x") },
		`"bin" is a folder of a`:                func(p *packages) { p.add("a", "", "usr/bin/x", "x"); p.file("bin", "x") },
		`no package has "/usr/bin/nano"`:        func(p *packages) { p.c.Alternatives = map[string]string{"editor": "/usr/bin/nano"} },
		`no /usr/bin/busybox (Debian package b`: func(p *packages) { p.c.Drop = []string{"usr/bin"} },
		`which is left out`:                     func(p *packages) { p.add("a", "", "opt/a", "a", "usr/bin/b", "= opt/a"); p.c.Drop = []string{"opt"} },
	} {
		p := newPackages(t)
		change(p)
		if _, _, err := toolbox.Build(t.Context(), p.c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}
