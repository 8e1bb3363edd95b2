package apt

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/source/aptsim"
)

// archive is a mirror with packages in all three suites.
func archive(t *testing.T) *aptsim.Mirror {
	t.Helper()
	m := aptsim.Debian(t, "bookworm")
	m.Suite("bookworm").Add(
		aptsim.Package{Name: "hello", Version: "1.0-1", Fields: map[string]string{"Depends": "libc6 (>= 2) | musl", "Pre-Depends": "dpkg", "Provides": "greeter (= 1)"}},
		aptsim.Package{Name: "updated", Version: "1.0"},
		aptsim.Package{Name: "secured", Version: "1.0"},
		aptsim.Package{Name: "outrun", Version: "2.0"},
		aptsim.Package{Name: "same", Version: "1.0"},
		aptsim.Package{Name: "epoch", Version: "1:1.0"},
		aptsim.Package{Name: "twice", Version: "1.9", Arch: "all"},
		aptsim.Package{Name: "twice", Version: "1.10"},
	)
	m.Suite("bookworm-updates").Add(
		aptsim.Package{Name: "updated", Version: "1.0+deb12u1"},
		aptsim.Package{Name: "secured", Version: "1.0+deb12u1"},
	)
	m.Suite("bookworm-security").Add(
		aptsim.Package{Name: "secured", Version: "1.0+deb12u2"},
		aptsim.Package{Name: "outrun", Version: "2.0~deb12u1"},
		aptsim.Package{Name: "same", Version: "1.0"},
		aptsim.Package{Name: "epoch", Version: "9.0"},
	)
	m.Publish()
	return m
}

func TestLookup(t *testing.T) {
	x := mustOpen(t, archive(t))
	for name, want := range map[string]string{
		"hello":   "1.0-1 archive",
		"updated": "1.0+deb12u1 archive",
		"secured": "1.0+deb12u2 security",
		"outrun":  "2.0 archive",
		"same":    "1.0 archive",
		"epoch":   "1:1.0 archive",
		"twice":   "1.10 archive",
	} {
		p, err := x.Lookup(name)
		if got := p.Version + " " + p.Repo; err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", name, got, err, want)
		}
	}
	p, err := x.Lookup("hello")
	if err != nil {
		t.Fatal(err)
	}
	want := Package{
		Name: "hello", Version: "1.0-1", Arch: "amd64", Filename: "pool/bookworm/hello_1.0-1_amd64.deb", Repo: RepoArchive,
		Ref: p.Ref, PreDepends: []AnyOf{{{"dpkg", "", ""}}}, Depends: []AnyOf{{{"libc6", ">=", "2"}, {"musl", "", ""}}},
		Provides: []Relation{{"greeter", "=", "1"}},
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
}

func TestLookupNotFound(t *testing.T) {
	x := mustOpen(t, archive(t))
	const read = ` in bookworm, bookworm-updates, bookworm-security (main)`
	for name, want := range map[string]string{
		"helo":    `no such package "helo"` + read + `: did you mean "hello"?`,
		"greeter": `no such package "greeter"` + read + `: it is a virtual package; name one that provides it: hello`,
		"xyz":     `no such package "xyz"` + read,
	} {
		_, err := x.Lookup(name)
		if !errors.Is(err, ErrNotFound) || err.Error() != want {
			t.Errorf("got %v\nwant %s", err, want)
		}
	}
}

// TestOpenFormats reads indexes in every format.
func TestOpenFormats(t *testing.T) {
	for _, formats := range [][]string{{".gz"}, {""}, {".xz", ".gz", ""}} {
		m := archive(t)
		for _, suffix := range []string{"", "-updates", "-security"} {
			m.Suite("bookworm" + suffix).Formats = formats
		}
		m.Publish()
		if _, err := mustOpen(t, m).Lookup("hello"); err != nil {
			t.Errorf("%q: %v", formats, err)
		}
	}
}

