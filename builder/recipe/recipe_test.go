package recipe_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
)

const medium = `kind: medium
name: netboot
kernel:
  deb: linux-image-amd64
trust: keys
site: [http://10.0.2.2:8080]
menu:
  - {title: Ask the site, agent: {}}
  - title: Memory test
    linux:
      kernel: {deb: memtest86+, file: boot/memtest86+x64.bin}
`

const site = `kind: site
product: demo
entries:
  installer:
    title: Debian installer
    linux:
      kernel: {deb: debian-installer-12-netboot-amd64, file: usr/linux}
      initrd:
        - {deb: debian-installer-12-netboot-amd64, file: usr/initrd.gz}
        - {file: extra/preseed.cpio}
      cmdline: console=ttyS0,115200 priority=low
machines:
  - {match: {mac: "52-54-00-AB-34-56"}, boot: [installer]}
default: [installer]
`

func TestTimeKeys(t *testing.T) {
	for text, want := range map[string][2]bool{
		"": {}, "require_time: true\n": {true, false}, "trust_rtc: true\nrequire_time: false\n": {false, true},
	} {
		r, err := recipe.Parse("recipes/netboot.yaml", []byte(medium+text))
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]bool{r.Medium.RequireTime, r.Medium.TrustRTC}; got != want {
			t.Errorf("%q: %v; want %v", text, got, want)
		}
	}
}

