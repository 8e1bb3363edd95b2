package apt

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/source/aptsim"
	"github.com/farboot/farboot/payload/object"
)

// attack is one change to a repository, and the class of the refusal.
type attack struct {
	change func(m *aptsim.Mirror)
	class  error
}

// run tries each attack twice. A mirror that is alone with it is refused. Where
// it comes first of two, the second one is used and the first is named.
func run(t *testing.T, attacks map[string]attack) {
	for _, name := range slices.Sorted(maps.Keys(attacks)) {
		t.Run(name, func(t *testing.T) {
			evil, good := aptsim.Debian(t, "bookworm"), aptsim.Debian(t, "bookworm")
			evil.Suite("bookworm").Add(aptsim.Package{Name: "hello", Version: "9.evil"})
			good.Suite("bookworm").Add(aptsim.Package{Name: "hello"})
			attacks[name].change(evil)
			evil.Publish()
			good.Publish()

			x, err := open(t, newClient(t), evil)
			if !errors.Is(err, attacks[name].class) || x != nil {
				t.Fatalf("got %v, want %v", err, attacks[name].class)
			}
			if !strings.Contains(err.Error(), evil.URL) {
				t.Errorf("the mirror is not named: %v", err)
			}

			x = mustOpen(t, evil, good)
			if p, err := x.Lookup("hello"); err != nil || p.Version != "1.0" {
				t.Errorf("got hello %s, %v, want that of the good mirror", p.Version, err)
			}
			if len(x.Skipped()) == 0 {
				t.Error("nothing is said about the evil mirror")
			}
			for _, err := range x.Skipped() {
				if !errors.Is(err, attacks[name].class) || !strings.Contains(err.Error(), evil.URL) {
					t.Errorf("the mirror is not named: %v", err)
				}
			}
		})
	}
}

// onRelease returns an attack on the text of bookworm's release before it is
// signed.
func onRelease(class error, edit func(text string) string) attack {
	return attack{func(m *aptsim.Mirror) { m.Suite("bookworm").EditRelease = edit }, class}
}

// onInRelease returns an attack on bookworm's InRelease.
func onInRelease(class error, edit func(data []byte) []byte) attack {
	return attack{func(m *aptsim.Mirror) { m.Suite("bookworm").EditInRelease = edit }, class}
}

// onPackages returns an attack on bookworm's index before it is hashed.
func onPackages(class error, before, after string) attack {
	return attack{func(m *aptsim.Mirror) {
		m.Suite("bookworm").EditPackages = func(text string) string { return strings.ReplaceAll(text, before, after) }
	}, class}
}

// field returns an attack that sets a field of bookworm's release.
func field(class error, name, value string) attack {
	return attack{func(m *aptsim.Mirror) { m.Suite("bookworm").Release[name] = value }, class}
}

// signedBy returns an attack that signs bookworm's release in another way.
func signedBy(sign func(text []byte) []byte) attack {
	return attack{func(m *aptsim.Mirror) { m.Suite("bookworm").Sign = sign }, ErrUntrusted}
}

