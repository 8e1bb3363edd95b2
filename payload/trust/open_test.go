package trust_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

const manifest = trust.PurposeManifest

// roles builds a Store with the given manifest keys and threshold.
func roles(t testing.TB, root *trusttest.Key, threshold int, signers ...*trusttest.Key) *trust.Store {
	t.Helper()
	st := statement(t, root, signers...)
	st.Roles.Manifest.Threshold = threshold
	return anchor(t, root, st)
}

// statement lists root and the manifest keys, with thresholds of 1.
func statement(t testing.TB, root *trusttest.Key, signers ...*trusttest.Key) trust.Statement {
	t.Helper()
	st := trust.Statement{Version: 1, Epoch: 1, Product: "demo", Issued: issued, Expires: issued.AddDate(1, 0, 0)}
	st.Keys = []trust.Key{root.Public(t)}
	st.Roles.Root = trust.Role{Keys: []trust.Fingerprint{root.Fingerprint()}, Threshold: 1}
	st.Roles.Manifest.Threshold = 1
	for _, k := range signers {
		st.Keys = append(st.Keys, k.Public(t))
		st.Roles.Manifest.Keys = append(st.Roles.Manifest.Keys, k.Fingerprint())
	}
	return st
}

// anchor signs the statement and anchors it.
func anchor(t testing.TB, root *trusttest.Key, st trust.Statement) *trust.Store {
	t.Helper()
	data, err := trust.EncodeStatement(st)
	if err != nil {
		t.Fatal(err)
	}
	store, err := trust.Anchor(data, root.Sign(t, trust.PurposeStatement, data, issued))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// refused fails unless Open says ErrUntrusted and its text has every word.
func refused(t *testing.T, store *trust.Store, data, sigs []byte, words ...string) {
	t.Helper()
	v, err := store.Open(manifest, data, sigs, issued)
	if !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("Open = %v, want ErrUntrusted", err)
		return
	}
	if v.Bytes() != nil || v.Purpose() != "" || v.Signers() != nil {
		t.Errorf("Open returned %v beside the error", v)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("message %q does not say %q", err, w)
		}
	}
	if strings.ContainsFunc(err.Error(), func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("message %q has unprintable characters", err)
	}
}

// accepted fails unless Open returns exactly data, signed by the given keys.
func accepted(t *testing.T, store *trust.Store, data, sigs []byte, signers ...*trusttest.Key) {
	t.Helper()
	v, err := store.Open(manifest, data, sigs, issued)
	if err != nil {
		t.Errorf("Open: %v", err)
		return
	}
	if !bytes.Equal(v.Bytes(), data) {
		t.Errorf("Open changed the bytes")
	}
	var want []trust.Fingerprint
	for _, k := range signers {
		want = append(want, k.Fingerprint())
	}
	slices.Sort(want)
	if !slices.Equal(v.Signers(), want) {
		t.Errorf("Signers() = %v, want %v", v.Signers(), want)
	}
}

