package trusttest

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// The roles of a Sim's keys. A standby key is a root key that signs only where
// the others do not suffice.
const (
	Root     = "root"
	Standby  = "standby"
	Manifest = "manifest"
)

// Sim is one product's chain of trust statements with all its secret keys, in
// memory. It starts at statement 1 with one key of each role and thresholds of
// 1. Methods that change something issue the next statement, properly signed.
// [Sim.Issue] takes any change and any signers, and [Sim.Fork] makes a thief
// who has all the keys, so that an attack is a few lines:
//
//	sim := trusttest.NewSim(t, "demo", at)
//	thief := sim.Fork()
//	sim.Revoke(sim.Root)
//	thief.Issue(func(st *trust.Statement) { st.Product = "other" }, thief.Root)
//	store, err := sim.Store(1).Walk(ctx, trusttest.Read(thief.Files()))
//
// A Sim does not check the chain: that is for the code under test.
type Sim struct {
	// Root, Standby and Manifest are the keys of the newest statement.
	Root, Standby, Manifest *Key
	// At is the date of what is made next: keys, statements, signatures. It
	// stands still unless the test moves it.
	At time.Time

	t      testing.TB
	keys   map[trust.Fingerprint]simKey
	newest trust.Statement
	files  map[string][]byte
}

type simKey struct {
	*Key
	role string
}

// NewSim returns a Sim for product whose keys are made, and whose statement 1
// is issued, at the given time. Statements run for a year.
func NewSim(t testing.TB, product string, at time.Time) *Sim {
	t.Helper()
	s := &Sim{At: at, t: t, keys: map[trust.Fingerprint]simKey{}, files: map[string][]byte{}}
	s.newest = trust.Statement{Epoch: 1, Product: product}
	s.Root, s.Standby, s.Manifest = s.NewKey(Root), s.NewKey(Standby), s.NewKey(Manifest)
	s.Issue(func(st *trust.Statement) {
		s.List(st, Root, s.Root)
		s.List(st, Standby, s.Standby)
		s.List(st, Manifest, s.Manifest)
		st.Roles.Root.Threshold, st.Roles.Manifest.Threshold = 1, 1
	}, s.Root)
	return s
}

// Fork returns a Sim with the same keys and the same past whose future is its
// own.
func (s *Sim) Fork() *Sim {
	fork := *s
	fork.keys, fork.files = maps.Clone(s.keys), maps.Clone(s.files)
	return &fork
}

// NewKey makes a key that can be listed for role. No statement lists it yet.
func (s *Sim) NewKey(role string) *Key {
	s.t.Helper()
	k := NewKey(s.t, role, s.At)
	s.keys[k.Fingerprint()] = simKey{k, role}
	return k
}

// List adds a key to a statement, and to a role of it.
func (s *Sim) List(st *trust.Statement, role string, k *Key) {
	s.t.Helper()
	st.Keys = append(st.Keys, k.Public(s.t))
	keys := &roleOf(st, role).Keys
	*keys = append(*keys, k.Fingerprint())
}

// Drop takes a key out of a statement.
func (s *Sim) Drop(st *trust.Statement, k *Key) {
	is := func(fpr trust.Fingerprint) bool { return fpr == k.Fingerprint() }
	st.Keys = slices.DeleteFunc(st.Keys, func(k trust.Key) bool { return is(k.Fingerprint) })
	for _, role := range []string{Root, Manifest} {
		keys := &roleOf(st, role).Keys
		*keys = slices.DeleteFunc(*keys, is)
	}
}

// Issue makes the next statement: a copy of the newest, one version up, issued
// at s.At, then changed. It is signed by the given keys or, where there are
// none, by as many root keys of the old and of the new statement as are needed.
// A change may be nil. What [trust.EncodeStatement] refuses fails the test;
// such bytes are put into Files by hand.
func (s *Sim) Issue(change func(*trust.Statement), signers ...*Key) {
	s.t.Helper()
	st := s.Statement()
	st.Version++
	st.Issued, st.Expires = s.At, s.At.AddDate(1, 0, 0)
	if change != nil {
		change(&st)
	}
	if len(signers) == 0 {
		signers = append(s.signers(s.newest, Root, st.Revoked), s.signers(st, Root, st.Revoked)...)
	}
	data, err := trust.EncodeStatement(st)
	if err != nil {
		s.t.Fatal(err)
	}
	s.newest = st
	s.files[path(st.Version)] = data
	s.files[path(st.Version)+".sig"] = s.Sign(trust.PurposeStatement, data, signers...)
}

// Rotate replaces the role's key by a new one.
func (s *Sim) Rotate(role string) *Key {
	s.t.Helper()
	k := s.NewKey(role)
	s.Issue(func(st *trust.Statement) {
		s.Drop(st, *s.slot(role))
		s.List(st, role, k)
	})
	*s.slot(role) = k
	return k
}

