package trust

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// fuzzSite returns a statement with one key for both roles, and a signature.
func fuzzSite(f *testing.F) (store *Store, statement, data, sig []byte) {
	f.Helper()
	at := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	config := &packet.Config{
		Time: func() time.Time { return at }, Algorithm: packet.PubKeyAlgoEdDSA,
		SignatureNotations: []*packet.Notation{{Name: Notation, Value: []byte(PurposeManifest), IsHumanReadable: true}},
	}
	entity, err := openpgp.NewEntity("fuzz", "", "", config)
	if err != nil {
		f.Fatal(err)
	}
	var key, out bytes.Buffer
	if err := entity.Serialize(&key); err != nil {
		f.Fatal(err)
	}
	role := Role{Keys: []Fingerprint{fingerprint(entity.PrimaryKey)}, Threshold: 1}
	st := Statement{
		Version: 1, Epoch: 1, Product: "demo", Issued: at, Expires: at.AddDate(1, 0, 0),
		Keys: []Key{{Fingerprint: role.Keys[0], Key: key.Bytes()}}, Roles: Roles{Root: role, Manifest: role},
	}
	if statement, err = EncodeStatement(st); err != nil {
		f.Fatal(err)
	}
	data = []byte("data")
	if err := openpgp.DetachSign(&out, []*openpgp.Entity{entity}, bytes.NewReader(data), config); err != nil {
		f.Fatal(err)
	}
	return &Store{statement: st}, statement, data, out.Bytes()
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
	f.Fuzz(func(t *testing.T, data []byte) {
		st, err := decodeStatement(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
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