// TestUntrusted is threats 15 to 17: each case has one defect.
func TestUntrusted(t *testing.T) {
	site := trusttest.New(t, "demo", issued)
	foreign := trusttest.NewKey(t, "foreign", issued)
	data := []byte("{\"version\": 1}\n")
	good := site.Sign(t, data, issued)
	accepted(t, site.Store, data, good, site.Manifest)

	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	armored := new(bytes.Buffer)
	w, err := armor.Encode(armored, "PGP SIGNATURE", nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(good)
	w.Close()
	notations := func(n ...*packet.Notation) func(*packet.Config) {
		return func(c *packet.Config) { c.SignatureNotations = n }
	}
	purpose := func(value string) *packet.Notation {
		return &packet.Notation{Name: trust.Notation, Value: []byte(value), IsHumanReadable: true}
	}
	critical := &packet.Notation{Name: "other@example.invalid", IsCritical: true}
	sign := func(options ...func(*packet.Config)) []byte {
		return site.Manifest.Sign(t, manifest, data, issued, options...)
	}
	for _, c := range []struct {
		name string
		sigs []byte
		says string
	}{
		{"empty", nil, "not signed"},
		{"foreign", foreign.Sign(t, manifest, data, issued), "unknown key " + string(foreign.Fingerprint())},
		{"root key", site.Root.Sign(t, manifest, data, issued), "another role"},
		{"other file", site.Sign(t, []byte("other"), issued), "bad"},
		{"flipped", flipped, "bad"},
		{"truncated", good[:len(good)-1], "cut off"},
		{"header only", good[:1], "cut off"},
		{"garbage after", append(bytes.Clone(good), "garbage"...), "not a sequence"},
		{"zeros after", append(bytes.Clone(good), make([]byte, 100)...), "not a sequence"},
		{"garbage before", append([]byte("garbage"), good...), "not a sequence"},
		{"too large", append(bytes.Clone(good), make([]byte, trust.MaxSignatureSize)...), "at most 16384"},
		{"literal packet beside", append(bytes.Clone(good), 0xcb, 0), "type 11"},
		{"key beside", append(bytes.Clone(good), site.Manifest.Public(t).Key...), "type 6"},
		{"armored", armored.Bytes(), "armored text"},
		{"html", []byte("<html><body>portal</body></html>"), "not a sequence"},
		{"no purpose", sign(notations()), "no purpose"},
		{"empty purpose", sign(notations(purpose(""))), "another purpose"},
		{"wrong purpose", site.Manifest.Sign(t, trust.PurposeStatement, data, issued), "another purpose"},
		{"hostile purpose", sign(notations(purpose("\x1b[2J\u202e"))), "another purpose"},
		{"two purposes", sign(notations(purpose("boot-manifest"), purpose("trust-statement"))), "several purposes"},
		{"same purpose twice", sign(notations(purpose("boot-manifest"), purpose("boot-manifest"))), "several purposes"},
		{"critical notation", sign(notations(purpose("boot-manifest"), critical)), "critical notation"},
	} {
		t.Run(c.name, func(t *testing.T) { refused(t, site.Store, data, c.sigs, c.says) })
	}
	for name, changed := range map[string][]byte{
		"bit flip": []byte("{\"version\": 0}\n"), "CRLF": []byte("{\"version\": 1}\r\n"),
		"trailing blank": []byte("{\"version\": 1} \n"), "no newline": []byte("{\"version\": 1}"), "empty": nil,
	} {
		t.Run("data "+name, func(t *testing.T) { refused(t, site.Store, changed, good, "bad") })
	}
	if _, err := site.Store.Open("git-tag", data, good, issued); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("Open for an unknown purpose = %v", err)
	}
}

func TestCriticalPurposeIsKnown(t *testing.T) {
	site := trusttest.New(t, "demo", issued)
	data := []byte("x")
	sig := site.Manifest.Sign(t, manifest, data, issued, func(c *packet.Config) { c.SignatureNotations[0].IsCritical = true })
	accepted(t, site.Store, data, sig, site.Manifest)
}

// TestThreshold is threat 18.
func TestThreshold(t *testing.T) {
	root := trusttest.NewKey(t, "root", issued)
	a, b, c := trusttest.NewKey(t, "a", issued), trusttest.NewKey(t, "b", issued), trusttest.NewKey(t, "c", issued)
	stranger := trusttest.NewKey(t, "stranger", issued)
	if err := a.Entity.AddSigningSubkey(&packet.Config{
		Time: func() time.Time { return issued }, Algorithm: packet.PubKeyAlgoEdDSA,
	}); err != nil {
		t.Fatal(err)
	}
	store := roles(t, root, 2, a, b, c)
	data := []byte("data")
	by := func(k *trusttest.Key, o ...func(*packet.Config)) []byte {
		return k.Sign(t, manifest, data, issued, o...)
	}
	sigA, sigB, sigC := by(a), by(b), by(c)
	primaryA := by(a, func(c *packet.Config) { c.SigningKeyId = a.Entity.PrimaryKey.KeyId })
	bad := b.Sign(t, manifest, []byte("other"), issued)
	join := func(s ...[]byte) []byte { return bytes.Join(s, nil) }
	if bytes.Equal(sigA, primaryA) {
		t.Fatal("want one signature by a subkey and one by its primary")
	}

	accepted(t, store, data, join(sigA, sigB), a, b)
	accepted(t, store, data, join(sigB, sigA), a, b)
	accepted(t, store, data, join(sigC, sigB, sigA), a, b, c)
	accepted(t, store, data, join(bad, sigA, by(stranger), sigA, sigB), a, b)
	accepted(t, store, data, join(sigA, sigC, bad), a, c)

	refused(t, store, data, sigA, "signed by 1 of the 2 manifest keys")
	refused(t, store, data, join(sigA, sigA), "signed by 1 of the 2", "2 signatures")
	refused(t, store, data, join(sigA, primaryA), "signed by 1 of the 2")
	refused(t, store, data, join(sigA, bad), "signed by 1 of the 2", "bad")
	refused(t, store, data, join(sigA, by(stranger)), "unknown key")
	refused(t, store, data, join(sigA, by(root)), "another role")
	refused(t, store, data, bytes.Repeat(by(stranger), 20), "20 signatures", "and 16 more")
}