// Revoke revokes a key as stolen and puts a new one into its place, signed by
// who is left. If it was a manifest key, a new epoch begins.
func (s *Sim) Revoke(stolen *Key) *Key {
	s.t.Helper()
	role := s.keys[stolen.Fingerprint()].role
	k := s.NewKey(role)
	s.Issue(func(st *trust.Statement) {
		s.Drop(st, stolen)
		s.List(st, role, k)
		st.Revoked.Keys = append(st.Revoked.Keys, trust.RevokedKey{Fingerprint: stolen.Fingerprint(), Reason: "stolen", Since: s.At})
		if role == Manifest {
			st.Epoch++
		}
	})
	if slot := s.slot(role); *slot == stolen {
		*slot = k
	}
	return k
}

// Threshold sets how many keys of the role must sign, and adds new ones until
// there are as many. The standby key is one of the root keys.
func (s *Sim) Threshold(role string, n int) {
	s.t.Helper()
	s.Issue(func(st *trust.Statement) {
		for r := roleOf(st, role); len(r.Keys) < n; {
			s.List(st, role, s.NewKey(role))
		}
		roleOf(st, role).Threshold = n
	})
}

// Statement returns a copy of the newest statement.
func (s *Sim) Statement() trust.Statement {
	st := s.newest
	st.Keys = slices.Clone(st.Keys)
	st.Roles.Root.Keys = slices.Clone(st.Roles.Root.Keys)
	st.Roles.Manifest.Keys = slices.Clone(st.Roles.Manifest.Keys)
	st.Revoked.Keys = slices.Clone(st.Revoked.Keys)
	st.Revoked.Objects = slices.Clone(st.Revoked.Objects)
	return st
}

// SignManifest returns the signatures of the given keys over a manifest's
// bytes; without keys, of as many manifest keys as the newest statement needs.
func (s *Sim) SignManifest(data []byte, keys ...*Key) []byte {
	s.t.Helper()
	if len(keys) == 0 {
		keys = s.signers(s.newest, Manifest, trust.Revoked{})
	}
	return s.Sign(trust.PurposeManifest, data, keys...)
}

// Sign returns the signatures of keys over data, dated s.At, one by each.
func (s *Sim) Sign(p trust.Purpose, data []byte, keys ...*Key) []byte {
	s.t.Helper()
	var sigs []byte
	seen := map[*Key]bool{}
	for _, k := range keys {
		if !seen[k] {
			sigs = append(sigs, k.Sign(s.t, p, data, s.At)...)
		}
		seen[k] = true
	}
	return sigs
}

// Files returns a copy of the site's files as they stand under their names:
// trust/1.json, trust/1.json.sig and so on. Tests may change it.
func (s *Sim) Files() map[string][]byte {
	files := map[string][]byte{}
	for name, data := range s.files {
		files[name] = bytes.Clone(data)
	}
	return files
}

// Store returns what a medium believes that was built with the given statement.
func (s *Sim) Store(version int64) *trust.Store {
	s.t.Helper()
	store, err := trust.Anchor(s.files[path(version)], s.files[path(version)+".sig"])
	if err != nil {
		s.t.Fatal(err)
	}
	return store
}

// Read returns a function for [trust.Store.Walk] that reads from files named
// as by [Sim.Files].
func Read(files map[string][]byte) func(version int64) (statement, sigs []byte, err error) {
	return func(version int64) ([]byte, []byte, error) {
		statement, ok := files[path(version)]
		if !ok {
			return nil, nil, &fs.PathError{Op: "read", Path: path(version), Err: fs.ErrNotExist}
		}
		return statement, files[path(version)+".sig"], nil
	}
}

// signers returns as many keys as a role of st needs: none that are revoked,
// and standby keys last.
func (s *Sim) signers(st trust.Statement, role string, revoked trust.Revoked) []*Key {
	r := *roleOf(&st, role)
	var list, standby []*Key
	for _, fpr := range r.Keys {
		k, ours := s.keys[fpr]
		gone := slices.ContainsFunc(revoked.Keys, func(r trust.RevokedKey) bool { return r.Fingerprint == fpr })
		switch {
		case !ours || gone:
		case k.role == Standby:
			standby = append(standby, k.Key)
		default:
			list = append(list, k.Key)
		}
	}
	list = append(list, standby...)
	return list[:min(r.Threshold, len(list))]
}

// slot returns where the Sim keeps the role's key.
func (s *Sim) slot(role string) **Key {
	switch role {
	case Root:
		return &s.Root
	case Standby:
		return &s.Standby
	case Manifest:
		return &s.Manifest
	}
	s.t.Fatalf("trusttest: no role %q", role)
	return nil
}

// roleOf returns the part of st that lists the keys of a role.
func roleOf(st *trust.Statement, role string) *trust.Role {
	if role == Manifest {
		return &st.Roles.Manifest
	}
	return &st.Roles.Root
}

// path is where a site keeps a statement.
func path(version int64) string { return fmt.Sprintf("trust/%d.json", version) }
