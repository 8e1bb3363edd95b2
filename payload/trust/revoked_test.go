package trust_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// TestChainManifestKeyStolen: the thief's manifests are refused by whoever has
// seen the next statement, and believed by a medium that has not.
func TestChainManifestKeyStolen(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	stolen, data := sim.Manifest, []byte("data")
	sim.Revoke(stolen)
	store := walks(t, sim.Store(1), sim.Files(), 2)
	refused(t, store, data, sim.SignManifest(data, stolen), string(stolen.Fingerprint())+" has been revoked since 2026-11-21 (stolen)")
	accepted(t, store, data, sim.SignManifest(data), sim.Manifest)
	accepted(t, store, data, sim.SignManifest(data, stolen, sim.Manifest), sim.Manifest)
	accepted(t, sim.Store(1), data, sim.SignManifest(data, stolen), stolen)
	if got := store.Statement().Epoch; got != 2 {
		t.Errorf("epoch %d, want 2", got)
	}
}

// TestChainStandbyTakesOver: the root key is stolen, the standby key revokes
// it, and no medium needs to be burned.
func TestChainStandbyTakesOver(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	stolen := sim.Root
	thief := sim.Fork()
	sim.Revoke(stolen)
	sim.Rotate(trusttest.Manifest)
	store := walks(t, sim.Store(1), sim.Files(), 3)
	if keys := store.Statement().Roles.Root.Keys; slices.Contains(keys, stolen.Fingerprint()) || len(keys) != 2 {
		t.Errorf("root keys %v", keys)
	}
	// From here on the thief gets nowhere, with whatever he adds.
	after := sim.Fork()
	after.Issue(nil, stolen)
	stops(t, sim.Store(1), after.Files(), trust.ErrUntrusted, "trust statement 4", "has been revoked since")
	after = sim.Fork()
	evil := after.NewKey(trusttest.Root)
	after.Issue(func(st *trust.Statement) { sim.List(st, trusttest.Root, evil) }, stolen, evil)
	stops(t, sim.Store(1), after.Files(), trust.ErrUntrusted, "by the keys of 3")

	// With a threshold of 1 he may also have been first. A medium of statement 1
	// follows whom it is shown; one of statement 2 is out of his reach.
	thief.Issue(func(st *trust.Statement) {
		thief.Drop(st, thief.Standby)
		st.Revoked.Keys = []trust.RevokedKey{{Fingerprint: thief.Standby.Fingerprint(), Reason: "mine now", Since: issued}}
	}, stolen)
	thief.Issue(nil, stolen)
	walks(t, sim.Store(1), thief.Files(), 3)
	stops(t, sim.Store(2), thief.Files(), trust.ErrUntrusted, "trust statement 3", "has been revoked")
	stops(t, thief.Store(2), sim.Files(), trust.ErrUntrusted, "trust statement 3")
}

// TestChainTwoOfThree: with a threshold of 2, one stolen root key is worth
// nothing, and two that are left get rid of it. Two of two could not.
func TestChainTwoOfThree(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	third := sim.NewKey(trusttest.Root)
	sim.Issue(func(st *trust.Statement) {
		sim.List(st, trusttest.Root, third)
		st.Roles.Root.Threshold = 2
	}, sim.Root, third)
	stolen := sim.Root
	revoke := func(st *trust.Statement) {
		sim.Drop(st, stolen)
		sim.List(st, trusttest.Root, sim.NewKey(trusttest.Root))
		st.Revoked.Keys = []trust.RevokedKey{{Fingerprint: stolen.Fingerprint(), Reason: "stolen", Since: issued}}
	}
	thief := sim.Fork()
	thief.Issue(nil, stolen)
	stops(t, sim.Store(1), thief.Files(), trust.ErrUntrusted, "signed by 1 of the 2")
	// The one that is revoked cannot help to revoke itself.
	helped := sim.Fork()
	helped.Issue(revoke, stolen, third)
	stops(t, sim.Store(1), helped.Files(), trust.ErrUntrusted, "by the keys of 2: untrusted: signed by 1 of the 2", "has been revoked")
	sim.Issue(revoke, third, sim.Standby)
	walks(t, sim.Store(1), sim.Files(), 3)
}

// TestChainRevokedKeySigns: a signature under the statement that revokes its
// key counts for neither side.
func TestChainRevokedKeySigns(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	fork := sim.Fork()
	fork.Issue(func(st *trust.Statement) {
		fork.Drop(st, sim.Root)
		st.Revoked.Keys = []trust.RevokedKey{{Fingerprint: sim.Root.Fingerprint(), Reason: "stolen", Since: issued}}
	}, sim.Root)
	stops(t, sim.Store(1), fork.Files(), trust.ErrUntrusted, "by the keys of 1", "has been revoked")
	evil := sim.NewKey(trusttest.Root)
	fork = sim.Fork()
	fork.Issue(func(st *trust.Statement) {
		fork.Drop(st, sim.Root)
		fork.List(st, trusttest.Root, evil)
		st.Revoked.Keys = []trust.RevokedKey{{Fingerprint: sim.Root.Fingerprint(), Reason: "stolen", Since: issued}}
	}, sim.Root, evil)
	stops(t, sim.Store(1), fork.Files(), trust.ErrUntrusted, "by the keys of 1", "has been revoked")
}

