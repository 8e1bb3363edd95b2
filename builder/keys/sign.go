package keys

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/farboot/farboot/payload/trust"
)

// Signer returns what belongs into the signature file beside data: signatures
// made for purpose p by as many keys as it takes.
type Signer func(p trust.Purpose, data []byte) ([]byte, error)

// SignOptions say who signs manifests, see [Set.SignWith].
type SignOptions struct {
	// Signers sign, and nobody else. Without any all manifest keys in the folders
	// Secrets do; a folder that does not exist holds none.
	Signers []SigningKey
	Secrets []string
	// Passphrase unlocks key files, each once.
	Passphrase Passphrase
	// Now is the date of the signatures.
	Now time.Time
	// Pending is a folder for requests: where keys are missing, what was to be
	// signed is written there and the error wraps [ErrPending]. Empty makes
	// missing keys an error only.
	Pending string
}

// Signer returns a Signer that signs with the role's keys whose secret part
// lies in the folder secrets, dated now. It fails where those are too few.
func (s *Set) Signer(secrets string, ask Passphrase, now time.Time) Signer {
	return s.SignWith(SignOptions{Secrets: []string{secrets}, Passphrase: ask, Now: now})
}

// SignWith returns a Signer that signs with all manifest keys at hand: while an
// old and a new one are listed, both do. It looks for keys once, keeps them unlocked for its lifetime, and may be used by
// several goroutines.
func (s *Set) SignWith(o SignOptions) Signer {
	hands := map[trust.Purpose]func() (hand, error){}
	for _, p := range []trust.Purpose{trust.PurposeManifest, trust.PurposeStatement} {
		hands[p] = sync.OnceValues(func() (hand, error) { return s.hand(p, o) })
	}
	return func(p trust.Purpose, data []byte) ([]byte, error) {
		ready, ok := hands[p]
		if !ok {
			return nil, fmt.Errorf("no role signs %q", p)
		}
		h, err := ready()
		if err != nil {
			return nil, err
		}
		b := h.ballot.fresh()
		for _, k := range h.keys {
			sig, err := k.Sign(p, data, o.Now)
			if err != nil {
				return nil, err
			}
			b.count(k.Fingerprint, sig)
		}
		if b.done() {
			return b.sigs(), nil
		}
		return nil, s.shortfall(p, data, b, o)
	}
}

// ballotFor returns that of a file of purpose p.
func ballotFor(st trust.Statement, p trust.Purpose) (ballot, error) {
	switch p {
	case trust.PurposeStatement:
		return ballotOf(st.Keys, st.Roles.Root), nil
	case trust.PurposeManifest:
		return ballotOf(st.Keys, st.Roles.Manifest), nil
	}
	return ballot{}, fmt.Errorf("no role signs %q", p)
}

// hand is who can sign at a desk.
type hand struct {
	ballot
	keys []SigningKey
}

// hand returns the keys that sign for p: those that are named, or else those that
// are at hand. For a statement the latter are no more than it takes.
func (s *Set) hand(p trust.Purpose, o SignOptions) (hand, error) {
	b, err := ballotFor(s.Store.Statement(), p)
	if err != nil {
		return hand{}, err
	}
	h := hand{ballot: b, keys: slices.Clone(o.Signers)}
	for _, k := range h.keys {
		if !slices.Contains(b.able, k.Fingerprint) {
			return hand{}, fmt.Errorf("%s: key %s cannot sign a %s: trust statement %d does not list it for that",
				k.Where, k.Fingerprint, p, s.Newest().Version)
		}
		b.count(k.Fingerprint, nil)
	}
	if len(h.keys) > 0 {
		return h, nil
	}
	for _, fpr := range b.able {
		if p == trust.PurposeStatement && !b.helps(fpr) {
			continue
		}
		k, err := findKey(fpr, o.Secrets, o.Passphrase)
		if err != nil {
			return hand{}, err
		}
		if k.sign != nil {
			h.keys = append(h.keys, k)
			b.count(fpr, nil)
		}
	}
	return h, nil
}

// shortfall tells who is missing, after it wrote a request for them if it may.
func (s *Set) shortfall(p trust.Purpose, data []byte, b ballot, o SignOptions) error {
	var missing []string
	for _, fpr := range b.missing() {
		missing = append(missing, string(fpr))
	}
	if o.Pending == "" {
		return fmt.Errorf("a %s needs %s more; these keys are not at hand, neither in %s nor named: %s",
			p, count(b.needed(), "signature"), strings.Join(o.Secrets, ", "), strings.Join(missing, ", "))
	}
	r, err := s.request(o.Pending, p, data, b.have)
	if err != nil {
		return err
	}
	for fpr, sig := range b.have {
		if err := renameio.WriteFile(signatureName(r.File, fpr), sig, 0o644); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %s needs %d more, by any of %s", ErrPending, r.File, b.needed(), strings.Join(missing, ", "))
}
