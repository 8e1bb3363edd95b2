package trust

import (
	"errors"
	"maps"
	"slices"
	"time"
)

// Panel counts signatures while they are collected, when there are too few yet.
// What it says is for people: only [Store.Open] returns bytes to act on.
type Panel struct{ st Statement }

// NewPanel returns the panel of those keys that could stand in a statement
// issued at now which revokes what revoked lists. That none could is an error.
func NewPanel(now time.Time, revoked Revoked, keys ...Key) (*Panel, error) {
	if err := revoked.validate(); err != nil {
		return nil, err
	}
	st := Statement{Issued: now, Revoked: revoked}
	var refused []error
	for _, k := range keys {
		more := st
		more.Keys = append(slices.Clip(st.Keys), k)
		if err := more.validateKeys(); err != nil {
			refused = append(refused, err)
			continue
		}
		st = more
		st.Roles.Root.Keys = append(st.Roles.Root.Keys, k.Fingerprint)
	}
	if len(refused) > 0 && len(st.Keys) == 0 {
		return nil, errors.Join(refused...)
	}
	st.Roles.Root.Threshold = 1
	st.Roles.Manifest = st.Roles.Root
	return &Panel{st}, nil
}

// Count returns who of the panel has signed data for the purpose, sorted, by
// the rules of [Store.Open]. That nobody has is an error; it wraps
// [ErrUntrusted].
func (p *Panel) Count(purpose Purpose, data, sigs []byte) ([]Fingerprint, error) {
	counted, err := tally(p.st, purpose, data, sigs)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(counted)), nil
}
