package local

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// testdata returns a file of testdata.
func testdata(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// titles lists the titles of entries.
func titles(entries []entry) (all []string) {
	for _, e := range entries {
		all = append(all, e.Title)
	}
	return all
}

const debianUUID = "0a1b2c3d-1111-2222-3333-444455556666"

func TestGrubOfDebian(t *testing.T) {
	entries, err := parseGrub(testdata(t, "debian.cfg"), debianUUID, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{
		"Debian GNU/Linux",
		"Debian GNU/Linux, with Linux 6.1.0-18-amd64",
		"Debian GNU/Linux, with Linux 6.1.0-18-amd64 (recovery mode)",
		"Debian GNU/Linux, with Linux 6.1.0-17-amd64",
	}, titles(entries)); diff != "" {
		t.Error(diff)
	}
	want := entry{
		Title: "Debian GNU/Linux", Kernel: "/boot/vmlinuz-6.1.0-18-amd64",
		Initrds: []string{"/boot/initrd.img-6.1.0-18-amd64"},
		Cmdline: "root=UUID=" + debianUUID + " ro quiet",
	}
	if diff := cmp.Diff(want, entries[0], cmp.AllowUnexported(entry{})); diff != "" {
		t.Error(diff)
	}
}

func TestGrubOfUbuntu(t *testing.T) {
	text := testdata(t, "ubuntu.cfg")
	for saved, want := range map[string]string{
		"":  "Ubuntu",
		"0": "Ubuntu",
		"1": "Ubuntu, with Linux 5.15.0-91-generic",
		"gnulinux-advanced-aaaa>gnulinux-5.15.0-88-generic-advanced-aaaa": "Ubuntu, with Linux 5.15.0-88-generic",
		"1>1": "Ubuntu, with Linux 5.15.0-88-generic",
		"Advanced options for Ubuntu>Ubuntu, with Linux 5.15.0-88-generic": "Ubuntu, with Linux 5.15.0-88-generic",
		"Memory test (memtest86+x64.efi, serial console)":                  "Memory test (memtest86+x64.efi, serial console)",
		"gone": "Ubuntu",
	} {
		entries, err := parseGrub(text, "bbbb", map[string]string{"saved_entry": saved, "next_entry": "1"})
		if err != nil || len(entries) != 4 || entries[0].Title != want {
			t.Errorf("saved_entry %q: %q (%v); want %q first", saved, titles(entries), err, want)
		}
	}
	env := parseEnv(testdata(t, "grubenv"))
	if got := env["kernelopts"]; got != "root=/dev/mapper/rhel-root ro quiet rd.lvm.lv=rhel/root" {
		t.Errorf("kernelopts %q", got)
	}
	entries, err := parseGrub(text, "bbbb", env)
	if err != nil || entries[0].Cmdline != "root=/dev/mapper/ubuntu--vg-ubuntu--lv ro quiet splash" || entries[0].Kernel != "/vmlinuz-5.15.0-88-generic" {
		t.Errorf("%+v, %v", entries, err)
	}
}

// TestGrubSyntax: one line of grub.cfg, and the kernel and command line it means.
func TestGrubSyntax(t *testing.T) {
	for text, want := range map[string]string{
		"linux /v a b":                     "/v|a b",
		"linuxefi ($root)/v a":             "/v|a",
		"linux16 (hd0,gpt2)/v 'a  b' c":    `/v|"a  b" c`,
		`linux /v "a\"b" c\ d`:             `/v|a\"b "c d"`,
		"linux /v a=$none b${none}c $none": "/v|a= bc",
		"linux /v a=$x/${x}":               "/v|a=1/1",
		"linux /v a \\\n b # c":            "/v|a b",
		"linux /v a; initrd /i":            "/v|a|/i",
		"linux /v a\ninitrd /i /j":         "/v|a|/i|/j",
		"if true; then linux /v a; fi":     "/v|a",
		"linux /v it'\\''s":                "",
		"linux /v '$x' \"$x\" a$":          "/v|$x 1 a$",
		"linux /v 'ä' }":                   "/v|ä",
	} {
		close := "\n}"
		if strings.HasSuffix(text, " }") {
			close = ""
		}
		entries, err := parseGrub("set x=1\nmenuentry 'm' {\n"+text+close, "", nil)
		var got string
		if len(entries) == 1 {
			got = strings.Join(append([]string{entries[0].Kernel, entries[0].Cmdline}, entries[0].Initrds...), "|")
		}
		if got != want || want == "" && !errors.Is(err, errSyntax) {
			t.Errorf("%q: %q (%v); want %q", text, got, err, want)
		}
	}
}

func TestGrubRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"brace":    "}",
		"open":     "menuentry 'a' {",
		"quote":    "menuentry 'a",
		"double":   `set a="b`,
		"variable": "set a=${b",
		"deep":     strings.Repeat("submenu 'a' {\n", 20) + strings.Repeat("}\n", 20),
		"many":     strings.Repeat("menuentry 'a' {\n}\n", maxEntries+1),
		"places":   "set a=" + strings.Repeat("a", 1000) + "\nmenuentry 'a' {\nlinux /v" + strings.Repeat(" $a", 1000) + "\n}",
		"bomb":     "set a=aaaaaaaa\n" + strings.Repeat("set a=$a$a\n", 40),
	} {
		if _, err := parseGrub(text, "", nil); !errors.Is(err, errSyntax) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// FuzzGrubCfg: whatever lies on a disk, the parser ends, and its entries have a
// kernel.
func FuzzGrubCfg(f *testing.F) {
	for _, name := range []string{"debian.cfg", "ubuntu.cfg"} {
		f.Add(testdata(f, name), testdata(f, "grubenv"))
	}
	f.Add("menuentry a{b {\nlinux ($root)/v ${a}$b\\\n'c'\"\\$\"\n}", "a=b")
	f.Fuzz(func(t *testing.T, text, env string) {
		entries, err := parseGrub(text, "bbbb", parseEnv(env))
		if err != nil && entries != nil {
			t.Error("entries and an error")
		}
		for _, e := range entries {
			if e.Kernel == "" || len(e.Cmdline) > 4*(len(text)+maxVariables) {
				t.Errorf("entry %+v", e)
			}
		}
	})
}

// TestGrubDefault: of all that sets the default, the last that says something,
// and nothing that only a running GRUB would do.
func TestGrubDefault(t *testing.T) {
	const menu = "\nmenuentry zero {\nlinux /v a\n}\nmenuentry one {\nlinux /v b\nset default=0\n}\nmenuentry two {\nlinux /v c\n}\n"
	for text, want := range map[string]string{
		"":              "zero",
		"set default=1": "one",
		"set default=\"1\"\nset default=\"${next_entry}\"":     "one",
		"set default=1\nfunction f {\nset default=2\n}":        "one",
		"set x=1\nset x=\nset default=$x":                      "one",
		"if [ a ]; then set default=1; else set default=2\nfi": "two",
		"set default=two": "two",
		"set default=9":   "zero",
		"default=1":       "zero",
	} {
		entries, err := parseGrub(text+menu, "", map[string]string{"next_entry": "2"})
		if err != nil || len(entries) != 3 || entries[0].Title != want {
			t.Errorf("%q: %q (%v); want %q first", text, titles(entries), err, want)
		}
	}
}