func TestMediumDefaults(t *testing.T) {
	r, err := recipe.Parse("recipes/netboot.yaml", []byte(medium))
	if err != nil {
		t.Fatal(err)
	}
	m := r.Medium
	got := []any{m.Compression, m.Channel, m.Console, *m.Timeout, m.Kernel.Modules, m.Apt.Suite, m.Site, r.Dir, r.Kind}
	want := []any{"xz", "stable", []string{"tty0", "ttyS0,115200"}, 3, []string{"net", "usb"}, "bookworm",
		[]string{"http://10.0.2.2:8080/"}, ".", "medium"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	inputs := []recipe.Input{
		{Deb: "linux-image-amd64", Line: 4},
		{Deb: "memtest86+", File: "boot/memtest86+x64.bin", Line: 11},
	}
	if diff := cmp.Diff(inputs, r.Inputs()); diff != "" {
		t.Error(diff)
	}
}

func TestSite(t *testing.T) {
	r, err := recipe.Parse("site.yaml", []byte(site))
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Site.Machines[0].Match.MAC; got != "52:54:00:ab:34:56" {
		t.Errorf("MAC = %q; want it in the kernel's spelling", got)
	}
	if got := len(r.Inputs()); got != 3 {
		t.Errorf("%d inputs; want 3", got)
	}
	if got := r.Inputs()[2].Name(); got != "file:extra/preseed.cpio" {
		t.Errorf("Name = %q", got)
	}
}

// TestRefusals holds one mistake a row: threats 1 to 4 of THREATS.md. Each is
// made by one replacement in a recipe that is otherwise right.
func TestRefusals(t *testing.T) {
	for _, m := range []mistake{
		{"typo", medium, "trust: keys", "turst: keys", `x.yaml:5: turst: unknown key`, `did you mean "trust"?`},
		{"typo below", medium, "deb: linux", "dep: linux", `x.yaml:4: kernel.dep: unknown key`, `did you mean "deb"?`},
		{"typo in a list", medium, "title: Memory", "titel: Memory", `x.yaml:9: menu[1].titel: unknown key`, `did you mean "title"?`},
		{"unknown key", medium, "trust: keys", "quux: keys", `x.yaml:5: quux: unknown key`, ``},
		{"duplicate key", medium, "trust: keys", "name: again", `x.yaml:5: name: the key stands twice, first in line 2`, ``},
		{"missing kind", medium, "kind: medium\n", "", `x.yaml:1: the key "kind" is missing`, `start with`},
		{"wrong kind", medium, "kind: medium", "kind: meduim", `x.yaml:1: kind: "meduim" is neither`, `did you mean "medium"?`},
		{"second document", medium, "trust:", "---\ntrust:", `a second document`, `remove`},
		{"garbage after the end", medium, "menu:", "...\nmenu:", `did not find expected <document start>`, ``},
		{"anchor", medium, "trust: keys", "trust: &a keys", `x.yaml:5: trust: anchors and aliases`, ``},
		{"alias", medium, "trust: keys", "trust: *a", `unknown anchor`, ``},
		{"merge key", medium, "trust: keys", "<<: {trust: keys}", `a key must be a plain word`, ``},
		{"null", medium, "agent: {}", "agent: ", `menu[0].agent: no value`, `{}`},
		{"tag", medium, "trust: keys", "trust: !!binary a2V5cw==", `x.yaml:5: trust: explicit tag`, ``},
		{"NUL", medium, "trust: keys", `trust: "ke\0ys"`, `character U+0000`, ``},
		{"bidi", medium, "title: Memory test", `title: "Mem\u202eory"`, `character U+202E`, ``},
		{"not UTF-8", medium, "Memory", "Mem\xffory", `not UTF-8`, ``},
		{"newline in a title", medium, "title: Memory test", `title: "Memory\ntest"`, `menu[1].title: character U+000A`, ``},
		{"non-ASCII title", medium, "Memory", "Mémory", `menu[1].title: title`, ``},
		{"list as text", medium, "site: [http://10.0.2.2:8080]", "site: http://10.0.2.2:8080", `site: want a list`, `[http`},
		{"octal", medium, "trust: keys", "timeout: 010\ntrust: keys", `timeout: want a plain number`, ``},
		{"yes for a number", medium, "trust: keys", "timeout: yes\ntrust: keys", `timeout: want a plain number`, ``},
		{"timeout out of range", medium, "trust: keys", "timeout: 99999\ntrust: keys", `timeout: 99999 is not between`, ``},
		{"path out", medium, "trust: keys", "trust: ../keys", `trust: "../keys" is not a clean relative path`, `cannot leave`},
		{"absolute path", medium, "trust: keys", "trust: /etc/keys", `is not a clean relative path`, ``},
		{"no site", medium, "site: [http://10.0.2.2:8080]\n", "", `site: the agent has nobody to ask`, ``},
		{"site with password", medium, "http://10.", "http://u:hunter2@10.", `user name or password`, ``},
		{"site by ftp", medium, "http://10.", "ftp://10.", `scheme "ftp"`, ``},
		{"site without host", medium, "http://10.0.2.2:8080", "http://:80/", `want http://HOST/PATH`, ``},
		{"site's port", medium, "http://10.0.2.2:8080", "http://h:99999/", `port "99999" is not between 1 and 65535`, ``},
		{"site's port 0", medium, "http://10.0.2.2:8080", "http://h:0/", `port "0" is not between`, ``},
		{"console", medium, "trust: keys", "console: [ttyS0;reboot]\ntrust: keys", `console[0]: "ttyS0;reboot"`, ``},
		{"two consoles of a kind", medium, "trust: keys", "console: [tty0, ttyS1, \"ttyS0,115200\"]\ntrust: keys", `console[2]: "ttyS0,115200" is dark beside "ttyS1"`, `people look at`},
		{"compression", medium, "trust: keys", "compression: zst\ntrust: keys", `"zst" is not one of xz, zstd`, `did you mean "zstd"?`},
		{"no agent", medium, "agent: {}", "linux: {kernel: {file: k}}", `menu: no entry starts the agent`, ``},
		{"two kinds of entry", medium, "agent: {}}", "agent: {}, linux: {kernel: {file: k}}}", `menu[0]: want exactly one`, ``},
		{"kernel by file", medium, "deb: linux-image-amd64", "file: bzImage", `kernel: want a package`, ``},
		{"which file", medium, ", file: boot/memtest86+x64.bin", "", `which file of package "memtest86+"?`, `add "file:"`},
		{"package name", medium, "deb: memtest86+", "deb: ../memtest", `"../memtest" is not a package's name`, ``},
		{"mirror without keyring", medium, "trust: keys", "apt: {mirror: http://mirror.example/debian}\ntrust: keys", `a mirror needs the keys`, ``},
		{"keyring without mirror", medium, "trust: keys", "apt: {keyring: k.gpg}\ntrust: keys", `belong to a mirror`, ``},
		{"url without hash", site, "{file: extra/preseed.cpio}", "{url: http://h.example/x}", `a url needs the hash`, `sha256sum`},
		{"short hash", site, "{file: extra/preseed.cpio}", "{url: http://h.example/x, sha256: abcd}", `sha256 "abcd"`, ``},
		{"hash without url", site, "{file: extra/preseed.cpio}", "{file: x, sha256: abcd}", `only an input with url`, ``},
		{"entry name", site, "  installer:\n", "  Installer:\n", `entries.Installer`, ``},
		{"unknown entry", site, "default: [installer]", "default: [instaler]", `default[0]: no entry is called "instaler"`, `did you mean "installer"?`},
		{"entry twice", site, "default: [installer]", "default: [installer, installer]", `stands twice`, ``},
		{"empty match", site, `{mac: "52-54-00-AB-34-56"}`, `{}`, `machines[0].match: want at least one`, ``},
		{"bad mac", site, `52-54-00-AB-34-56`, `52-54-00`, `machines[0].match: mac "52-54-00" is not`, `six pairs of digits: "52:54:00:12:34:56"`},
		{"yes for true on a medium", medium, "trust: keys", "trust: keys\nrequire_time: yes", `require_time: want true or false, have "yes"`, ``},
		{"yes for true", site, "product: demo", "product: demo\ndocuments: yes", `documents: want true or false, have "yes"`, ``},
		{"two machines, one document", site, "machines:\n", "documents: true\nmachines:\n  - {match: {mac: \"52:54:00:ab:34:56\", serial: \"\"}, boot: [installer]}\n",
			`machines[1].match: has the same document as machines[0]`, `the first of uuid, serial and mac`},
		{"open quote in a command line", site, "priority=low", `pri"ority`, `a double quote is not closed`, ``},
	} {
		t.Run(m.name, m.refused)
	}
}

// mistake is one replacement in a recipe that is otherwise right.
type mistake struct {
	name, base, old, new string
	want, hint           string
}

// refused is a test that the mistake is found, and named as wanted.
func (m mistake) refused(t *testing.T) {
	text := strings.Replace(m.base, m.old, m.new, 1)
	if text == m.base {
		t.Fatal("the replacement changes nothing")
	}
	_, err := recipe.Parse("x.yaml", []byte(text))
	var e *recipe.Error
	if !errors.As(err, &e) {
		t.Fatalf("Parse = %v; want a *recipe.Error", err)
	}
	if !strings.Contains(e.Error(), m.want) || !strings.Contains(e.Hint, m.hint) {
		t.Errorf("error %q, hint %q;\nwant %q, %q", e, e.Hint, m.want, m.hint)
	}
	if strings.Contains(e.Error()+e.Hint, "hunter2") {
		t.Errorf("the error prints a password: %v", e)
	}
}

// TestBombs is threat 1: hostile recipes are refused fast.
func TestBombs(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += strings.ReplaceAll("C: &C [*P,*P,*P,*P,*P,*P,*P,*P,*P]\n", "C", string(c))
		bomb = strings.ReplaceAll(bomb, "P", string(c-1))
	}
	for name, text := range map[string]string{
		"aliases": "kind: medium\n" + bomb,
		"nesting": "kind: medium\nname: " + strings.Repeat("[", 60000),
		"empty":   "",
		"comment": "# nothing\n",
	} {
		start := time.Now()
		if _, err := recipe.Parse("x.yaml", []byte(text)); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if took := time.Since(start); took > 10*time.Second { // a bomb that goes off takes for ever
			t.Errorf("%s: took %v", name, took)
		}
	}
	big := filepath.Join(t.TempDir(), "big.yaml")
	if err := os.WriteFile(big, make([]byte, recipe.MaxSize+1), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := recipe.Load(big); err == nil || !strings.Contains(err.Error(), "at most 2097152 bytes") {
		t.Errorf("Load = %v", err)
	}
}

// TestSchemaIsCurrent compares the checked-in schema with the types.
func TestSchemaIsCurrent(t *testing.T) {
	want, err := recipe.Schema()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../../recipes/recipe.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("recipes/recipe.schema.json is old; run: farboot schema > recipes/recipe.schema.json\n%s", diff)
	}
}

