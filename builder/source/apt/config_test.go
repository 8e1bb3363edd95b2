package apt

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source/aptsim"
)

// bookworm is what a recipe without "apt:" asks for.
var bookworm = recipe.Apt{Suite: "bookworm", Components: []string{"main"}}

// machine returns a root folder with the files of testdata/machines/<name>. A
// key lies where the fixtures expect one, and stands for the line KEY.
func machine(t *testing.T, name string) string {
	t.Helper()
	archive, err := txtar.ParseFile(filepath.Join("testdata/machines", name+".txtar"))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	key := aptsim.NewKey(t, name).Public
	aptsim.WriteFile(t, root, "usr/share/keyrings/archive.gpg", key)
	aptsim.WriteFile(t, root, "etc/apt/trusted.gpg.d/archive.asc", key)
	aptsim.WriteFile(t, root, "etc/apt/trusted.gpg", []byte("a keybox, which apt ignores as well"))
	embedded := " " + strings.ReplaceAll(strings.TrimSpace(string(key)), "\n", "\n ")
	embedded = strings.ReplaceAll(embedded, "\n \n", "\n .\n")
	for _, f := range archive.Files {
		aptsim.WriteFile(t, root, f.Name, []byte(strings.ReplaceAll(string(f.Data), "\nKEY\n", "\n"+embedded+"\n")))
	}
	return root
}

// repositories writes what a Config has, one line a mirror.
func repositories(c *Config) []string {
	var lines []string
	for _, r := range c.Repositories {
		for _, m := range r.Mirrors {
			lines = append(lines, r.Repo+" "+r.Suite+" "+m.URL)
		}
	}
	return lines
}