// TestChainRevokedSubkey: a stolen subkey is revoked without its primary key,
// which goes on without it.
func TestChainRevokedSubkey(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	with := *sim.Root.Entity
	card := &trusttest.Key{Entity: &with}
	if err := with.AddSigningSubkey(&packet.Config{
		Time: func() time.Time { return issued }, Algorithm: packet.PubKeyAlgoEdDSA,
	}); err != nil {
		t.Fatal(err)
	}
	sub := with.Subkeys[len(with.Subkeys)-1].PublicKey.Fingerprint
	stolen := trust.Fingerprint(fmt.Sprintf("%X", sub))
	sim.Issue(func(st *trust.Statement) {
		sim.Drop(st, sim.Root)
		sim.List(st, trusttest.Root, card)
	}, sim.Root)
	revoke := func(st *trust.Statement) {
		st.Revoked.Keys = []trust.RevokedKey{{Fingerprint: stolen, Reason: "card lost", Since: issued}}
	}
	st := sim.Statement()
	st.Version = 3
	revoke(&st)
	stops(t, sim.Store(1), byHand(t, sim, st, sim.Root), trust.ErrMalformed, string(stolen)+" has been revoked")

	without := func(st *trust.Statement) {
		sim.Drop(st, card)
		sim.List(st, trusttest.Root, sim.Root)
		revoke(st)
	}
	// The subkey falls with its primary key.
	fork := sim.Fork()
	fork.Issue(func(st *trust.Statement) {
		sim.Drop(st, card)
		st.Revoked.Keys = []trust.RevokedKey{{Fingerprint: card.Fingerprint(), Reason: "stolen", Since: issued}}
	}, card, sim.Standby)
	walks(t, sim.Store(1), fork.Files(), 3)
	files := fork.Files()
	files["trust/3.json.sig"] = sim.Sign(trust.PurposeStatement, files["trust/3.json"], card)
	stops(t, sim.Store(1), files, trust.ErrUntrusted, "by the keys of 2", string(card.Fingerprint())+" has been revoked")

	fork = sim.Fork()
	fork.Issue(without, card)
	stops(t, sim.Store(1), fork.Files(), trust.ErrUntrusted, "by the keys of 2", "has been revoked")
	sim.Issue(without, sim.Root)
	walks(t, sim.Store(1), sim.Files(), 3)
}

// TestChainRevokedKeyReturns: no later statement can list it, for either role.
func TestChainRevokedKeyReturns(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	stolen := sim.Manifest
	sim.Revoke(stolen)
	sim.Issue(nil)
	for _, role := range []string{trusttest.Manifest, trusttest.Root} {
		st := sim.Statement()
		st.Version++
		sim.List(&st, role, stolen)
		stops(t, sim.Store(1), byHand(t, sim, st, sim.Root), trust.ErrMalformed, "trust statement 4", "has been revoked")
		fork := sim.Fork()
		fork.Issue(func(st *trust.Statement) {
			st.Revoked.Keys = nil
			sim.List(st, role, stolen)
		}, sim.Root)
		stops(t, sim.Store(1), fork.Files(), trust.ErrChain, "is no longer revoked")
	}
}

