package trust_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

func TestEncodeStatementIsCanonical(t *testing.T) {
	root, a, b := trusttest.NewKey(t, "root", issued), trusttest.NewKey(t, "a", issued), trusttest.NewKey(t, "b", issued)
	one := statement(t, root, a, b)
	two := statement(t, root, b, a)
	one.Revoked.Keys = []trust.RevokedKey{
		{Fingerprint: flip(a.Fingerprint()), Reason: "stolen", Since: issued},
		{Fingerprint: flip(b.Fingerprint()), Reason: "lost", Since: issued},
	}
	two.Revoked.Keys = []trust.RevokedKey{one.Revoked.Keys[1], one.Revoked.Keys[0]}
	two.Revoked.Objects = []trust.RevokedObject{}
	two.Issued = two.Issued.In(time.FixedZone("", 3600)).Add(time.Millisecond)
	first, err := trust.EncodeStatement(one)
	if err != nil {
		t.Fatal(err)
	}
	second, err := trust.EncodeStatement(two)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(first), string(second)); diff != "" {
		t.Errorf("same statement, other bytes:\n%s", diff)
	}
	if got := anchor(t, root, one).Statement(); !got.Issued.Equal(issued) || len(got.Keys) != 3 || got.Format != 1 {
		t.Errorf("Statement() = %+v", got)
	}
}

func TestMalformedStatement(t *testing.T) {
	root, a, b := trusttest.NewKey(t, "root", issued), trusttest.NewKey(t, "a", issued), trusttest.NewKey(t, "b", issued)
	young := trusttest.NewKey(t, "young", issued.Add(time.Hour))
	short := trusttest.NewKey(t, "short", issued.Add(-time.Hour), func(c *packet.Config) { c.KeyLifetimeSecs = 60 })
	weak := trusttest.NewKey(t, "weak", issued, func(c *packet.Config) { c.Algorithm, c.RSABits = packet.PubKeyAlgoRSA, 2048 })
	nist := trusttest.NewKey(t, "nist", issued, func(c *packet.Config) {
		c.Algorithm, c.Curve = packet.PubKeyAlgoECDSA, packet.CurveNistP256
	})
	v6 := trusttest.NewKey(t, "v6", issued, func(c *packet.Config) { c.V6Keys, c.Algorithm = true, packet.PubKeyAlgoEd25519 })
	var secret bytes.Buffer
	if err := a.Entity.SerializePrivateWithoutSigning(&secret, nil); err != nil {
		t.Fatal(err)
	}
	twin := *b
	entity := *b.Entity
	entity.Subkeys = append(entity.Subkeys[:1:1], a.Entity.Subkeys[0])
	twin.Entity = &entity

	for _, c := range []struct {
		name, says string
		change     func(*trust.Statement)
	}{
		{"version 0", "version 0", func(s *trust.Statement) { s.Version = 0 }},
		{"epoch 0", "epoch 0", func(s *trust.Statement) { s.Epoch = 0 }},
		{"no product", "product", func(s *trust.Statement) { s.Product = "" }},
		{"no issue", "issued", func(s *trust.Statement) { s.Issued = time.Time{} }},
		{"no expiry", "expires", func(s *trust.Statement) { s.Expires = time.Time{} }},
		{"threshold 0", "threshold 0", func(s *trust.Statement) { s.Roles.Manifest.Threshold = 0 }},
		{"threshold -1", "threshold -1", func(s *trust.Statement) { s.Roles.Root.Threshold = -1 }},
		{"threshold beyond", "threshold 3 of 2", func(s *trust.Statement) { s.Roles.Manifest.Threshold = 3 }},
		{"empty role", "of 0 keys", func(s *trust.Statement) { s.Roles.Root.Keys = nil }},
		{"listed twice", "twice", func(s *trust.Statement) { s.Roles.Manifest.Keys[1] = s.Roles.Manifest.Keys[0] }},
		{"not included", "not among", func(s *trust.Statement) { s.Roles.Manifest.Keys[1] = weak.Fingerprint() }},
		{"no role", "no role", func(s *trust.Statement) { s.Roles.Manifest.Keys = s.Roles.Manifest.Keys[:1] }},
		{"key twice", "has already", func(s *trust.Statement) { s.Keys = append(s.Keys, s.Keys[1]) }},
		{"shared subkey", "has already", func(s *trust.Statement) { s.Keys[2] = twin.Public(t) }},
		{"no keys", "not among", func(s *trust.Statement) { s.Keys = nil }},
		{"empty key", "does not begin", func(s *trust.Statement) { s.Keys[1].Key = []byte{} }},
		{"wrong fingerprint", "has the fingerprint", func(s *trust.Statement) { s.Keys[1].Key = s.Keys[2].Key }},
		{"lower case", "has the fingerprint", func(s *trust.Statement) {
			s.Keys[1].Fingerprint = trust.Fingerprint(strings.ToLower(string(s.Keys[1].Fingerprint)))
		}},
		{"two keys in one", "more than one", func(s *trust.Statement) { s.Keys[1].Key = append(s.Keys[1].Key, s.Keys[2].Key...) }},
		{"secret key", "SECRET", func(s *trust.Statement) { s.Keys[1].Key = secret.Bytes() }},
		{"garbage after", "not a sequence", func(s *trust.Statement) { s.Keys[1].Key = append(s.Keys[1].Key, "x"...) }},
		{"marker after", "type 10", func(s *trust.Statement) { s.Keys[1].Key = append(s.Keys[1].Key, 0xca, 3, 'P', 'G', 'P') }},
		{"truncated", "cut off", func(s *trust.Statement) { s.Keys[1].Key = s.Keys[1].Key[:40] }},
		{"no self signature", "without any identities", func(s *trust.Statement) { s.Keys[1].Key = withoutSignatures(t, s.Keys[1].Key) }},
		{"key of tomorrow", "not valid", func(s *trust.Statement) { replaceKey(t, s, young) }},
		{"expired key", "not valid", func(s *trust.Statement) { replaceKey(t, s, short) }},
		{"RSA-2048", "too weak", func(s *trust.Statement) { replaceKey(t, s, weak) }},
		{"NIST curve", "not accepted", func(s *trust.Statement) { replaceKey(t, s, nist) }},
		{"v6", "v6", func(s *trust.Statement) { replaceKey(t, s, v6) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := statement(t, root, a, b)
			c.change(&st)
			_, err := trust.EncodeStatement(st)
			if !errors.Is(err, trust.ErrMalformed) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("EncodeStatement = %v, want ErrMalformed that says %q", err, c.says)
			}
			// What is not written is not read either, whoever signed it.
			st.Format = trust.Format
			data, err := json.Marshal(st)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := trust.Anchor(data, root.Sign(t, trust.PurposeStatement, data, issued)); !errors.Is(err, trust.ErrMalformed) {
				t.Errorf("Anchor = %v, want ErrMalformed", err)
			}
		})
	}
}

