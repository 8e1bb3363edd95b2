package trust_test

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// TestChainThresholds: N's threshold and N+1's are both asked for, by distinct
// keys.
func TestChainThresholds(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	if err := sim.Root.Entity.AddSigningSubkey(&packet.Config{
		Time: func() time.Time { return issued }, Algorithm: packet.PubKeyAlgoEdDSA,
	}); err != nil {
		t.Fatal(err)
	}
	a, b, c, d := sim.Root, sim.Standby, sim.NewKey(trusttest.Root), sim.NewKey(trusttest.Root)
	lower := func(st *trust.Statement) { st.Roles.Root.Threshold = 1 }
	replace := func(st *trust.Statement) {
		sim.Drop(st, a)
		sim.Drop(st, b)
		sim.List(st, trusttest.Root, c)
		sim.List(st, trusttest.Root, d)
	}
	raise := func(st *trust.Statement) { st.Roles.Root.Threshold = 2 }

	sim.Issue(func(st *trust.Statement) { // 2: a with its new subkey
		sim.Drop(st, a)
		sim.List(st, trusttest.Root, a)
	}, a)
	fork := sim.Fork()
	fork.Issue(raise, a)
	stops(t, sim.Store(2), fork.Files(), trust.ErrUntrusted, "by its own keys", "signed by 1 of the 2 root keys")
	sim.Issue(raise, a, b) // 3
	medium := sim.Store(3)
	for _, x := range []struct {
		name    string
		change  func(*trust.Statement)
		signers []*trusttest.Key
		says    string // nothing where it is good
	}{
		{"lowered by one", lower, []*trusttest.Key{a}, "by the keys of 3: untrusted: signed by 1 of the 2"},
		{"lowered by both", lower, []*trusttest.Key{b, a}, ""},
		{"one of each side", replace, []*trusttest.Key{a, c}, "by the keys of 3: untrusted: signed by 1 of the 2"},
		{"the new side", replace, []*trusttest.Key{c, d}, "no valid signature"},
		{"the old side", replace, []*trusttest.Key{a, b}, "by its own keys"},
		{"one short", replace, []*trusttest.Key{a, b, d}, "by its own keys: untrusted: signed by 1 of the 2"},
		{"all", replace, []*trusttest.Key{d, b, c, a}, ""},
	} {
		fork := sim.Fork()
		fork.Issue(x.change, x.signers...)
		if x.says == "" {
			walks(t, medium, fork.Files(), 4)
		} else {
			stops(t, medium, fork.Files(), trust.ErrUntrusted, x.says)
		}
	}
	sim.Issue(nil, a, b) // 4
	files := sim.Files()
	data := files["trust/4.json"]
	primary := a.Sign(t, trust.PurposeStatement, data, issued, func(c *packet.Config) { c.SigningKeyId = a.Entity.PrimaryKey.KeyId })
	for _, twice := range [][]byte{sim.Sign(trust.PurposeStatement, data, a), primary} {
		files["trust/4.json.sig"] = append(sim.Sign(trust.PurposeStatement, data, a), twice...)
		stops(t, medium, files, trust.ErrUntrusted, "signed by 1 of the 2", "2 signatures")
	}
}

// TestChainDuplicateKeys: one secret listed twice would meet a threshold of 2.
func TestChainDuplicateKeys(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	twin := redated(t, sim.Root, issued.Add(-time.Hour))
	for says, change := range map[string]func(*trust.Statement){
		"listed twice": func(st *trust.Statement) { st.Roles.Root.Keys = append(st.Roles.Root.Keys, sim.Root.Fingerprint()) },
		"has already":  func(st *trust.Statement) { sim.List(st, trusttest.Root, sim.Root) },
		"holds a key":  func(st *trust.Statement) { sim.List(st, trusttest.Root, twin) },
	} {
		st := sim.Statement()
		st.Version = 2
		change(&st)
		st.Roles.Root.Threshold = 2
		stops(t, sim.Store(1), byHand(t, sim, st, sim.Root, twin), trust.ErrMalformed, "trust statement 2", says)
	}
}

// redated returns a key with the same secret and another fingerprint.
func redated(t *testing.T, k *trusttest.Key, at time.Time) *trusttest.Key {
	t.Helper()
	priv := packet.NewEdDSAPrivateKey(at, k.Entity.PrivateKey.PrivateKey.(*eddsa.PrivateKey))
	twin := &openpgp.Entity{PrimaryKey: &priv.PublicKey, PrivateKey: priv, Identities: map[string]*openpgp.Identity{}}
	config := &packet.Config{Time: func() time.Time { return at }, DefaultHash: crypto.SHA512}
	if err := twin.AddUserId("twin", "", "", config); err != nil {
		t.Fatal(err)
	}
	return &trusttest.Key{Entity: twin}
}

// byHand returns the files of sim and a next statement that EncodeStatement
// would refuse.
func byHand(t *testing.T, sim *trusttest.Sim, st trust.Statement, signers ...*trusttest.Key) map[string][]byte {
	t.Helper()
	st.Format = trust.Format
	data, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trust.EncodeStatement(st); !errors.Is(err, trust.ErrMalformed) {
		t.Errorf("EncodeStatement = %v, want ErrMalformed", err)
	}
	files := sim.Files()
	name := fmt.Sprintf("trust/%d.json", st.Version)
	files[name], files[name+".sig"] = data, sim.Sign(trust.PurposeStatement, data, signers...)
	return files
}