// TestRevokedIsChecked: the lists hold fingerprints, hashes, dates and texts
// that cannot make a console lie.
func TestRevokedIsChecked(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	fpr := flip(sim.Root.Fingerprint())
	key := func(k trust.RevokedKey) trust.Revoked { return trust.Revoked{Keys: []trust.RevokedKey{k}} }
	obj := func(reason string, since time.Time) trust.Revoked {
		return trust.Revoked{Objects: []trust.RevokedObject{{Reason: reason, Since: since}}}
	}
	var manyKeys, manyObjects trust.Revoked
	for i := range trust.MaxRevoked + 1 {
		fpr := trust.Fingerprint(fmt.Sprintf("%040X", i))
		manyKeys.Keys = append(manyKeys.Keys, trust.RevokedKey{Fingerprint: fpr, Reason: "x", Since: issued})
		manyObjects.Objects = append(manyObjects.Objects, trust.RevokedObject{SHA256: object.ID{byte(i)}, Reason: "x", Since: issued})
	}
	for says, r := range map[string]trust.Revoked{
		"40 upper-case":           key(trust.RevokedKey{Fingerprint: "", Reason: "x", Since: issued}),
		"want 40":                 key(trust.RevokedKey{Fingerprint: trust.Fingerprint(strings.ToLower(string(fpr))), Reason: "x", Since: issued}),
		"hexadecimal":             key(trust.RevokedKey{Fingerprint: fpr[:39] + "G", Reason: "x", Since: issued}),
		"\\x1b":                   key(trust.RevokedKey{Fingerprint: "\x1b[2J", Reason: "x", Since: issued}),
		"reason is missing":       key(trust.RevokedKey{Fingerprint: fpr, Since: issued}),
		"since when is missing":   key(trust.RevokedKey{Fingerprint: fpr, Reason: "x"}),
		"has been revoked since":  key(trust.RevokedKey{Fingerprint: sim.Manifest.Fingerprint(), Reason: "x", Since: issued}),
		"listed twice":            {Keys: slices.Repeat(key(trust.RevokedKey{Fingerprint: fpr, Reason: "x", Since: issued}).Keys, 2)},
		"0000 is listed twice":    {Objects: slices.Repeat(obj("x", issued).Objects, 2)},
		"129 revocations":         manyObjects,
		"129 revocations, at":     manyKeys,
		"81 bytes":                obj(strings.Repeat("x", 81), issued),
		"blanks":                  obj(" x", issued),
		"U+001B is not printable": obj("\x1b[2J", issued),
		"U+202E":                  obj("\u202eevil", issued),
		"U+000A":                  obj("two\nlines", issued),
		"U+00E9":                  obj("vol\u00e9", issued),
		"0000: since when":        obj("x", time.Time{}),
	} {
		st := sim.Statement()
		st.Version, st.Revoked = 2, r
		stops(t, sim.Store(1), byHand(t, sim, st, sim.Root), trust.ErrMalformed, says)
	}
}

// TestRevokes: objects are looked up by their hash, and the lists are copies.
func TestRevokes(t *testing.T) {
	bad, good := object.OfBytes([]byte("bad")).SHA256, object.OfBytes([]byte("good")).SHA256
	sim := trusttest.NewSim(t, "demo", issued)
	sim.Issue(func(st *trust.Statement) {
		st.Revoked.Objects = []trust.RevokedObject{{SHA256: bad, Reason: "CVE-2026-0001", Since: issued.Add(time.Millisecond)}}
		st.Revoked.Keys = []trust.RevokedKey{{Fingerprint: flip(sim.Root.Fingerprint()), Reason: "lost", Since: issued}}
	})
	store := walks(t, sim.Store(1), sim.Files(), 2)
	store.Statement().Revoked.Objects[0].SHA256 = good
	store.Statement().Revoked.Keys[0].Reason = "changed"
	if got := store.Statement().Revoked.Keys[0].Reason; got != "lost" {
		t.Errorf("Store changed through Statement(): %q", got)
	}
	if r, ok := store.Revokes(bad); !ok || r.Reason != "CVE-2026-0001" || !r.Since.Equal(issued) {
		t.Errorf("Revokes = %v, %v", r, ok)
	}
	if r, ok := store.Revokes(good); ok {
		t.Errorf("Revokes = %v", r)
	}
	if _, ok := sim.Store(1).Revokes(bad); ok {
		t.Error("statement 1 revokes what only 2 does")
	}
}

// TestStatementHolds: the limits on numbers fit into the limit on bytes, as
// their comments say.
func TestStatementHolds(t *testing.T) {
	sim := trusttest.NewSim(t, "demo", issued)
	key := func(st *trust.Statement) {
		k := sim.NewKey(trusttest.Manifest)
		k.Entity.Subkeys = nil
		sim.List(st, trusttest.Manifest, k)
	}
	fork := sim.Fork()
	fork.Issue(func(st *trust.Statement) {
		for len(st.Keys) < trust.MaxKeys {
			key(st)
		}
	})
	walks(t, sim.Store(1), fork.Files(), 2)
	st := fork.Statement()
	st.Version = 2
	key(&st)
	stops(t, sim.Store(1), byHand(t, sim, st, sim.Root), trust.ErrMalformed, "65 keys, at most 64")

	fork = sim.Fork()
	fork.Issue(func(st *trust.Statement) {
		for i := range trust.MaxRevoked {
			fpr := trust.Fingerprint(fmt.Sprintf("%040X", i))
			st.Revoked.Keys = append(st.Revoked.Keys, trust.RevokedKey{Fingerprint: fpr, Reason: "left the company", Since: issued})
			st.Revoked.Objects = append(st.Revoked.Objects, trust.RevokedObject{SHA256: object.ID{byte(i)}, Reason: "CVE-2026-0001", Since: issued})
		}
		for len(st.Keys) < 10 {
			key(st)
		}
	})
	walks(t, sim.Store(1), fork.Files(), 2)
}
