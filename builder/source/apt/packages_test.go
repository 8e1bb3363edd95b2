package apt

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/source/apt/version"
)

func TestParseDepends(t *testing.T) {
	got, err := parseDepends("libc6 (>= 2.36), a:any | b:native(<<1:2~), perl (= 5),\n c:i386 (> 1) , d ( >> 0 ),")
	if err != nil {
		t.Fatal(err)
	}
	want := []AnyOf{
		{{"libc6", ">=", "2.36"}},
		{{"a", "", ""}, {"b", "<<", "1:2~"}},
		{{"perl", "=", "5"}},
		{{"c:i386", ">=", "1"}},
		{{"d", ">>", "0"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, s := range []string{"a |", "| a", "a b", "a (1)", "a (>= )", "a (>= 1", "a (=> 1)", "a [amd64]", "a (>= 1) (<< 2)", "a (= 1_2)", "-a", "a:", "a/b"} {
		if got, err := parseDepends(s); !errors.Is(err, ErrMalformed) || got != nil {
			t.Errorf("%q is read as %v, %v", s, got, err)
		}
	}
}

func TestParseProvides(t *testing.T) {
	got, err := parseProvides("mail-transport-agent, b (= 2)")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Relation{{"mail-transport-agent", "", ""}, {"b", "=", "2"}}, got); diff != "" {
		t.Error(diff)
	}
	for _, s := range []string{"a | b", "a (>= 2)"} {
		if got, err := parseProvides(s); !errors.Is(err, ErrMalformed) || got != nil {
			t.Errorf("%q is read as %v, %v", s, got, err)
		}
	}
}

// paragraph is a package as small as an index may have it.
const paragraph = "Package: NAME\nVersion: VERSION\nArchitecture: ARCH\nFilename: pool/a.deb\nSize: 5\n" +
	"SHA256: 0000000000000000000000000000000000000000000000000000000000000000\n\n"

func index(packages ...string) string {
	var b strings.Builder
	for _, p := range packages {
		words := strings.Fields(p)
		b.WriteString(strings.NewReplacer("NAME", words[0], "VERSION", words[1], "ARCH", words[2]).Replace(paragraph))
	}
	return b.String()
}

// TestReadPackages: of each name the highest version is kept, for amd64 and for
// all; of equal versions the first.
func TestReadPackages(t *testing.T) {
	text := index("a 1.9 amd64", "a 1.10 amd64", "a 1.2 all", "b 1 i386", "c 1 all", "c 1 amd64", "d 1~rc1 amd64", "d 1 amd64")
	got := map[string]string{}
	packages := map[string]entry{}
	err := readPackages(strings.NewReader(text), func(name string, e entry) {
		keepNewest(packages, name, e)
		got[name] = packages[name].version + " " + packages[name].arch
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"a": "1.10 amd64", "c": "1 all", "d": "1 amd64"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestIndexes: an archive may keep packages for all in an index of their own,
// and Debian's does not although it names all among its architectures.
func TestIndexes(t *testing.T) {
	const head = "Codename: a\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nArchitectures: all amd64\n"
	var list strings.Builder
	for _, name := range []string{"binary-amd64/Packages", "binary-amd64/Packages.gz", "binary-all/Packages", "binary-all/Packages.xz"} {
		list.WriteString(" " + strings.Repeat("0", 64) + " 5 main/" + name + "\n")
	}
	for text, want := range map[string][]string{
		head: {"main/binary-amd64/Packages.gz", "main/binary-all/Packages.xz"},
		head + "No-Support-for-Architecture-all: Packages\n": {"main/binary-amd64/Packages.gz"},
	} {
		f, err := parseRelease([]byte(text + "SHA256:\n" + list.String()))
		if err != nil {
			t.Fatal(err)
		}
		files, err := f.indexes("main")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, file := range files {
			got = append(got, file.path+file.end)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s%s", text, diff)
		}
	}
}

// FuzzPackages: whatever an index says, what is taken from it is sound.
func FuzzPackages(f *testing.F) {
	f.Add(index("a 1 amd64", "b 2 all"))
	f.Add(index("a 1 amd64") + "Package: b\nDepends: c (>= 1) | d\n")
	f.Fuzz(func(t *testing.T, text string) {
		readPackages(strings.NewReader(text), func(name string, e entry) {
			if strings.ContainsAny(name+e.version+e.filename, " \t\n\x1b") || version.Check(e.version) != nil || !isCleanPath(e.filename) || e.ref.Size < 0 {
				t.Errorf("%q: %+v", name, e)
			}
		})
		parseDepends(text)
		parseProvides(text)
	})
}