// TestOpenComponents: every component must be there, in every suite.
func TestOpenComponents(t *testing.T) {
	m := archive(t)
	firmware := bookworm
	firmware.Components = []string{"main", "non-free-firmware"}
	cfg, err := Configure(firmware, "", aptsim.Machine(t, "bookworm", m))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newClient(t).Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "no non-free-firmware/binary-amd64/Packages") {
		t.Errorf("missing component: %v", err)
	}
	for _, suffix := range []string{"", "-updates", "-security"} {
		m.Suite("bookworm" + suffix).Packages["non-free-firmware"] = []aptsim.Package{{Name: "firmware" + suffix}}
	}
	m.Publish()
	x, err := newClient(t).Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"hello", "firmware", "firmware-security"} {
		if _, err := x.Lookup(name); err != nil {
			t.Error(err)
		}
	}
}

// TestOpenMissingSuite: -updates and -security must be there, or the machine
// that built last week would see fewer fixes today and not know.
func TestOpenMissingSuite(t *testing.T) {
	m := aptsim.New(t)
	m.Suite("bookworm")
	m.Suite("bookworm-security")
	m.Publish()
	if _, err := open(t, newClient(t), m); err == nil || !strings.Contains(err.Error(), "bookworm-updates/InRelease: 404") {
		t.Errorf("got %v", err)
	}
}

// TestAsApt lets apt itself read the mirror, with the same configuration, and
// choose its candidates.
func TestAsApt(t *testing.T) {
	root := aptsim.Machine(t, "bookworm", archive(t))
	cfg, err := Configure(bookworm, "", root)
	if err != nil {
		t.Fatal(err)
	}
	x, err := newClient(t).Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	candidates := aptCandidates(t, root, "hello", "updated", "secured", "outrun", "same", "epoch", "twice")
	for name, want := range candidates {
		if p, err := x.Lookup(name); err != nil || p.Version != want {
			t.Errorf("%s: got %s, %v; apt would take %s", name, p.Version, err, want)
		}
	}
	if len(candidates) != 7 {
		t.Errorf("apt knows %v", candidates)
	}
}

// aptCandidates returns the versions that apt would install on the machine
// whose root folder is root.
func aptCandidates(t *testing.T, root string, names ...string) map[string]string {
	t.Helper()
	for _, dir := range []string{"var/lib/apt/lists/partial", "var/lib/dpkg", "var/cache/apt/archives/partial", "etc/apt/preferences.d"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	aptsim.WriteFile(t, root, "var/lib/dpkg/status", nil)
	// A file, and not options: keyrings are then sought below the root as well.
	aptsim.WriteFile(t, root, "apt.conf", []byte(`Dir "`+root+`"; Dir::State::status "`+root+`/var/lib/dpkg/status";
		APT::Architecture "amd64"; APT::Architectures { "amd64"; }; APT::Sandbox::User "root"; Acquire::Languages "none";`))
	run := func(name string, args ...string) string {
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(root, "apt.conf"), "LC_ALL=C")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s %q (Debian package apt): %v\n%s", name, args, err, out)
		}
		return string(out)
	}
	// Signed-By is an absolute path for apt, which has no root but Dir.
	sources := filepath.Join(root, "etc/apt/sources.list.d/aptsim.sources")
	text, err := os.ReadFile(sources)
	if err != nil {
		t.Fatal(err)
	}
	aptsim.WriteFile(t, root, "etc/apt/sources.list.d/aptsim.sources", []byte(strings.ReplaceAll(string(text), "Signed-By: /", "Signed-By: "+root+"/")))
	run("apt-get", "update")
	candidates := map[string]string{}
	name := ""
	for line := range strings.Lines(run("apt-cache", append([]string{"policy"}, names...)...)) {
		if !strings.HasPrefix(line, " ") {
			name = strings.TrimSuffix(strings.TrimSpace(line), ":")
		}
		if v, ok := strings.CutPrefix(line, "  Candidate: "); ok {
			candidates[name] = strings.TrimSpace(v)
		}
	}
	return candidates
}