// TestThreat06InRelease is about who signed, and what.
func TestThreat06InRelease(t *testing.T) {
	foreign := aptsim.NewKey(t, "Foreign Key")
	other := aptsim.New(t) // a source of the same machine, with a key of its own
	old := aptsim.NewKeyWith(t, "Old Key", time.Now().AddDate(-2, 0, 0), 365*24*time.Hour)
	g := newGPG(t)
	rsa := g.key("rsa", "rsa2048")
	sha1 := g.key("sha1", "rsa2048", "--digest-algo", "SHA1")
	weak := g.key("weak", "rsa1024")
	dsa := g.key("dsa", "dsa2048", "--digest-algo", "SHA256")
	byKey := func(k *aptsim.Key) attack {
		return attack{func(m *aptsim.Mirror) { m.Key = k }, ErrUntrusted}
	}

	run(t, map[string]attack{
		"unsigned":        signedBy(bytes.Clone),
		"empty":           onInRelease(ErrUntrusted, func([]byte) []byte { return nil }),
		"foreign key":     signedBy(foreign.Sign),
		"another source":  signedBy(other.Key.Sign),
		"expired key":     byKey(old),
		"SHA-1":           byKey(sha1),
		"RSA-1024":        byKey(weak),
		"DSA":             byKey(dsa),
		"web page":        onInRelease(ErrUntrusted, func([]byte) []byte { return []byte("<html>please log in</html>") }),
		"text before":     onInRelease(ErrUntrusted, func(b []byte) []byte { return append([]byte("Codename: bookworm\n"), b...) }),
		"newline before":  onInRelease(ErrUntrusted, func(b []byte) []byte { return append([]byte("\n"), b...) }),
		"text after":      onInRelease(ErrUntrusted, func(b []byte) []byte { return append(b, "Codename: bookworm\n"...) }),
		"second block":    onInRelease(ErrUntrusted, func(b []byte) []byte { return append(b, foreign.Sign([]byte("A: 1\n"))...) }),
		"bit flip":        onInRelease(ErrUntrusted, replace("Origin: Aptsim", "Origin: Aptsin")),
		"line added":      onInRelease(ErrUntrusted, replace("SHA256:", "Trusted: yes\nSHA256:")),
		"cut in the text": onInRelease(ErrUntrusted, func(b []byte) []byte { return b[:len(b)/3] }),
		"cut signature":   onInRelease(ErrUntrusted, func(b []byte) []byte { return b[:len(b)-60] }),
		"no signature":    onInRelease(ErrUntrusted, func(b []byte) []byte { return b[:bytes.Index(b, []byte("-----BEGIN PGP SIGNATURE"))] }),
		"extra header":    onInRelease(ErrUntrusted, replace("\n\n", "\nComment: x\n\n")),
		"nested block": onInRelease(ErrUntrusted, func(b []byte) []byte {
			return append([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nCodename: bookworm\n"), b...)
		}),
		"nested and signed": signedBy(func(text []byte) []byte {
			return foreign.Sign(append([]byte("A: 1\n"), text...))
		}),
		"detached signature of another text": onInRelease(ErrUntrusted, func(b []byte) []byte {
			i := bytes.Index(b, []byte("-----BEGIN PGP SIGNATURE"))
			o := foreign.Sign([]byte("other"))
			return append(bytes.Clone(b[:i]), o[bytes.Index(o, []byte("-----BEGIN PGP SIGNATURE")):]...)
		}),
		"escape code in a field": onRelease(ErrMalformed, func(s string) string { return s + "X: \x1b[2J\n" }),
		"second paragraph":       onRelease(ErrMalformed, func(s string) string { return s + "\nCodename: bookworm\n" }),
		"field twice":            onRelease(ErrMalformed, func(s string) string { return s + "codename: bookworm\n" }),
	})

	good := aptsim.Debian(t, "bookworm")
	good.Key = rsa
	good.Publish()
	if _, err := open(t, newClient(t), good); err != nil {
		t.Errorf("RSA-2048 with SHA-512, made by gpg: %v", err)
	}
}

// replace returns an edit of the first place where before stands.
func replace(before, after string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(before), []byte(after), 1) }
}

// TestThreat06ReadError: what a mirror sends before a connection breaks is not
// taken for all it has (CVE-2016-1252).
func TestThreat06ReadError(t *testing.T) {
	m := aptsim.Debian(t, "bookworm")
	m.Publish()
	data := m.File("dists/bookworm/InRelease")
	cfg, err := Configure(bookworm, "", aptsim.Machine(t, "bookworm", m))
	if err != nil {
		t.Fatal(err)
	}
	keys := cfg.Repositories[0].Mirrors[0].keys
	end := len(bytes.TrimSpace(data)) // the last newlines may be missing, nothing else
	for n := range end {
		if f, err := openRelease(data[:n], keys, time.Now()); err == nil {
			t.Fatalf("%d of %d bytes are taken as %+v", n, len(data), f)
		}
	}
	if _, err := openRelease(data[:end], keys, time.Now()); err != nil {
		t.Errorf("without the last newline: %v", err)
	}
}

// TestThreat07Freeze is about old states.
func TestThreat07Freeze(t *testing.T) {
	now := time.Now()
	run(t, map[string]attack{
		"Valid-Until is over":    field(ErrStale, "Valid-Until", aptsim.Stamp(now.Add(-time.Minute))),
		"Date in the future":     field(ErrStale, "Date", aptsim.Stamp(now.Add(2*time.Hour))),
		"Date missing":           field(ErrMalformed, "Date", ""),
		"Date without a zone":    field(ErrMalformed, "Date", "Sat, 11 Jul 2026 10:16:37"),
		"Date in a strange zone": field(ErrMalformed, "Date", "Sat, 11 Jul 2026 10:16:37 XYZ"),
		"Valid-Until is no date": field(ErrMalformed, "Valid-Until", "never"),
	})
}

// TestThreat07Rollback: a lock remembers how new the repositories were.
func TestThreat07Rollback(t *testing.T) {
	m := aptsim.Debian(t, "bookworm")
	newest := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	m.Suite("bookworm-updates").Release["Date"] = aptsim.Stamp(newest)
	m.Publish()
	c := newClient(t)
	x, err := open(t, c, m)
	if err != nil {
		t.Fatal(err)
	}
	if !x.Date().Equal(newest) {
		t.Errorf("Date is %s, want the newest of the three, %s", x.Date(), newest)
	}
	c.Floor = x.Date()
	if _, err := open(t, c, m); err != nil {
		t.Errorf("as new as before: %v", err)
	}
	c.Floor = x.Date().Add(time.Second)
	if x, err := open(t, c, m); !errors.Is(err, ErrStale) || x != nil {
		t.Errorf("older than before: %v", err)
	}
}

