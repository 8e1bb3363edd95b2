package trust

import (
	"bytes"
	"crypto"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/ed25519"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// fuzzAt is when the fuzzers' key was made and signs.
var fuzzAt = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// fuzzKey returns the same key each time: fuzzing runs in several processes,
// and what one has signed must be good in another.
func fuzzKey(f *testing.F) *openpgp.Entity {
	f.Helper()
	key, err := ed25519.GenerateKey(bytes.NewReader(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	priv := packet.NewEd25519PrivateKey(fuzzAt, key)
	entity := &openpgp.Entity{PrimaryKey: &priv.PublicKey, PrivateKey: priv, Identities: map[string]*openpgp.Identity{}}
	if err := entity.AddUserId("fuzz", "", "", fuzzConfig("")); err != nil {
		f.Fatal(err)
	}
	return entity
}

// fuzzConfig makes signatures of purpose p without chance.
func fuzzConfig(p Purpose) *packet.Config {
	salted := false
	return &packet.Config{
		Time: func() time.Time { return fuzzAt }, DefaultHash: crypto.SHA512, NonDeterministicSignaturesViaNotation: &salted,
		SignatureNotations: []*packet.Notation{{Name: Notation, Value: []byte(p), IsHumanReadable: true}},
	}
}

func fuzzSign(t testing.TB, entity *openpgp.Entity, p Purpose, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := openpgp.DetachSign(&out, []*openpgp.Entity{entity}, bytes.NewReader(data), fuzzConfig(p)); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// fuzzSite returns a statement with one key for both roles, and a signature.
func fuzzSite(f *testing.F) (store *Store, statement, data, sig []byte) {
	f.Helper()
	entity := fuzzKey(f)
	var key bytes.Buffer
	if err := entity.Serialize(&key); err != nil {
		f.Fatal(err)
	}
	role := Role{Keys: []Fingerprint{fingerprint(entity.PrimaryKey)}, Threshold: 1}
	st := Statement{
		Version: 1, Epoch: 1, Product: "demo", Issued: fuzzAt, Expires: fuzzAt.AddDate(1, 0, 0),
		Keys: []Key{{Fingerprint: role.Keys[0], Key: key.Bytes()}}, Roles: Roles{Root: role, Manifest: role},
		Revoked: Revoked{
			Keys:    []RevokedKey{{Fingerprint: Fingerprint(strings.Repeat("A", 40)), Reason: "stolen", Since: fuzzAt}},
			Objects: []RevokedObject{{Reason: "CVE-2026-0001", Since: fuzzAt}},
		},
	}
	statement, err := EncodeStatement(st)
	if err != nil {
		f.Fatal(err)
	}
	data = []byte("data")
	return &Store{statement: st}, statement, data, fuzzSign(f, entity, PurposeManifest, data)
}

// FuzzOpen: whatever the signature file holds, Open does not panic, and what it
// lets through is the bytes that were signed and no others.
func FuzzOpen(f *testing.F) {
	store, _, data, sig := fuzzSite(f)
	f.Add(data, sig)
	f.Add(data, append(bytes.Clone(sig), sig...))
	f.Add(data, []byte("-----BEGIN PGP SIGNATURE-----"))
	f.Add(data, []byte{0x88, 0x01, 0x04, 0xc2, 0xff, 0, 0, 0, 1, 4})
	f.Fuzz(func(t *testing.T, got, sigs []byte) {
		v, err := store.Open(PurposeManifest, got, sigs, time.Now())
		if err != nil {
			if !errors.Is(err, ErrUntrusted) || v.Bytes() != nil {
				t.Fatalf("Open = %q, %v", v.Bytes(), err)
			}
			return
		}
		if !bytes.Equal(v.Bytes(), data) || len(v.Signers()) != 1 {
			t.Fatalf("Open let %q through, signed by %v", v.Bytes(), v.Signers())
		}
	})
}

// FuzzStatement: what is decoded can be encoded and means the same again.
func FuzzStatement(f *testing.F) {
	_, statement, _, _ := fuzzSite(f)
	f.Add(statement)
	f.Add(regexp.MustCompile(`(?s)"revoked": .*`).ReplaceAll(statement, []byte(`"revoked": {"keys": [], "objects": []}}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := decodeStatement(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if st.Version < 1 || st.Epoch < 1 || len(st.Keys) > MaxKeys || max(len(st.Revoked.Keys), len(st.Revoked.Objects)) > MaxRevoked {
			t.Fatalf("beyond the limits: %+v", st)
		}
		if st.Roles.Root.Threshold < 1 || st.Roles.Manifest.Threshold > len(st.Roles.Manifest.Keys) {
			t.Fatalf("thresholds %+v", st.Roles)
		}
		again, err := EncodeStatement(st)
		if err != nil {
			return // whole seconds may leave nothing between issue and expiry
		}
		st2, err := decodeStatement(again)
		if err != nil {
			t.Fatal(err)
		}
		third, err := EncodeStatement(st2)
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("encoding is not stable: %v", err)
		}
	})
}

// FuzzAdvance: nothing follows statement 1 but what its root key signed, and if
// that key signs anything at all, what follows obeys the rules.
func FuzzAdvance(f *testing.F) {
	store, statement, _, _ := fuzzSite(f)
	entity, before := fuzzKey(f), store.Statement()
	edit := func(from, to string) []byte {
		return bytes.Replace(statement, []byte(from), []byte(to), 1)
	}
	next := edit(`"version": 1`, `"version": 2`)
	sig := fuzzSign(f, entity, PurposeStatement, next)
	if _, err := store.Advance(next, sig); err != nil {
		f.Fatal(err)
	}
	f.Add(next, sig)
	f.Add(edit(`"version": 1`, `"version": 3`), sig)
	f.Add(bytes.Replace(next, []byte(`"epoch": 1`), []byte(`"epoch": 2`), 1), sig)
	f.Add(bytes.Replace(next, []byte("AAAA"), []byte("BAAA"), 1), sig)
	f.Add(bytes.Replace(next, []byte("demo"), []byte("evil"), 1), sig)
	f.Fuzz(func(t *testing.T, data, sigs []byte) {
		if advance(t, store, data, sigs) != nil && !bytes.Equal(data, next) {
			t.Fatalf("Advance let %q through", data)
		}
		got := advance(t, store, data, fuzzSign(t, entity, PurposeStatement, data))
		if got == nil {
			return
		}
		after := got.Statement()
		if after.Version != 2 || after.Product != "demo" || after.Epoch < 1 || after.Epoch > 2 || after.Issued.Before(fuzzAt) {
			t.Fatalf("Advance to %+v", after)
		}
		for _, k := range before.Revoked.Keys {
			if _, ok := after.Revoked.key(k.Fingerprint); !ok {
				t.Fatalf("key %s is no longer revoked", k.Fingerprint)
			}
		}
		for _, o := range before.Revoked.Objects {
			if _, ok := got.Revokes(o.SHA256); !ok {
				t.Fatalf("object %s is no longer revoked", o.SHA256)
			}
		}
	})
}

// advance returns nil if data is refused, which has one of three classes.
func advance(t *testing.T, store *Store, data, sigs []byte) *Store {
	t.Helper()
	got, err := store.Advance(data, sigs)
	if (err == nil) == (got == nil) {
		t.Fatalf("Advance = %v, %v", got, err)
	}
	if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrUntrusted) && !errors.Is(err, ErrChain) {
		t.Fatalf("Advance = %v, of no class", err)
	}
	return got
}

// FuzzPackets: the packets are the whole input, in order, nothing skipped.
func FuzzPackets(f *testing.F) {
	_, _, _, sig := fuzzSite(f)
	f.Add(sig)
	f.Add([]byte{0x88, 1, 0, 0x89, 0, 1, 0, 0x8a, 0, 0, 0, 1, 0, 0xc2, 0xc0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		packets, err := splitPackets(data)
		if err != nil {
			return
		}
		var all [][]byte
		for _, p := range packets {
			all = append(all, p.raw)
		}
		if !bytes.Equal(slices.Concat(all...), data) {
			t.Fatal("packets are not the input")
		}
	})
}
