package vectors_test

import (
	"bytes"
	"crypto"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/payload/accept/vectors"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// thresholds are games with how many must sign.
func (m *maker) thresholds() {
	a, b, c := m.base.NewKey(trusttest.Manifest), m.base.NewKey(trusttest.Manifest), m.base.NewKey(trusttest.Manifest)
	sub := m.newKey("subkey")
	m.subkey(sub, &packet.Config{Algorithm: packet.PubKeyAlgoEdDSA})
	primary := m.good(sub, func(c *packet.Config) { c.SigningKeyId = sub.Entity.PrimaryKey.KeyId })
	of := func(name, expect, comment string, list []*trusttest.Key, sign func([]byte) []byte) {
		m.t.Helper()
		m.add("threshold-"+name, expect, comment, m.as(2, list...), medium(2), signed(sign))
	}
	of("two-of-three", vectors.OK, "two of three keys, in any order", keys(a, b, c), each(m.good(c), m.good(a)))
	of("one-of-two", untrusted, "one signature where two are needed", keys(a, b), m.good(a))
	of("same-twice", untrusted, "the same signature twice is one", keys(a, b), twice(m.good(a)))
	of("same-key-twice", untrusted, "two signatures by one key are one", keys(a, b), each(m.good(a), m.good(a, func(c *packet.Config) { c.DefaultHash = crypto.SHA256 })))
	of("subkey-and-primary", untrusted, "a subkey and its primary key are one", keys(sub, b), each(m.good(sub), primary))
	of("foreign-key", untrusted, "the second key is not in the statement", keys(a, b), each(m.good(a), m.good(c)))
	of("root-key", untrusted, "the second key has another role", keys(a, b), each(m.good(a), m.good(m.base.Root)))
	of("one-weak", untrusted, "the second signature is made with SHA-1", keys(a, m.rsa), each(m.good(a), m.raw(m.rsa.Entity.PrivateKey, day0, hash(crypto.SHA1))))

	sim := m.base
	bad := func(name, comment string, change func(st *trust.Statement)) {
		m.t.Helper()
		m.add("threshold-"+name, "malformed", comment, sim, m.next(sim, change), then(vectors.OK, 1))
	}
	bad("zero", "a threshold of 0 needs no signature", func(st *trust.Statement) { st.Roles.Manifest.Threshold = 0 })
	bad("zero-root", "a threshold of 0 for root keys", func(st *trust.Statement) { st.Roles.Root.Threshold = 0 })
	bad("negative", "a threshold of -1", func(st *trust.Statement) { st.Roles.Manifest.Threshold = -1 })
	bad("too-high", "two of one key can never sign", func(st *trust.Statement) { st.Roles.Manifest.Threshold = 2 })
	bad("key-named-twice", "one key named twice would meet a threshold of 2", func(st *trust.Statement) {
		st.Roles.Manifest.Keys, st.Roles.Manifest.Threshold = append(st.Roles.Manifest.Keys, sim.Manifest.Fingerprint()), 2
	})
	bad("key-listed-twice", "one key listed twice", func(st *trust.Statement) { sim.List(st, trusttest.Manifest, sim.Manifest) })
	bad("key-redated", "the same secret under another date and fingerprint", func(st *trust.Statement) {
		sim.List(st, trusttest.Manifest, m.redated(sim.Manifest))
	})
	bad("no-keys", "nobody may sign manifests", func(st *trust.Statement) { sim.Drop(st, sim.Manifest) })
	bad("key-not-listed", "a role names a key that is not there", func(st *trust.Statement) {
		st.Roles.Manifest.Keys = append(st.Roles.Manifest.Keys, c.Fingerprint())
	})
	m.add("anchor-threshold-zero", "malformed", "the medium itself carries a threshold of 0", sim,
		m.next(sim, func(st *trust.Statement) { st.Roles.Manifest.Threshold = 0 }), medium(2), releases(""))
	m.add("anchor-unsigned", untrusted, "the medium's own statement is not signed by its root key", sim, medium(1),
		m.statement(sim, 1, sim.Files()["trust/1.json"], sim.Manifest), releases(""))
}

// redated returns a key with the same secret and another fingerprint.
func (m *maker) redated(k *trusttest.Key) *trusttest.Key {
	made := day0.Add(-time.Hour)
	priv := packet.NewEdDSAPrivateKey(made, k.Entity.PrivateKey.PrivateKey.(*eddsa.PrivateKey))
	twin := &openpgp.Entity{PrimaryKey: &priv.PublicKey, PrivateKey: priv, Identities: map[string]*openpgp.Identity{}}
	config := &packet.Config{Time: func() time.Time { return made }, DefaultHash: crypto.SHA512}
	if err := twin.AddUserId("twin", "", "", config); err != nil {
		m.t.Fatal(err)
	}
	return &trusttest.Key{Entity: twin}
}

// chains are about statements that follow each other.
func (m *maker) chains() {
	sim := m.base.Fork()
	sim.Rotate(trusttest.Manifest)
	two := sim.Fork()
	sim.Rotate(trusttest.Root)
	sim.Rotate(trusttest.Manifest)
	m.add("chain-four", vectors.OK, "two manifest keys and a root key were rotated since the medium was built", sim)
	m.add("chain-from-three", vectors.OK, "a medium that was built anew meanwhile", sim, medium(3))
	m.add("chain-old-manifest-key", untrusted, "the manifest is signed by the key of statement 1", sim, medium(1), releases("", "trust/2.json", "trust/3.json", "trust/4.json"),
		signed(m.good(m.base.Manifest)))
	m.add("chain-skipped", "chain", "statement 3 stands in the place of 2", sim, move("trust/3.json", "trust/2.json"), then(untrusted, 1))
	m.add("chain-repeated", "chain", "statement 1 stands in the place of 2", m.base, move("trust/1.json", "trust/2.json"), then(vectors.OK, 1))
	m.add("chain-hole", untrusted, "statement 2 is missing: the chain ends at 1", sim, set("trust/2.json", nil), releases(""))
	m.add("chain-unsigned", untrusted, "statement 3 has no signature file", sim, set("trust/3.json.sig", nil), then(untrusted, 2))
	m.add("chain-too-large", "too-large", "a statement of 64 KiB and one byte", m.base, set("trust/2.json", make([]byte, trust.MaxStatementSize+1)), then(vectors.OK, 1))
	m.add("chain-not-json", "malformed", "no statement at all, well signed", m.base, m.statement(m.base, 2, []byte("#!/bin/sh\n")), then(vectors.OK, 1))
	m.add("chain-flipped-bit", untrusted, "one digit of statement 2 is wrong", two, func(v *vectors.Vector) {
		set("trust/2.json", bytes.Replace(v.Files["trust/2.json"], []byte("2027-11-01T12"), []byte("2027-11-01T13"), 1))(v)
		then(untrusted, 1)(v)
	})

	fork := m.base.Fork()
	fork.Rotate(trusttest.Root)
	m.add("chain-forked", untrusted, "statement 2 is of another future than 3", sim, func(v *vectors.Vector) {
		set("trust/2.json", fork.Files()["trust/2.json"])(v)
		set("trust/2.json.sig", fork.Files()["trust/2.json.sig"])(v)
		then(untrusted, 2)(v)
	})
	m.takeovers()

	issue := func(name, expect, comment string, change func(st *trust.Statement), options ...option) {
		m.t.Helper()
		next := two.Fork()
		next.Issue(change)
		if expect != vectors.OK { // the manifest is of the statement before
			options = append(options, m.manifestOf(two, 12, nil), then(vectors.OK, 2))
		}
		m.add("chain-"+name, expect, comment, next, options...)
	}
	issue("product", "chain", "the product changes", func(st *trust.Statement) { st.Product = "other" })
	issue("epoch-falls", "malformed", "an epoch of 0", nil, m.next(two, func(st *trust.Statement) { st.Epoch = 0 }))
	issue("epoch-rises", vectors.OK, "the next epoch", func(st *trust.Statement) { st.Epoch++ })
	issue("epoch-jumps", "chain", "two epochs at once", func(st *trust.Statement) { st.Epoch += 2 })
	issue("unknown-field", "malformed", "a field that this program does not know", nil, m.edited(two, `"format": 1`, `"format": 1, "also": 1`))
	issue("duplicate-key", "malformed", "the version stands twice", nil, m.edited(two, `"version": 3`, `"version": 3, "version": 3`))
	issue("format", "malformed", "another format", nil, m.edited(two, `"format": 1`, `"format": 2`))
	issue("expires-before-issued", "malformed", "it expires before it was issued", nil, m.next(two, func(st *trust.Statement) { st.Expires = day0.Add(-time.Hour) }))

	fallen := m.base.Fork()
	fallen.Issue(func(st *trust.Statement) { st.Epoch = 2 })
	back := fallen.Fork()
	back.Issue(func(st *trust.Statement) { st.Epoch = 1 })
	m.add("chain-epoch-back", "chain", "the epoch falls from 2 to 1", back, m.manifestOf(fallen, 12, nil), then(vectors.OK, 2))

	late := two.Fork()
	late.At = late.At.Add(time.Minute)
	late.Issue(nil)
	early := late.Fork()
	early.Issue(func(st *trust.Statement) { st.Issued = day0 })
	m.add("chain-issued-before", "chain", "issued before the statement that it follows", early, then(vectors.OK, 3))

	old := m.base.Fork()
	for range 3 {
		old.At = old.At.AddDate(2, 0, 0)
		old.Issue(nil)
	}
	m.add("chain-expired-on-the-way", vectors.OK, "statements 1 to 3 have expired, 4 has not", old, at(old.At.AddDate(0, 0, 1)))
	m.add("chain-expired-at-the-end", "expired", "statement 4 has expired", old, at(old.At.AddDate(1, 0, 1)), m.manifestOf(old, 12, func(x *manifestT) { x.Expires = x.Expires.AddDate(5, 0, 0) }))
	m.add("chain-expired-unsure", vectors.OK, "statement 4 has expired by a clock that nobody vouches for", old, unsure(old.At.AddDate(1, 0, 1)))
}

// longChains are as long as one walk may be, and one longer. Each has 220 KB, so
// they are not written down.
func (m *maker) longChains() {
	long := m.base.Fork()
	for range trust.MaxHops {
		long.Issue(nil)
	}
	m.add("chain-64", vectors.OK, "64 statements, as many as one walk takes", long)
	longer := long.Fork()
	longer.Issue(nil)
	m.add("chain-65", "chain", "65 statements", longer, then(vectors.OK, 65))
}

// takeovers are by those who may not.
func (m *maker) takeovers() {
	evil := m.base.NewKey(trusttest.Root)
	by := func(name, expect, comment string, signers ...*trusttest.Key) {
		m.t.Helper()
		sim := m.base.Fork()
		sim.Issue(func(st *trust.Statement) {
			sim.Drop(st, sim.Root)
			sim.Drop(st, sim.Standby)
			sim.List(st, trusttest.Root, evil)
		}, signers...)
		if expect == vectors.OK {
			m.add("chain-"+name, expect, comment, sim)
			return
		}
		m.add("chain-"+name, expect, comment, sim, then(vectors.OK, 1))
	}
	by("by-both", vectors.OK, "the new root key was let in by the old one", m.base.Root, evil)
	by("by-itself", untrusted, "who was not trusted makes himself root", evil)
	by("by-old-alone", untrusted, "the new root key has not signed", m.base.Root, m.base.Standby)
	by("by-manifest-key", untrusted, "a manifest key makes nobody root", m.base.Manifest, evil)

	sim := m.base.Fork()
	sim.Issue(nil)
	m.add("chain-other-purpose", untrusted, "the root key signed it as a manifest", sim, then(vectors.OK, 1), func(v *vectors.Vector) {
		set("trust/2.json.sig", sim.Root.Sign(m.t, trust.PurposeManifest, v.Files["trust/2.json"], day0))(v)
	})
}

// edited is the next statement with text replaced.
func (m *maker) edited(sim *trusttest.Sim, old, new string) option {
	next := sim.Fork()
	next.Issue(nil)
	data := next.Files()["trust/3.json"]
	if !bytes.Contains(data, []byte(old)) {
		m.t.Fatalf("statement 3 has no %q", old)
	}
	return m.statement(sim, 3, bytes.Replace(data, []byte(old), []byte(new), 1))
}

// revocations are about what must never be believed again.
func (m *maker) revocations() {
	sim := m.base.Fork()
	stolen := sim.Manifest
	sim.Revoke(stolen)
	m.add("revoked-key", vectors.OK, "the stolen key was revoked, and a new one signs in a new epoch", sim)
	m.add("revoked-key-signs", untrusted, "the revoked key signs for the new epoch", sim, signed(m.good(stolen)), releases("", "trust/2.json"))
	m.add("revoked-epoch", untrusted, "the thief's last version of the epoch that ended", sim, m.manifestOf(m.base, 12, nil), releases("", "trust/2.json"))
	m.add("revoked-hidden", vectors.OK, "the site hides statement 2: a medium of statement 1 cannot know", m.base)

	next := func(name, expect, comment string, change func(sim *trusttest.Sim, st *trust.Statement)) {
		m.t.Helper()
		fork := sim.Fork()
		m.add("revoked-"+name, expect, comment, sim, m.next(fork, func(st *trust.Statement) { change(fork, st) }), then(vectors.OK, 2))
	}
	next("key-vanishes", "chain", "a key is no longer revoked", func(_ *trusttest.Sim, st *trust.Statement) { st.Revoked.Keys = nil })
	next("key-listed-again", "malformed", "a revoked key is among the keys again", func(sim *trusttest.Sim, st *trust.Statement) { sim.List(st, trusttest.Manifest, stolen) })
	next("key-twice", "malformed", "a key is revoked twice", func(_ *trusttest.Sim, st *trust.Statement) {
		st.Revoked.Keys = append(st.Revoked.Keys, st.Revoked.Keys[0])
	})
	next("bad-fingerprint", "malformed", "what is revoked is no fingerprint", func(_ *trusttest.Sim, st *trust.Statement) { st.Revoked.Keys[0].Fingerprint = "abc" })
	next("no-reason", "malformed", "nothing says why a key is revoked", func(_ *trusttest.Sim, st *trust.Statement) { st.Revoked.Keys[0].Reason = "" })
	next("reason-escape", "malformed", "the reason holds an escape code for consoles", func(_ *trusttest.Sim, st *trust.Statement) { st.Revoked.Keys[0].Reason = "\x1b[2J" })

	standby := m.base.Fork()
	root := standby.Root
	standby.Revoke(root)
	m.add("revoked-root", vectors.OK, "the root key was stolen, the standby key takes over", standby)
	thief := m.base.Fork()
	thief.Issue(func(st *trust.Statement) {
		thief.Drop(st, root)
		thief.List(st, trusttest.Root, thief.NewKey(trusttest.Root))
		st.Revoked.Keys = append(st.Revoked.Keys, revokedKey(root))
	}, root, root)
	m.add("revoked-root-signs", untrusted, "the key that statement 2 revokes has signed it", thief, then(vectors.OK, 1))

	ref := object.OfBytes([]byte("kernel"))
	objects := m.base.Fork()
	objects.Issue(func(st *trust.Statement) {
		st.Revoked.Objects = []trust.RevokedObject{{SHA256: ref.SHA256, Reason: "has a hole", Since: day0}}
	})
	m.add("revoked-kernel", "revoked", "the installer's kernel is revoked, the rescue system is not", objects, releases("rescue", "trust/2.json", "manifest.json"))
	vanished := objects.Fork()
	vanished.Issue(func(st *trust.Statement) { st.Revoked.Objects = nil })
	m.add("revoked-kernel-vanishes", "chain", "a kernel is no longer revoked", vanished, then("revoked", 2), releases("rescue", "trust/2.json", "manifest.json"))
}
