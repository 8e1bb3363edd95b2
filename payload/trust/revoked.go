package trust

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/payload/object"
)

// maxReason bounds the reason for a revocation, in bytes: one line of a console
// with 80 columns.
const maxReason = 80

// Revoked lists what must never be believed again, each thing once. At most
// [MaxRevoked] of either kind.
type Revoked struct {
	Keys    []RevokedKey    `json:"keys,omitzero"`
	Objects []RevokedObject `json:"objects,omitzero"`
}

// RevokedKey is a key that was stolen, lost or given up for good. A key that is
// merely replaced is left out of the next statement instead.
type RevokedKey struct {
	// Fingerprint is that of a primary key, or of one signing subkey.
	Fingerprint Fingerprint `json:"fingerprint"`
	// Reason is shown to people: 1 to 80 printable ASCII characters.
	Reason string `json:"reason"`
	// Since is for people, too: signatures of any date are refused.
	Since time.Time `json:"since"`
}

// RevokedObject is an object that must not be run, whoever signed for it: a
// kernel with a hole, say.
type RevokedObject struct {
	SHA256 object.ID `json:"sha256"`
	// Reason is shown to people: 1 to 80 printable ASCII characters.
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
}

// sorted returns a copy as it is written: in order, times in UTC and whole
// seconds, empty lists left out.
func (r Revoked) sorted() Revoked {
	r.Keys = slices.SortedFunc(slices.Values(r.Keys), func(a, b RevokedKey) int {
		return strings.Compare(string(a.Fingerprint), string(b.Fingerprint))
	})
	for i := range r.Keys {
		r.Keys[i].Since = r.Keys[i].Since.UTC().Truncate(time.Second)
	}
	r.Objects = slices.SortedFunc(slices.Values(r.Objects), func(a, b RevokedObject) int {
		return strings.Compare(a.SHA256.String(), b.SHA256.String())
	})
	for i := range r.Objects {
		r.Objects[i].Since = r.Objects[i].Since.UTC().Truncate(time.Second)
	}
	return r
}

// validate checks the lists by themselves.
func (r Revoked) validate() error {
	if n := max(len(r.Keys), len(r.Objects)); n > MaxRevoked {
		return fmt.Errorf("%d revocations, at most %d are read", n, MaxRevoked)
	}
	for i, k := range r.Keys {
		if err := checkFingerprint(k.Fingerprint); err != nil {
			return fmt.Errorf("revoked key %q: %w", clip(string(k.Fingerprint)), err)
		}
		if _, twice := (Revoked{Keys: r.Keys[:i]}).key(k.Fingerprint); twice {
			return fmt.Errorf("revoked key %s is listed twice", k.Fingerprint)
		}
		if err := checkGrounds(k.Reason, k.Since); err != nil {
			return fmt.Errorf("revoked key %s: %w", k.Fingerprint, err)
		}
	}
	for i, o := range r.Objects {
		if _, twice := (Revoked{Objects: r.Objects[:i]}).object(o.SHA256); twice {
			return fmt.Errorf("revoked object %s is listed twice", o.SHA256)
		}
		if err := checkGrounds(o.Reason, o.Since); err != nil {
			return fmt.Errorf("revoked object %s: %w", o.SHA256, err)
		}
	}
	return nil
}

// check refuses a key that is revoked, or that still holds a revoked subkey.
func (r Revoked) check(entity *openpgp.Entity) error {
	list := []*packet.PublicKey{entity.PrimaryKey}
	for _, sub := range entity.Subkeys {
		list = append(list, sub.PublicKey)
	}
	return r.refuse(list...)
}

// refuse returns an error if one of the keys is revoked.
func (r Revoked) refuse(keys ...*packet.PublicKey) error {
	for _, pk := range keys {
		if k, ok := r.key(fingerprint(pk)); ok {
			return k.refusal()
		}
	}
	return nil
}

// refusal words the error for a signature by the key, or for its being listed.
func (k RevokedKey) refusal() error {
	return fmt.Errorf("key %s has been revoked since %s (%s)", k.Fingerprint, day(k.Since), k.Reason)
}

// key finds the revocation of a key.
func (r Revoked) key(fpr Fingerprint) (RevokedKey, bool) {
	i := slices.IndexFunc(r.Keys, func(k RevokedKey) bool { return k.Fingerprint == fpr })
	if i < 0 {
		return RevokedKey{}, false
	}
	return r.Keys[i], true
}

// object finds the revocation of an object.
func (r Revoked) object(id object.ID) (RevokedObject, bool) {
	i := slices.IndexFunc(r.Objects, func(o RevokedObject) bool { return o.SHA256 == id })
	if i < 0 {
		return RevokedObject{}, false
	}
	return r.Objects[i], true
}

// checkFingerprint asks for 40 upper-case hexadecimal digits.
func checkFingerprint(fpr Fingerprint) error {
	if len(fpr) != 40 || strings.Trim(string(fpr), "0123456789ABCDEF") != "" {
		return errors.New("want 40 upper-case hexadecimal digits")
	}
	return nil
}

// checkGrounds asks for a date and for a reason that cannot make a console lie.
func checkGrounds(reason string, since time.Time) error {
	switch {
	case since.IsZero():
		return errors.New("since when is missing")
	case reason == "":
		return errors.New("reason is missing")
	case len(reason) > maxReason:
		return fmt.Errorf("reason has %d bytes, at most %d fit", len(reason), maxReason)
	case strings.TrimSpace(reason) != reason:
		return fmt.Errorf("reason %+q: blanks before or after it", reason)
	}
	for _, c := range reason {
		if c < ' ' || c > '~' {
			return fmt.Errorf("reason %+q: character %U is not printable ASCII", reason, c)
		}
	}
	return nil
}