// TestThreat07Clock: the operator's clock decides, or the recipe's snapshot.
func TestThreat07Clock(t *testing.T) {
	m := aptsim.Debian(t, "bookworm")
	m.Publish()
	cfg, err := Configure(bookworm, "", aptsim.Machine(t, "bookworm", m))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	c := newClient(t)
	for name, at := range map[string]struct {
		clock, asOf time.Time
		want        error
	}{
		"now":                  {now, time.Time{}, nil},
		"half an hour behind":  {now.Add(-30 * time.Minute), time.Time{}, nil},
		"hours behind":         {now.Add(-3 * time.Hour), time.Time{}, ErrUntrusted},
		"1970":                 {time.Unix(0, 0), time.Time{}, ErrUntrusted},
		"next month":           {now.AddDate(0, 1, 0), time.Time{}, ErrStale},
		"snapshot, next month": {now.AddDate(0, 1, 0), now, nil},
		"snapshot too late":    {now, now.AddDate(0, 1, 0), ErrStale},
	} {
		c.Now = func() time.Time { return at.clock }
		cfg.AsOf = at.asOf
		if _, err := c.Open(t.Context(), cfg); !errors.Is(err, at.want) {
			t.Errorf("%s: got %v, want %v", name, err, at.want)
		}
	}
}

// TestThreat08MixAndMatch is about releases and indexes that do not belong
// together, or to what was asked for.
func TestThreat08MixAndMatch(t *testing.T) {
	run(t, map[string]attack{
		"another release":      field(ErrWrongSuite, "Codename", "trixie"),
		"suite of updates":     field(ErrWrongSuite, "Suite", "oldstable-updates"),
		"no codename":          field(ErrWrongSuite, "Codename", ""),
		"no amd64":             field(ErrWrongSuite, "Architectures", "arm64"),
		"updates as bookworm":  {func(m *aptsim.Mirror) { m.Suite("bookworm").Release = m.Suite("bookworm-updates").Release }, ErrWrongSuite},
		"no index":             onRelease(ErrMalformed, func(s string) string { return strings.ReplaceAll(s, "binary-amd64", "binary-i386") }),
		"only compressed ones": onRelease(ErrMalformed, func(s string) string { return strings.ReplaceAll(s, "Packages\n", "Other\n") }),
		"no hash":              onRelease(ErrMalformed, func(s string) string { return strings.ReplaceAll(s, "SHA256:", "SHA1:") }),
		"index twice":          onRelease(ErrMalformed, func(s string) string { return s + " " + strings.Repeat("0", 64) + " 5 main/binary-amd64/Packages\n" }),
		"negative size":        onRelease(ErrMalformed, func(s string) string { return s + " " + strings.Repeat("0", 64) + " -5 other\n" }),
		"short hash":           onRelease(ErrMalformed, func(s string) string { return s + " 00 5 other\n" }),
		"word missing":         onRelease(ErrMalformed, func(s string) string { return s + " " + strings.Repeat("0", 64) + " 5\n" }),
		"huge index": onRelease(ErrMalformed, func(s string) string {
			lines := strings.Split(s, "\n")
			for i, line := range lines {
				if words := strings.Fields(line); len(words) == 3 && strings.HasSuffix(line, "/Packages") {
					lines[i] = " " + words[0] + " 536870913 " + words[2]
				}
			}
			return strings.Join(lines, "\n")
		}),
		"other index": {func(m *aptsim.Mirror) {
			m.Suite("bookworm").EditIndex = func(end string, data []byte) []byte { return aptsim.Compress(t, end, []byte("Package: evil\n")) }
		}, object.ErrMismatch},
		"bit flip of an index": {func(m *aptsim.Mirror) {
			m.Suite("bookworm").EditIndex = func(_ string, data []byte) []byte { data = bytes.Clone(data); data[len(data)/2] ^= 1; return data }
		}, object.ErrMismatch},
		"short index": {func(m *aptsim.Mirror) {
			m.Suite("bookworm").EditIndex = func(_ string, data []byte) []byte { return data[:len(data)-1] }
		}, object.ErrMismatch},
		"long index": {func(m *aptsim.Mirror) {
			m.Suite("bookworm").EditIndex = func(_ string, data []byte) []byte { return append(bytes.Clone(data), 0) }
		}, object.ErrMismatch},
	})
}