// TestSignedAt: the oldest of the newest by each key, in any order.
func TestSignedAt(t *testing.T) {
	root, a, b := trusttest.NewKey(t, "root", issued), trusttest.NewKey(t, "a", issued), trusttest.NewKey(t, "b", issued)
	store, data := roles(t, root, 2, a, b), []byte("data")
	sigs := [][]byte{
		a.Sign(t, manifest, data, issued), a.Sign(t, manifest, data, issued.Add(time.Hour)), b.Sign(t, manifest, data, issued.Add(2*time.Hour)),
	}
	for _, order := range [][3]int{{0, 1, 2}, {1, 0, 2}, {2, 1, 0}} {
		v, err := store.Open(manifest, data, slices.Concat(sigs[order[0]], sigs[order[1]], sigs[order[2]]), issued)
		if err != nil || !v.SignedAt().Equal(issued.Add(time.Hour)) {
			t.Errorf("order %v: SignedAt() = %v, %v", order, v.SignedAt(), err)
		}
	}
}

// TestBothRoles: a key may sign both kinds of file only where it is listed for
// both, and even then each signature has one purpose.
func TestBothRoles(t *testing.T) {
	root := trusttest.NewKey(t, "root", issued)
	st := statement(t, root)
	st.Roles.Manifest.Keys = []trust.Fingerprint{root.Fingerprint()}
	store := anchor(t, root, st)
	data := []byte("data")
	accepted(t, store, data, root.Sign(t, manifest, data, issued), root)
	refused(t, store, data, root.Sign(t, trust.PurposeStatement, data, issued), "another purpose")
}

// TestKeyTimes is threat 19: keys are judged as of the signature's date, hard
// revocations at any.
func TestKeyTimes(t *testing.T) {
	root := trusttest.NewKey(t, "root", issued)
	data := []byte("data")
	week := 7 * 24 * time.Hour
	lasting := func(c *packet.Config) { c.KeyLifetimeSecs = uint32(week / time.Second) }
	// expiring is valid for a week; unbound is the same key without that limit,
	// as a thief would use it.
	expiring := trusttest.NewKey(t, "expiring", issued, lasting)
	store := roles(t, root, 1, expiring)
	inTime := expiring.Sign(t, manifest, data, issued.Add(time.Hour))
	accepted(t, store, data, inTime, expiring)
	late := rawSignature(t, expiring.Entity.PrivateKey, data, issued.Add(2*week))
	refused(t, store, data, late, "expired", string(expiring.Fingerprint()))
	early := rawSignature(t, expiring.Entity.PrivateKey, data, issued.Add(-time.Second))
	refused(t, store, data, early, "before its key")
	accepted(t, store, data, append(late, inTime...), expiring)

	for _, c := range []struct {
		name   string
		reason packet.ReasonForRevocation
		fatal  bool
	}{{"compromised", packet.KeyCompromised, true}, {"no reason", packet.NoReason, true}, {"superseded", packet.KeySuperseded, false}, {"retired", packet.KeyRetired, false}} {
		t.Run(c.name, func(t *testing.T) {
			key := trusttest.NewKey(t, "key", issued.Add(-time.Hour))
			before := key.Sign(t, manifest, data, issued)
			after := rawSignature(t, key.Entity.PrivateKey, data, issued.Add(2*time.Hour))
			revoke := &packet.Config{Time: func() time.Time { return issued.Add(time.Hour) }}
			if err := key.Entity.Revoke(c.reason, "", revoke); err != nil {
				t.Fatal(err)
			}
			if c.fatal {
				if _, err := trust.EncodeStatement(statement(t, root, key)); !errors.Is(err, trust.ErrMalformed) {
					t.Errorf("EncodeStatement with a revoked key = %v, want ErrMalformed", err)
				}
				return
			}
			store := roles(t, root, 1, key)
			accepted(t, store, data, before, key)
			refused(t, store, data, after, "revoked")
		})
	}
}