func FuzzRecipe(f *testing.F) {
	f.Add([]byte(medium))
	f.Add([]byte(site))
	f.Add([]byte(mediumWithAll))
	f.Add([]byte(siteWithAll))
	f.Add([]byte(siteThatWorks))
	f.Add([]byte(mediumThatWorks))
	f.Add([]byte("kind: site\nentries: {a: {title: x}}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := recipe.Parse("x.yaml", text)
		if err != nil {
			var e *recipe.Error
			if !errors.As(err, &e) || e.Line < 1 {
				t.Errorf("error without a line: %v", err)
			}
			return
		}
		if (r.Medium == nil) == (r.Site == nil) {
			t.Error("want exactly one of medium and site")
		}
		for _, in := range r.Inputs() {
			if in.Line < 1 || strings.Contains(in.Name(), "../") && in.URL == "" {
				t.Errorf("input %+v", in)
			}
		}
	})
}

// TestLoadMissing names what could have been meant.
func TestLoadMissing(t *testing.T) {
	dir := t.TempDir()
	near := filepath.Join(dir, "netboot.yaml")
	if err := os.WriteFile(near, []byte(medium), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := recipe.Load(filepath.Join(dir, "netbot.yaml"))
	var e *recipe.Error
	if !errors.As(err, &e) || e.Hint != "there is "+near {
		t.Errorf("got %v, want a *recipe.Error that hints at %s", err, near)
	}
}