// replaceKey puts key in the place of the statement's second key.
func replaceKey(t *testing.T, s *trust.Statement, key *trusttest.Key) {
	t.Helper()
	s.Keys[1] = key.Public(t)
	s.Roles.Manifest.Keys[0] = key.Fingerprint()
}

// withoutSignatures keeps the public key and the user id: 0xc6 and 0xcd.
func withoutSignatures(t *testing.T, key []byte) []byte {
	t.Helper()
	n := 2 + int(key[1])
	if key[0] != 0xc6 || key[n] != 0xcd {
		t.Fatalf("unexpected packets %x, %x", key[0], key[n])
	}
	return key[:n+2+int(key[n+1])]
}

func TestAnchor(t *testing.T) {
	site := trusttest.New(t, "demo", issued)
	foreign := trusttest.NewKey(t, "foreign", issued)
	data := site.Statement
	for name, sigs := range map[string][]byte{
		"unsigned":      nil,
		"foreign":       foreign.Sign(t, trust.PurposeStatement, data, issued),
		"manifest key":  site.Manifest.Sign(t, trust.PurposeStatement, data, issued),
		"wrong purpose": site.Root.Sign(t, trust.PurposeManifest, data, issued),
	} {
		if store, err := trust.Anchor(data, sigs); !errors.Is(err, trust.ErrUntrusted) || store != nil {
			t.Errorf("%s: Anchor = %v, %v, want ErrUntrusted", name, store, err)
		}
	}
	changed := bytes.Replace(data, []byte(`"demo"`), []byte(`"evil"`), 1)
	if _, err := trust.Anchor(changed, site.Signature); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("changed statement: Anchor = %v, want ErrUntrusted", err)
	}
	for name, text := range map[string]string{
		"empty": "", "html": "<html>", "two values": string(data) + "{}", "unknown field": `{"x":1}`,
		"null threshold": strings.Replace(string(data), `"threshold": 1`, `"threshold": null`, 1),
		"no threshold":   strings.Replace(string(data), `"threshold": 1`, `"keys": []`, 1),
		"large":          string(data) + strings.Repeat(" ", trust.MaxStatementSize),
		"format":         strings.Replace(string(data), `"format": 1`, `"format": 2`, 1),
	} {
		if _, err := trust.Anchor([]byte(text), site.Signature); !errors.Is(err, trust.ErrMalformed) {
			t.Errorf("%s: Anchor = %v, want ErrMalformed", name, err)
		}
	}
}

// TestRootThreshold: a statement that asks for two roots needs two.
func TestRootThreshold(t *testing.T) {
	root, other, key := trusttest.NewKey(t, "root", issued), trusttest.NewKey(t, "other", issued), trusttest.NewKey(t, "key", issued)
	st := statement(t, root, key)
	st.Keys = append(st.Keys, other.Public(t))
	st.Roles.Root.Keys = append(st.Roles.Root.Keys, other.Fingerprint())
	st.Roles.Root.Threshold = 2
	data, err := trust.EncodeStatement(st)
	if err != nil {
		t.Fatal(err)
	}
	one := root.Sign(t, trust.PurposeStatement, data, issued)
	if _, err := trust.Anchor(data, append(one, one...)); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("one root twice: Anchor = %v, want ErrUntrusted", err)
	}
	if _, err := trust.Anchor(data, append(one, other.Sign(t, trust.PurposeStatement, data, issued)...)); err != nil {
		t.Errorf("both roots: %v", err)
	}
}

func TestParseKey(t *testing.T) {
	key := trusttest.NewKey(t, "key", issued)
	got, err := trust.ParseKey(key.Public(t).Key)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(key.Public(t), got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range [][]byte{nil, []byte("-----BEGIN PGP PUBLIC KEY BLOCK-----"), append(got.Key, got.Key...)} {
		if _, err := trust.ParseKey(bad); err == nil {
			t.Errorf("ParseKey(%.20q) succeeded", bad)
		}
	}
}
