package apt

import (
	"bytes"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/clearsign"

	"github.com/farboot/farboot/builder/source/aptsim"
)

func TestParseDate(t *testing.T) {
	want := time.Date(2026, 7, 1, 10, 16, 37, 0, time.UTC)
	for _, s := range []string{
		"Wed, 01 Jul 2026 10:16:37 UTC", "Wed, 1 Jul 2026 10:16:37 GMT",
		"Wed, 01 Jul 2026 10:16:37 Z", "Wed, 01 Jul 2026 12:16:37 +0200",
	} {
		if got, err := parseDate(s); err != nil || !got.Equal(want) {
			t.Errorf("%q is read as %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "2026-07-01T10:16:37Z", "Wed, 01 Jul 2026 10:16:37 CET", "Wed, 32 Jul 2026 10:16:37 UTC"} {
		if got, err := parseDate(s); err == nil {
			t.Errorf("%q is read as %v", s, got)
		}
	}
}

// TestIsFor holds what Debian and Ubuntu call their suites.
func TestIsFor(t *testing.T) {
	for _, c := range []struct {
		suite, codename, asked string
		want                   bool
	}{
		{"oldstable", "bookworm", "bookworm", true},
		{"oldstable", "bookworm", "oldstable", true},
		{"oldstable-updates", "bookworm-updates", "bookworm-updates", true},
		{"oldstable-security", "bookworm-security", "bookworm-security", true},
		{"oldstable-updates", "bookworm-updates", "bookworm", false},
		{"stable", "trixie", "bookworm", false},
		{"noble", "noble", "noble", true},
		{"noble-updates", "noble", "noble-updates", true},
		{"noble-updates", "noble", "noble", false},
		{"noble-security", "noble", "noble-updates", false},
		{"noble-proposed", "noble", "noble", false},
		{"noble-backports", "noble", "noble", false},
		{"", "acme", "acme", true},
		{"acme", "", "acme", true},
		{"", "", "", false},
	} {
		f := &releaseFile{suite: c.suite, codename: c.codename}
		if got := f.isFor(c.asked); got != c.want {
			t.Errorf("suite %q, codename %q: isFor(%q) = %v", c.suite, c.codename, c.asked, got)
		}
	}
}

// FuzzInRelease changes a signed release: it is refused, or says what it said.
func FuzzInRelease(f *testing.F) {
	key := aptsim.NewKey(f, "Archive Key")
	text := []byte("Codename: bookworm\nSuite: stable\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nArchitectures: amd64\n" +
		"SHA256:\n 0000000000000000000000000000000000000000000000000000000000000000 5 main/binary-amd64/Packages\n")
	f.Add(key.Sign(text))
	f.Add(aptsim.NewKey(f, "Foreign Key").Sign(text))
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n- -a\n-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"))
	k := keyring{files: []keyFile{{"key", key.Public}}}
	now := time.Now()
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := openRelease(data, k, now)
		if err == nil && (got.codename != "bookworm" || len(got.files) != 1) {
			t.Errorf("%q is read as %+v", data, got)
		}
		if block, _ := clearsign.Decode(data); block != nil {
			parseRelease(block.Bytes) // as if it were signed
		}
		parseRelease(bytes.TrimSpace(data))
	})
}
