package trust

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/strictjson"
)

// Format is the only layout version of a statement that is read and written.
const Format = 1

// Fingerprint is that of an OpenPGP v4 primary key: 40 upper-case hexadecimal
// digits.
type Fingerprint string

// Statement says which keys may sign what. It is JSON, at most
// [MaxStatementSize] bytes.
type Statement struct {
	Format int `json:"format"`
	// Version counts up from 1. Version N+1 is signed by the root keys of both
	// N and N+1; see [Store.Advance].
	Version int64 `json:"version"`
	// Epoch counts up from 1. Versions of manifests are compared within one
	// epoch. It is raised when a manifest key is revoked, so that a version of
	// 2^62 signed by its thief loses its meaning. From N to N+1 it stays or
	// rises by 1.
	Epoch int64 `json:"epoch"`
	// Product is who or what the keys speak for; a manifest's must be equal.
	Product string    `json:"product"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	// Keys are all the keys that the roles name, each once.
	Keys  []Key `json:"keys"`
	Roles Roles `json:"roles"`
	// Revoked is what must never be believed again. It only grows.
	Revoked Revoked `json:"revoked,omitzero"`
}

// Key is one public key.
type Key struct {
	Fingerprint Fingerprint `json:"fingerprint"`
	// Key is one binary transferable public key, as "gpg --export" writes it.
	Key []byte `json:"key"`
}

// Roles are the things that keys can be listed for. A key may have both roles,
// but only if it is listed for both.
type Roles struct {
	// Root keys sign trust statements.
	Root Role `json:"root"`
	// Manifest keys sign boot manifests.
	Manifest Role `json:"manifest"`
}

// Role lists keys and says how many of them must sign, at least 1.
type Role struct {
	Keys      []Fingerprint `json:"keys"`
	Threshold int           `json:"threshold"`
}

// EncodeStatement returns the bytes of a statement, to be signed and published
// as they are. The same statement gives the same bytes: lists are sorted, times
// are in UTC and whole seconds. A statement that [Anchor] would call malformed
// is refused.
func EncodeStatement(st Statement) ([]byte, error) {
	st = st.clone()
	st.Format = Format
	st.Issued = st.Issued.UTC().Truncate(time.Second)
	st.Expires = st.Expires.UTC().Truncate(time.Second)
	slices.SortFunc(st.Keys, func(a, b Key) int { return strings.Compare(string(a.Fingerprint), string(b.Fingerprint)) })
	slices.Sort(st.Roles.Root.Keys)
	slices.Sort(st.Roles.Manifest.Keys)
	st.Revoked = st.Revoked.sorted()
	if err := st.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	data, err := json.MarshalIndent(st, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if data = append(data, '\n'); len(data) > MaxStatementSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrMalformed, len(data), MaxStatementSize)
	}
	return data, nil
}

// decodeStatement reads and validates a statement. It looks at no signature.
func decodeStatement(data []byte) (Statement, error) {
	var st Statement
	if err := strictjson.Decode(data, MaxStatementSize, &st); err != nil {
		return Statement{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := st.validate(); err != nil {
		return Statement{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return st, nil
}

// validate tells what is wrong with the statement. That the product is a proper
// name is not checked here: one that is not can equal no manifest's.
func (st Statement) validate() error {
	switch {
	case st.Format != Format:
		return fmt.Errorf("format %d, this program reads format %d", st.Format, Format)
	case st.Version < 1:
		return fmt.Errorf("version %d, want 1 or more", st.Version)
	case st.Epoch < 1:
		return fmt.Errorf("epoch %d, want 1 or more", st.Epoch)
	case st.Product == "":
		return fmt.Errorf("no product is named")
	case st.Issued.IsZero() || !st.Issued.Before(st.Expires):
		return fmt.Errorf("issued %s, expires %s: want a time of issue and a later one of expiry",
			day(st.Issued), day(st.Expires))
	case len(st.Keys) > MaxKeys:
		return fmt.Errorf("%d keys, at most %d are read", len(st.Keys), MaxKeys)
	}
	if err := st.Revoked.validate(); err != nil {
		return err
	}
	if err := st.validateKeys(); err != nil {
		return err
	}
	if err := st.Roles.Root.validate(st); err != nil {
		return fmt.Errorf("role root: %w", err)
	}
	if err := st.Roles.Manifest.validate(st); err != nil {
		return fmt.Errorf("role manifest: %w", err)
	}
	for _, k := range st.Keys {
		if !slices.Contains(st.Roles.Root.Keys, k.Fingerprint) && !slices.Contains(st.Roles.Manifest.Keys, k.Fingerprint) {
			return fmt.Errorf("key %s has no role", k.Fingerprint)
		}
	}
	return nil
}

// validateKeys checks each key, that none is revoked, and that no secret counts for two: neither one
// key listed twice, nor one subkey under two primaries, nor the same numbers
// under another date.
func (st Statement) validateKeys() error {
	owner := map[string]Fingerprint{}
	for _, k := range st.Keys {
		entity, err := k.parse()
		if err != nil {
			return err
		}
		if err := checkKey(entity, st.Issued); err != nil {
			return fmt.Errorf("key %s: %w", k.Fingerprint, err)
		}
		if err := st.Revoked.check(entity); err != nil {
			return err
		}
		for _, m := range materials(entity) {
			if first, taken := owner[m]; taken {
				return fmt.Errorf("key %s: holds a key that %s has already", k.Fingerprint, first)
			}
			owner[m] = k.Fingerprint
		}
	}
	return nil
}

// validate checks the role against the keys of its statement.
func (r Role) validate(st Statement) error {
	for i, fpr := range r.Keys {
		if slices.Contains(r.Keys[:i], fpr) {
			return fmt.Errorf("key %s is listed twice", fpr)
		}
		if !slices.ContainsFunc(st.Keys, func(k Key) bool { return k.Fingerprint == fpr }) {
			return fmt.Errorf("key %q is not among the statement's keys", fpr)
		}
	}
	if r.Threshold < 1 || r.Threshold > len(r.Keys) {
		return fmt.Errorf("threshold %d of %d keys, want at least 1 and at most all", r.Threshold, len(r.Keys))
	}
	return nil
}

// clone returns a copy that shares no memory with st.
func (st Statement) clone() Statement {
	st.Keys = slices.Clone(st.Keys)
	for i := range st.Keys {
		st.Keys[i].Key = slices.Clone(st.Keys[i].Key)
	}
	st.Roles.Root.Keys = slices.Clone(st.Roles.Root.Keys)
	st.Roles.Manifest.Keys = slices.Clone(st.Roles.Manifest.Keys)
	st.Revoked.Keys = slices.Clone(st.Revoked.Keys)
	st.Revoked.Objects = slices.Clone(st.Revoked.Objects)
	return st
}

// day prints a time for people.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
