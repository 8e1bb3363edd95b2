package trust

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/farboot/farboot/payload/object"
)

// Advance returns the Store of the statement that follows s, version N+1 after
// version N, by the rules of the TUF specification, section 5.3:
//
//   - it is signed by a threshold of N's root keys, so that it comes from who
//     was trusted before, and by a threshold of its own, so that nobody is made
//     root who cannot sign;
//   - signatures by keys that N+1 revokes count for neither;
//   - its version is N+1, its product the same, it was not issued before N, its
//     epoch is N's or one more, and it revokes whatever N does.
//
// Dates of expiry are not looked at: a medium that slept for years has to pass
// statements that ran out meanwhile. The caller judges the last one.
//
// Errors wrap [ErrMalformed], [ErrUntrusted] or [ErrChain]. s stays as it is.
func (s *Store) Advance(statement, sigs []byte) (*Store, error) {
	now, due := s.statement, s.statement.Version+1
	statement = bytes.Clone(statement)
	next, err := decodeStatement(statement)
	if err != nil {
		return nil, fmt.Errorf("trust statement %d: %w", due, err)
	}
	if next.Version != due {
		return nil, fmt.Errorf("trust statement %d: %w: it has version %d", due, ErrChain, next.Version)
	}
	now.Revoked.Keys = slices.Concat(now.Revoked.Keys, next.Revoked.Keys)
	if _, err := tally(now, PurposeStatement, statement, sigs); err != nil {
		return nil, fmt.Errorf("trust statement %d, by the keys of %d: %w", due, now.Version, err)
	}
	if _, err := tally(next, PurposeStatement, statement, sigs); err != nil {
		return nil, fmt.Errorf("trust statement %d, by its own keys: %w", due, err)
	}
	if err := next.follows(s.statement); err != nil {
		return nil, fmt.Errorf("trust statement %d: %w: %w", due, ErrChain, err)
	}
	return &Store{statement: next, id: object.OfBytes(statement).SHA256}, nil
}

// follows tells why st cannot come after prev, signatures and version aside.
func (st Statement) follows(prev Statement) error {
	switch {
	case st.Product != prev.Product:
		return fmt.Errorf("product %+q, before it was %+q", clip(st.Product), clip(prev.Product))
	case st.Issued.Before(prev.Issued):
		return fmt.Errorf("issued %s, before statement %d of %s", day(st.Issued), prev.Version, day(prev.Issued))
	case st.Epoch != prev.Epoch && st.Epoch != prev.Epoch+1:
		return fmt.Errorf("epoch %d after %d, want the same or one more", st.Epoch, prev.Epoch)
	}
	for _, k := range prev.Revoked.Keys {
		if _, kept := st.Revoked.key(k.Fingerprint); !kept {
			return fmt.Errorf("key %s is no longer revoked", k.Fingerprint)
		}
	}
	for _, o := range prev.Revoked.Objects {
		if _, kept := st.Revoked.object(o.SHA256); !kept {
			return fmt.Errorf("object %s is no longer revoked", o.SHA256)
		}
	}
	return nil
}

// Walk advances from s for as long as read has a next statement, and returns
// the last Store; s itself if there is none. read returns both files of a
// version, and an error that wraps [fs.ErrNotExist] where the chain ends.
//
// More than [MaxHops] statements are [ErrChain]. After any error the Store is
// nil: who wants to go on from the last good one calls [Store.Advance] hop by
// hop.
func (s *Store) Walk(ctx context.Context, read func(version int64) (statement, sigs []byte, err error)) (*Store, error) {
	for hop := 0; ; hop++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		due := s.statement.Version + 1
		statement, sigs, err := read(due)
		if errors.Is(err, fs.ErrNotExist) {
			return s, nil
		}
		if err != nil {
			return nil, fmt.Errorf("trust statement %d: %w", due, err)
		}
		if hop == MaxHops {
			return nil, fmt.Errorf("trust statement %d: %w: more than %d statements in one walk", due, ErrChain, MaxHops)
		}
		if s, err = s.Advance(statement, sigs); err != nil {
			return nil, err
		}
	}
}

// Revokes tells whether the statement revokes an object, and why.
func (s *Store) Revokes(id object.ID) (RevokedObject, bool) { return s.statement.Revoked.object(id) }
