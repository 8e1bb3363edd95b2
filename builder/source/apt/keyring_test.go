package apt

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/builder/source/aptsim"
)

// signedText is what the keys of these tests sign.
var signedText = []byte("Codename: bookworm\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nSHA256:")

// openWith opens a release with the keys of some files.
func openWith(signed []byte, at time.Time, files ...[]byte) error {
	var k keyring
	for i, data := range files {
		k.files = append(k.files, keyFile{fmt.Sprintf("file-%d", i), data})
	}
	_, err := openRelease(signed, k, at)
	return err
}

// TestKeyringForms: a keyring may be binary or armored, and holds several keys
// in either form; armored ones follow each other.
func TestKeyringForms(t *testing.T) {
	a, b, now := newEntity(t, "a"), newEntity(t, "b"), time.Now()
	signed := aptsim.SignAt(t, signedText, now, b)
	for name, files := range map[string][][]byte{
		"armored":               {armored(t, b)},
		"binary":                {binary(t, b)},
		"two armored blocks":    {append(armored(t, a), armored(t, b)...)},
		"two in one block":      {armored(t, a, b)},
		"two in binary":         {binary(t, a, b)},
		"two files":             {binary(t, a), armored(t, b)},
		"the same one in two":   {binary(t, b), armored(t, b)},
		"text around the block": {append([]byte("the key of b\n"), armored(t, b)...)},
	} {
		if err := openWith(signed, now, files...); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, files := range map[string][][]byte{
		"no file":     {},
		"empty":       {nil},
		"another key": {binary(t, a)},
		"text":        {[]byte("no key")},
		"a message":   {aptsim.Armor(t, "PGP MESSAGE", b.Serialize)},
		"cut":         {binary(t, b)[:100]},
		"secret key":  {secret(t, b)},
		"secret too":  {binary(t, b), secret(t, a)},
	} {
		if err := openWith(signed, now, files...); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSeveralSignatures: one by a key of the keyring is enough, wherever it
// stands and whatever the others are.
func TestSeveralSignatures(t *testing.T) {
	a, b, foreign, now := newEntity(t, "a"), newEntity(t, "b"), newEntity(t, "foreign"), time.Now()
	for name, signers := range map[string][]*openpgp.Entity{
		"first": {a, foreign}, "last": {foreign, a}, "all": {b, a}, "twice": {a, a},
	} {
		if err := openWith(aptsim.SignAt(t, signedText, now, signers...), now, binary(t, a, b)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err := openWith(aptsim.SignAt(t, signedText, now, foreign, foreign), now, binary(t, a, b))
	if !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), fmt.Sprintf("signed by %016[1]X, %016[1]X, none of which is in file-0", foreign.PrimaryKey.KeyId)) {
		t.Errorf("foreign signatures: %v", err)
	}
}

// TestKeyLife: a key must be good when it signs, and still at the moment of
// judgement.
func TestKeyLife(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	year := func(n int) time.Time { return now.AddDate(n, 0, 0) }
	a := newEntity(t, "a", func(c *packet.Config) {
		c.Time = func() time.Time { return year(-3) }
		c.KeyLifetimeSecs = 2 * 365 * 24 * 3600
	})
	whileGood := aptsim.SignAt(t, signedText, year(-2), a)
	for name, c := range map[string]struct {
		at   time.Time
		good bool
	}{
		"while the key was good":    {year(-2).Add(time.Hour), true},
		"now that it has expired":   {now, false},
		"before it signed":          {year(-2).AddDate(0, 0, -1), false},
		"before the key was made":   {year(-4), false},
		"a minute before it signed": {year(-2).Add(-time.Minute), true}, // clocks differ
	} {
		err := openWith(whileGood, c.at, binary(t, a))
		if c.good && err != nil || !c.good && !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// A renewed copy counts beside the outdated one.
	b := newEntity(t, "b", func(c *packet.Config) { c.Time = func() time.Time { return year(-2) } })
	outdated := binary(t, expiring(t, b, year(-2), 365*24*time.Hour))
	if err := openWith(aptsim.SignAt(t, signedText, now, b), now, outdated); !errors.Is(err, ErrUntrusted) {
		t.Errorf("outdated copy alone: %v", err)
	}
	if err := openWith(aptsim.SignAt(t, signedText, now, b), now, outdated, binary(t, b)); err != nil {
		t.Errorf("outdated copy before the renewed one: %v", err)
	}
}

// TestRevokedKey: a revocation counts in whatever copy of the key it stands,
// and for what the key signed before.
func TestRevokedKey(t *testing.T) {
	now := time.Now()
	a := newEntity(t, "a")
	good := binary(t, a)
	signed := aptsim.SignAt(t, signedText, now.Add(-time.Hour), a)
	if err := a.Revoke(packet.KeyCompromised, "stolen", nil); err != nil {
		t.Fatal(err)
	}
	revoked := binary(t, a)
	if err := openWith(signed, now, good); err != nil {
		t.Fatal(err)
	}
	for name, files := range map[string][][]byte{
		"revoked":       {revoked},
		"good first":    {good, revoked},
		"revoked first": {revoked, good},
	} {
		if err := openWith(signed, now, files...); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSignedByFingerprint: Signed-By may pick keys of the machine's.
func TestSignedByFingerprint(t *testing.T) {
	a, b := newEntity(t, "a"), newEntity(t, "b")
	root := t.TempDir()
	aptsim.WriteFile(t, root, "etc/apt/trusted.gpg.d/all.gpg", binary(t, a, b))
	k, err := sourceKeyring(root, source{signedBy: []string{fmt.Sprintf("%x!", b.PrimaryKey.Fingerprint)}})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	if _, err := openRelease(aptsim.SignAt(t, signedText, now, b), k, now); err != nil {
		t.Errorf("the key that is named: %v", err)
	}
	if _, err := openRelease(aptsim.SignAt(t, signedText, now, a), k, now); !errors.Is(err, ErrUntrusted) {
		t.Errorf("the other key: %v", err)
	}
}

// TestSHA1Binding: a key whose own signatures are SHA-1 signs nothing.
func TestSHA1Binding(t *testing.T) {
	g := newGPG(t)
	g.run(nil, "--cert-digest-algo", "SHA1", "--quick-gen-key", "a", "rsa2048", "sign", "never")
	signed := g.run(signedText, "--clear-sign", "--output", "-", "-")
	if err := openWith(signed, time.Now(), g.run(nil, "--export", "a")); !errors.Is(err, ErrUntrusted) {
		t.Errorf("got %v", err)
	}
}

// newEntity makes an Ed25519 key a year ago.
func newEntity(t *testing.T, name string, options ...func(*packet.Config)) *openpgp.Entity {
	t.Helper()
	made := time.Now().AddDate(-1, 0, 0)
	c := &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA, DefaultHash: crypto.SHA512, Time: func() time.Time { return made }}
	for _, o := range options {
		o(c)
	}
	e, err := openpgp.NewEntity(name, "", name+"@example.org", c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// expiring returns a copy of e whose own signature, as of a moment, gives it
// so long to live.
func expiring(t *testing.T, e *openpgp.Entity, at time.Time, life time.Duration) *openpgp.Entity {
	t.Helper()
	list, err := openpgp.ReadKeyRing(bytes.NewReader(secret(t, e)))
	if err != nil {
		t.Fatal(err)
	}
	c := list[0]
	seconds := uint32(life / time.Second)
	for _, identity := range c.Identities {
		for _, sig := range identity.SelfCertifications {
			sig.Packet.KeyLifetimeSecs = &seconds
			sig.Packet.CreationTime = at
			if err := sig.Packet.SignUserId(identity.UserId.Id, c.PrimaryKey, c.PrivateKey, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c
}

func binary(t *testing.T, entities ...*openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, e := range entities {
		if err := e.Serialize(&b); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func secret(t *testing.T, e *openpgp.Entity) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := e.SerializePrivateWithoutSigning(&b, nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func armored(t *testing.T, entities ...*openpgp.Entity) []byte {
	t.Helper()
	return aptsim.Armor(t, openpgp.PublicKeyType, func(w io.Writer) error {
		_, err := w.Write(binary(t, entities...))
		return err
	})
}