// TestDoubts: the clock refuses nothing, but what it says is passed on.
func TestDoubts(t *testing.T) {
	root := trusttest.NewKey(t, "root", issued)
	key := trusttest.NewKey(t, "key", issued, func(c *packet.Config) { c.KeyLifetimeSecs = 30 * 86400 })
	store := roles(t, root, 1, key)
	data := []byte("data")
	sig := key.Sign(t, manifest, data, issued.Add(time.Hour), func(c *packet.Config) { c.SigLifetimeSecs = 86400 })
	for _, c := range []struct {
		name string
		now  time.Time
		want []string
	}{
		{"no clock", time.Time{}, nil},
		{"right clock", issued.Add(2 * time.Hour), nil},
		{"dead battery", time.Unix(86400, 0), []string{"the clock says 1970-01-02", "signed on 2026-11-21"}},
		{"signature expired", issued.AddDate(0, 0, 3), []string{"signature has expired"}},
		{"key expired", issued.AddDate(0, 2, 0), []string{"signature has expired"}},
		{"2040", time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC), []string{"trust statement 1 expired on 2027-11-21", "has expired"}},
	} {
		v, err := store.Open(manifest, data, sig, c.now)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(v.Doubts()) != len(c.want) {
			t.Errorf("%s: Doubts() = %q, want %q", c.name, v.Doubts(), c.want)
			continue
		}
		for i, d := range v.Doubts() {
			if !strings.Contains(d, c.want[i]) {
				t.Errorf("%s: doubt %q, want %q", c.name, d, c.want[i])
			}
		}
		if future := c.now.Before(issued); future && v.Expired() != nil || !future && !slices.Equal(v.Expired(), v.Doubts()) {
			t.Errorf("%s: Expired() = %q of %q", c.name, v.Expired(), v.Doubts())
		}
	}
	plain := key.Sign(t, manifest, data, issued.Add(time.Hour))
	v, err := store.Open(manifest, data, plain, issued.AddDate(0, 2, 0))
	if err != nil || len(v.Doubts()) != 1 || !strings.Contains(v.Doubts()[0], "no longer valid") {
		t.Errorf("expired key: Doubts() = %q, %v", v.Doubts(), err)
	}
}

// TestVerifiedIsACopy: nobody can change the bytes after the check.
func TestVerifiedIsACopy(t *testing.T) {
	site := trusttest.New(t, "demo", issued)
	data := []byte("data")
	v, err := site.Store.Open(manifest, data, site.Sign(t, data, issued), issued)
	if err != nil {
		t.Fatal(err)
	}
	data[0] = 'X'
	v.Bytes()[1] = 'X'
	if string(v.Bytes()) != "data" {
		t.Errorf("Bytes() = %q", v.Bytes())
	}
	site.Store.Statement().Roles.Manifest.Keys[0] = "X"
	site.Store.Statement().Keys[0].Key[0] = 0
	if _, err := site.Store.Open(manifest, v.Bytes(), site.Sign(t, v.Bytes(), issued), issued); err != nil {
		t.Errorf("Store changed through Statement(): %v", err)
	}
}