func TestConfigureFromMachine(t *testing.T) {
	for name, want := range map[string][]string{
		"debian-12": {
			"archive bookworm http://deb.example.org/debian",
			"archive bookworm-updates http://deb.example.org/debian",
			"security bookworm-security http://security.example.org/debian-security",
		},
		"debian-13": {
			"archive bookworm https://one.example.org/debian",
			"archive bookworm http://two.example.org/debian",
			"archive bookworm-updates https://one.example.org/debian",
			"archive bookworm-updates http://two.example.org/debian",
			"security bookworm-security http://security.example.org/debian-security",
		},
		"stable": {
			"archive bookworm http://bookworm.example.org/debian",
			"archive bookworm http://deb.example.org/debian",
			"archive bookworm-updates http://bookworm.example.org/debian",
			"archive bookworm-updates http://deb.example.org/debian",
			"security bookworm-security http://security.example.org",
		},
		"debian-cloud": {
			"archive bookworm https://one.example.org/debian",
			"archive bookworm http://two.example.org/debian",
			"archive bookworm-updates https://one.example.org/debian",
			"archive bookworm-updates http://two.example.org/debian",
			"security bookworm-security https://one.example.org/debian-security",
		},
		"ubuntu": {
			"archive bookworm http://archive.example.org/ubuntu",
			"archive bookworm-updates http://archive.example.org/ubuntu",
			"security bookworm-security http://security.example.org/ubuntu",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := Configure(bookworm, "", machine(t, name))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, repositories(c)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestConfigureWithoutSource(t *testing.T) {
	for name, want := range map[string]string{
		"minimal":     `no apt source for "bookworm-updates": none of the 2 sources below ROOT/etc/apt is for a suite bookworm-updates, stable-updates, oldstable-updates, testing-updates; set mirror, security and keyring under apt: in the recipe`,
		"no-security": `no apt source for "bookworm-security": none of the 2 sources below ROOT/etc/apt is for a suite bookworm-security, stable-security, oldstable-security, testing-security; set mirror, security and keyring under apt: in the recipe`,
	} {
		root := machine(t, name)
		c, err := Configure(bookworm, "", root)
		if !errors.Is(err, ErrNoSource) || c != nil {
			t.Fatalf("%s: got %v, %v", name, c, err)
		}
		if got := strings.ReplaceAll(err.Error(), root, "ROOT"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

// TestConfigureBrokenMachine: what apt would stumble over is named by file and
// line.
func TestConfigureBrokenMachine(t *testing.T) {
	for name, c := range map[string]struct{ file, text, want string }{
		"type":      {"sources.list", "deb http://a.example x y\nrpm http://a.example x y\n", `sources.list:2: "rpm" is not a type of source`},
		"no suite":  {"sources.list.d/a.list", "deb http://a.example\n", "a.list:1: want deb"},
		"deb822":    {"sources.list.d/a.sources", "Types: deb\nURIs http://a.example\n", "a.sources: not deb822: line 2"},
		"no key":    {"sources.list", lines("deb [signed-by=/nokey.gpg] http://a.example bookworm", "-updates", "-security"), "sources.list:1: keyring: open"},
		"bad key":   {"sources.list", lines("deb [signed-by=/etc/apt/sources.list] http://a.example bookworm", "-updates", "-security"), "sources.list:1: keyring /etc/apt/sources.list: want OpenPGP public keys"},
		"no keys":   {"sources.list", lines("deb http://a.example bookworm", "-updates", "-security"), "sources.list:1: the machine has no trusted keys"},
		"no list":   {"sources.list", lines("deb mirror+file:/no.list bookworm", "-updates", "-security"), "sources.list:1: mirror list: open"},
		"bad list":  {"sources.list", lines("deb mirror+file:/etc/apt/sources.list bookworm", "-updates", "-security"), "no http or https URI"},
		"other key": {"sources.list", lines("deb [signed-by=0123456789ABCDEF0123456789ABCDEF01234567] http://a.example bookworm", "-updates", "-security"), "sources.list:1: "},
		"too long":  {"sources.list", strings.Repeat("#", maxConfFile+1), "sources.list: more than"},
	} {
		root := t.TempDir()
		aptsim.WriteFile(t, root, "etc/apt/"+c.file, []byte(c.text))
		_, err := Configure(bookworm, "", root)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

// lines repeats a source for several suites.
func lines(source string, suffixes ...string) string {
	var b strings.Builder
	for _, s := range suffixes {
		b.WriteString(source + s + " main\n")
	}
	return b.String()
}

func TestConfigureFromRecipe(t *testing.T) {
	project := t.TempDir()
	aptsim.WriteFile(t, project, "keys/archive.asc", aptsim.NewKey(t, "archive").Public)
	a := recipe.Apt{
		Suite: "bookworm", Components: []string{"main"}, Keyring: "keys/archive.asc",
		Mirror: "http://deb.example.org/debian/", Security: "http://security.example.org/",
		Snapshot: "2026-05-20T00:00:00Z",
	}
	c, err := Configure(a, project, "/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"archive bookworm http://deb.example.org/debian",
		"archive bookworm-updates http://deb.example.org/debian",
		"security bookworm-security http://security.example.org",
	}
	if diff := cmp.Diff(want, repositories(c)); diff != "" {
		t.Error(diff)
	}
	if want := time.Date(2026, 5, 20, 0, 0, 0, 0, time.UTC); !c.AsOf.Equal(want) {
		t.Errorf("as of %s, want %s", c.AsOf, want)
	}

	a.Security = ""
	if c, err = Configure(a, project, "/nowhere"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want[:1], repositories(c)); diff != "" {
		t.Errorf("a mirror without security: %s", diff)
	}

	for _, keyring := range []string{"keys/none.asc", "../archive.asc", "/etc/passwd", ""} {
		a.Keyring = keyring
		if c, err := Configure(a, project, "/nowhere"); err == nil || c != nil {
			t.Errorf("keyring %q: got %v, %v", keyring, c, err)
		}
	}
}

func TestURLs(t *testing.T) {
	c := &Config{Suite: "bookworm", Repositories: []Repository{
		{RepoArchive, "bookworm", []Mirror{{URL: "http://a.example/debian"}, {URL: "https://b.example"}}},
	}}
	got, err := c.URLs(RepoArchive, "pool/main/g/g++/g++_1%3a2~rc#1?_amd64.deb")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"http://a.example/debian/pool/main/g/g++/g++_1%253a2~rc%231%3F_amd64.deb",
		"https://b.example/pool/main/g/g++/g++_1%253a2~rc%231%3F_amd64.deb",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := c.URLs(RepoSecurity, "pool/a"); !errors.Is(err, ErrNoSource) {
		t.Errorf("unknown repository: %v", err)
	}
	for _, name := range []string{"", ".", "..", "../a", "/a", "a/../../b", "a//b", "a/", "./a", `a\b`, "a b", "a\nb", "\u00e4"} {
		if _, err := c.URLs(RepoArchive, name); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// FuzzSources feeds configuration files in both formats: whatever comes out is
// one line's or paragraph's, and complete.
func FuzzSources(f *testing.F) {
	f.Add("deb [arch=amd64,arm64 signed-by=/a.gpg] http://a.example/debian bookworm main\n")
	f.Add("Types: deb\nURIs: http://a.example\nSuites: a b\nSigned-By:\n -----BEGIN\n .\n x\n")
	f.Add("deb cdrom:[a b]/ c d\ndeb [ a b")
	f.Fuzz(func(t *testing.T, text string) {
		list, _ := parseList("f", []byte(text))
		paragraphs, _ := parseSources("f", []byte(text))
		for _, s := range append(list, paragraphs...) {
			if s.suite == "" || strings.ContainsAny(s.uri+s.suite, "\n\r") {
				t.Errorf("%+v", s)
			}
		}
		choose(append(list, paragraphs...), []string{"bookworm", "", "stable"})
	})
}
