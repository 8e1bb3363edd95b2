package trust_test

import (
	"bytes"
	"crypto"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// rawSignature signs without the library's own objections to key and date.
func rawSignature(t testing.TB, key *packet.PrivateKey, data []byte, at time.Time, options ...func(*packet.Signature)) []byte {
	t.Helper()
	sig := &packet.Signature{
		Version: 4, SigType: packet.SigTypeBinary, PubKeyAlgo: key.PubKeyAlgo, Hash: crypto.SHA256,
		CreationTime: at, IssuerKeyId: &key.KeyId,
		Notations: []*packet.Notation{{Name: trust.Notation, Value: []byte(manifest), IsHumanReadable: true}},
	}
	for _, option := range options {
		option(sig)
	}
	h := sig.Hash.New()
	h.Write(data)
	noSalt := false // the library has no salt for SHA-1
	if err := sig.Sign(h, key, &packet.Config{NonDeterministicSignaturesViaNotation: &noSalt}); err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	if err := sig.Serialize(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestRawSignatures are defects that no polite program makes.
func TestRawSignatures(t *testing.T) {
	root := trusttest.NewKey(t, "root", issued)
	rsa := trusttest.NewKey(t, "rsa", issued, func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 3072 })
	store := roles(t, root, 1, rsa)
	data := []byte("data")
	accepted(t, store, data, rawSignature(t, rsa.Entity.PrivateKey, data, issued), rsa)
	for _, typ := range []packet.SignatureType{
		packet.SigTypeGenericCert, packet.SigTypePositiveCert, packet.SigTypeDirectSignature, 0x02, packet.SigTypeKeyRevocation,
	} {
		sig := rawSignature(t, rsa.Entity.PrivateKey, data, issued, func(s *packet.Signature) { s.SigType = typ })
		refused(t, store, data, sig, "want a signature over binary data")
	}
	text := rawSignature(t, rsa.Entity.PrivateKey, data, issued, func(s *packet.Signature) { s.SigType = packet.SigTypeText })
	refused(t, store, data, text, "text mode")
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA224, crypto.SHA384} {
		sig := rawSignature(t, rsa.Entity.PrivateKey, data, issued, func(s *packet.Signature) { s.Hash = hash })
		refused(t, store, data, sig, "made with "+hash.String())
	}
	encryption := rawSignature(t, rsa.Entity.Subkeys[0].PrivateKey, data, issued)
	refused(t, store, data, encryption, "bad")

	// A notation in the part that is not signed is nobody's word.
	bare := rawSignature(t, rsa.Entity.PrivateKey, data, issued, func(s *packet.Signature) { s.Notations = nil })
	refused(t, store, data, bare, "no purpose")
	refused(t, store, data, withUnhashedPurpose(t, bare), "no purpose")

	// More bytes inside the packet than the signature has.
	good := rawSignature(t, rsa.Entity.PrivateKey, data, issued)
	long := slices.Concat(good[:1], []byte{0xff}, binary.BigEndian.AppendUint32(nil, uint32(len(good)-3+1)), good[3:], []byte("x"))
	refused(t, store, data, long, "more bytes")
	v6 := trusttest.NewKey(t, "v6", issued, func(c *packet.Config) { c.V6Keys, c.Algorithm = true, packet.PubKeyAlgoEd25519 })
	refused(t, store, data, v6.Sign(t, manifest, data, issued), "OpenPGP v6")
}

// TestWeakSubkey: a good primary key does not lend its strength.
func TestWeakSubkey(t *testing.T) {
	root, key := trusttest.NewKey(t, "root", issued), trusttest.NewKey(t, "key", issued)
	for _, weak := range []*packet.Config{
		{Algorithm: packet.PubKeyAlgoEd448},
		{Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256},
		{Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048},
	} {
		// Added after the statement was issued, so that only the signature tells.
		weak.Time = func() time.Time { return issued.Add(time.Hour) }
		key.Entity.Subkeys = nil
		if err := key.Entity.AddSigningSubkey(weak); err != nil {
			t.Fatal(err)
		}
		store := roles(t, root, 1, key)
		data := []byte("data")
		sig := rawSignature(t, key.Entity.Subkeys[0].PrivateKey, data, issued.Add(2*time.Hour),
			func(s *packet.Signature) { s.Hash = crypto.SHA512 })
		refused(t, store, data, sig, "by key")
	}
}

// TestAnyClock: neither the real clock nor the one that is passed in refuses a
// signature that was good by its own date.
func TestAnyClock(t *testing.T) {
	for _, year := range []int{2001, 2040} {
		at := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		site := trusttest.New(t, "demo", at)
		data := []byte("data")
		sig := site.Manifest.Sign(t, manifest, data, at, func(c *packet.Config) { c.SigLifetimeSecs = 3600 })
		for _, now := range []time.Time{{}, time.Unix(0, 0), at, at.AddDate(20, 0, 0)} {
			v, err := site.Store.Open(manifest, data, sig, now)
			if err != nil {
				t.Errorf("made in %d, opened at %v: %v", year, now, err)
			}
			if doubtful := !now.IsZero() && !now.Equal(at); doubtful != (len(v.Doubts()) > 0) {
				t.Errorf("made in %d, opened at %v: Doubts() = %q", year, now, v.Doubts())
			}
		}
	}
}

// withUnhashedPurpose adds the purpose to the unhashed part of a signature by
// an RSA-3072 key: 0xc2, two bytes of length, six of head, the hashed part.
func withUnhashedPurpose(t *testing.T, sig []byte) []byte {
	t.Helper()
	body := sig[3:]
	cut := 6 + int(binary.BigEndian.Uint16(body[4:])) + 2
	if sig[0] != 0xc2 || !bytes.Equal(body[cut-2:cut], []byte{0, 0}) {
		t.Fatalf("unexpected layout %x", sig[:3])
	}
	n := append([]byte{20, 0x80, 0, 0, 0, 0, byte(len(trust.Notation)), 0, byte(len(manifest))}, trust.Notation+string(manifest)...)
	n = append([]byte{byte(len(n))}, n...)
	body = slices.Concat(body[:cut-2], []byte{0, byte(len(n))}, n, body[cut:])
	return slices.Concat([]byte{0xc2, 0xff}, binary.BigEndian.AppendUint32(nil, uint32(len(body))), body)
}