// TestThreat08ByHash: the index changes after the InRelease was read. By its
// hash the one that belongs to the InRelease is still there; without, all is
// read once more.
func TestThreat08ByHash(t *testing.T) {
	for _, byHash := range []string{"yes", "no"} {
		m := aptsim.Debian(t, "bookworm")
		s := m.Suite("bookworm")
		s.Release["Acquire-By-Hash"] = byHash
		s.Add(aptsim.Package{Name: "hello"})
		m.Publish()
		changed := false
		m.OnRequest = func(path string) {
			if strings.HasPrefix(path, "dists/bookworm/main/") && !changed {
				changed = true
				s.Packages["main"][0].Version = "2.0"
				m.Publish()
			}
		}
		p, err := mustOpen(t, m).Lookup("hello")
		if want := map[string]string{"yes": "1.0", "no": "2.0"}[byHash]; err != nil || p.Version != want {
			t.Errorf("by hash: %s: got %s, %v, want %s", byHash, p.Version, err, want)
		}
		if asked := slices.ContainsFunc(m.Asked(), func(path string) bool { return strings.HasPrefix(path, "dists/bookworm/main/binary-amd64/by-hash/") }); asked != (byHash == "yes") {
			t.Errorf("by hash: %s: asked for %q", byHash, m.Asked())
		}
	}
}

// TestThreat09Packages is about signed indexes that say odd things.
func TestThreat09Packages(t *testing.T) {
	run(t, map[string]attack{
		"path out":            onPackages(ErrMalformed, "Filename: pool/", "Filename: ../pool/"),
		"path out in between": onPackages(ErrMalformed, "Filename: pool/", "Filename: pool/../../"),
		"absolute path":       onPackages(ErrMalformed, "Filename: pool/", "Filename: /pool/"),
		"URL as path":         onPackages(ErrMalformed, "Filename: pool/", "Filename: http://evil.example/pool/"),
		"blank in a path":     onPackages(ErrMalformed, "Filename: pool/", "Filename: pool /"),
		"no path":             onPackages(ErrMalformed, "Filename: ", "Other: "),
		"control character":   onPackages(ErrMalformed, "Maintainer: ", "Maintainer: \x1b]0;"),
		"carriage return":     onPackages(ErrMalformed, "made up", "made up\r"),
		"zero byte":           onPackages(ErrMalformed, "made up", "made\x00up"),
		"name with a slash":   onPackages(ErrMalformed, "Package: hello", "Package: he/lo"),
		"no name":             onPackages(ErrMalformed, "Package: hello\n", ""),
		"odd version":         onPackages(ErrMalformed, "Version: 9.evil", "Version: 9;evil"),
		"negative size":       onPackages(ErrMalformed, "Size: ", "Size: -"),
		"huge size":           onPackages(ErrMalformed, "Size: ", "Size: 99999999"),
		"size beyond int64":   onPackages(ErrMalformed, "Size: ", "Size: 99999999999999999999"),
		"no hash":             onPackages(ErrMalformed, "SHA256: ", "SHA1: "),
		"hash in upper case":  onPackages(ErrMalformed, "SHA256: ", "SHA256: A"),
		"field twice":         onPackages(ErrMalformed, "Size: ", "Size: 1\nSize: "),
	})
}

// TestThreat09Swap: a genuine package at the place of another one.
func TestThreat09Swap(t *testing.T) {
	m := aptsim.Debian(t, "bookworm")
	m.Suite("bookworm").Add(aptsim.Package{Name: "hello"}, aptsim.Package{Name: "world"})
	m.Publish()
	x := mustOpen(t, m)
	p, err := x.Lookup("hello")
	if err != nil {
		t.Fatal(err)
	}
	fetch := func() error {
		data, err := get(t.Context(), x.URLs(p)[0], 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		_, err = readAllCapped(object.NewReader(bytes.NewReader(data), p.Ref), "hello", 1<<20)
		return err
	}
	if err := fetch(); err != nil {
		t.Errorf("before: %v", err)
	}
	m.Set(p.Filename, m.File(strings.ReplaceAll(p.Filename, "hello", "world")))
	if err := fetch(); !errors.Is(err, object.ErrMismatch) {
		t.Errorf("after: %v", err)
	}
}

// TestThreat32Bomb: an index that expands to more than was signed.
func TestThreat32Bomb(t *testing.T) {
	bomb := bytes.Repeat([]byte("\n"), 8<<20)
	for _, end := range []string{".xz", ".gz"} {
		data := aptsim.Compress(t, end, bomb)
		f := indexFile{path: "Packages", end: end, ref: object.OfBytes(data), plain: object.Ref{Size: 1 << 20}}
		err := f.read(asFile(t, bytes.NewReader(data)), func(string, entry) {})
		if !errors.Is(err, object.ErrMismatch) || !strings.Contains(err.Error(), "more than the promised 1048576 bytes") {
			t.Errorf("%s: %v", end, err)
		}
	}
}
