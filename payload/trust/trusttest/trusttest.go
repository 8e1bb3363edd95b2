// Package trusttest makes keys, statements and signatures for tests. Keys are
// made anew in each run; none is ever written to disk.
//
// Most tests want [New] and [Site.Sign]. Those about rotation and theft want a
// [Sim], which has a whole chain of statements, and those about one signature
// use [NewKey] and change one thing.
package trusttest

import (
	"bytes"
	"crypto"
	"fmt"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/payload/trust"
)

// Site is one root key, one manifest key and the statement that lists them.
type Site struct {
	Root, Manifest *Key
	Store          *trust.Store
	// Statement and Signature are the bytes that a medium carries.
	Statement, Signature []byte
}

// New returns a Site for product whose keys are made, and whose statement is
// issued, at the given time. The statement runs for a year.
func New(t testing.TB, product string, at time.Time) *Site {
	t.Helper()
	s := &Site{Root: NewKey(t, "root", at), Manifest: NewKey(t, "manifest", at)}
	var err error
	s.Statement, err = trust.EncodeStatement(trust.Statement{
		Version: 1, Epoch: 1, Product: product, Issued: at, Expires: at.AddDate(1, 0, 0),
		Keys: []trust.Key{s.Root.Public(t), s.Manifest.Public(t)},
		Roles: trust.Roles{
			Root:     trust.Role{Keys: []trust.Fingerprint{s.Root.Fingerprint()}, Threshold: 1},
			Manifest: trust.Role{Keys: []trust.Fingerprint{s.Manifest.Fingerprint()}, Threshold: 1},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Signature = s.Root.Sign(t, trust.PurposeStatement, s.Statement, at)
	if s.Store, err = trust.Anchor(s.Statement, s.Signature); err != nil {
		t.Fatal(err)
	}
	return s
}

// Sign returns the manifest key's signature over a manifest's bytes.
func (s *Site) Sign(t testing.TB, data []byte, at time.Time) []byte {
	t.Helper()
	return s.Manifest.Sign(t, trust.PurposeManifest, data, at)
}

// Open signs data as a boot manifest at the given time and opens it.
func (s *Site) Open(t testing.TB, data []byte, at time.Time) trust.Verified {
	t.Helper()
	v, err := s.Store.Open(trust.PurposeManifest, data, s.Sign(t, data, at), at)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// Key is an OpenPGP key with its secret part.
type Key struct {
	Entity *openpgp.Entity
}

// NewKey makes an Ed25519 key at the given time. Options change the library's
// configuration, for keys that should be refused.
func NewKey(t testing.TB, name string, at time.Time, options ...func(*packet.Config)) *Key {
	t.Helper()
	config := configAt(at)
	for _, option := range options {
		option(config)
	}
	entity, err := openpgp.NewEntity(name, "", name+"@example.invalid", config)
	if err != nil {
		t.Fatal(err)
	}
	return &Key{Entity: entity}
}

// Fingerprint returns the primary key's fingerprint.
func (k *Key) Fingerprint() trust.Fingerprint {
	return trust.Fingerprint(fmt.Sprintf("%X", k.Entity.PrimaryKey.Fingerprint))
}

// Public returns the public part as it stands in a statement.
func (k *Key) Public(t testing.TB) trust.Key {
	t.Helper()
	var buf bytes.Buffer
	if err := k.Entity.Serialize(&buf); err != nil {
		t.Fatal(err)
	}
	return trust.Key{Fingerprint: k.Fingerprint(), Key: buf.Bytes()}
}

// Sign returns a detached binary signature over data for purpose p. Options
// change the library's configuration, for signatures that should not count.
func (k *Key) Sign(t testing.TB, p trust.Purpose, data []byte, at time.Time, options ...func(*packet.Config)) []byte {
	t.Helper()
	config := configAt(at)
	config.SignatureNotations = []*packet.Notation{{Name: trust.Notation, Value: []byte(p), IsHumanReadable: true}}
	for _, option := range options {
		option(config)
	}
	var buf bytes.Buffer
	if err := openpgp.DetachSign(&buf, []*openpgp.Entity{k.Entity}, bytes.NewReader(data), config); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// configAt is what good keys and good signatures are made with.
func configAt(at time.Time) *packet.Config {
	return &packet.Config{
		Time: func() time.Time { return at }, Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519,
		DefaultHash: crypto.SHA512,
	}
}
