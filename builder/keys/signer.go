package keys

import (
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// SigningKey is one key that can sign now: a key file, or one that gpg holds.
// The zero SigningKey signs nothing.
type SigningKey struct {
	// Fingerprint is that of the primary key.
	Fingerprint trust.Fingerprint
	// Where is the key file, or "gpg".
	Where string
}

// ParseSigner finds a signer by what a user writes: "gpg:FINGERPRINT" for a key
// that gpg holds, in its agent or on a smartcard; "file:PATH" for a key file;
// or a fingerprint alone, for a key file in one of the folders. A locked key
// file is unlocked at its first signature, by asking.
func ParseSigner(s string, secrets []string, ask Passphrase) (SigningKey, error) {
	return SigningKey{}, errUnfinished
}

// Sign returns one binary signature over data. It was verified, whoever made it.
func (k SigningKey) Sign(p trust.Purpose, data []byte, now time.Time) ([]byte, error) {
	return nil, errUnfinished
}

// SignOptions say who signs manifests, see [Set.SignWith].
type SignOptions struct {
	// Signers sign in any case. Then secret keys of the role in the folders
	// Secrets do, until there are enough; a folder that does not exist holds none.
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

// SignWith returns a Signer that needs not find all keys. It keeps keys
// unlocked for its lifetime, and may be used by several goroutines.
func (s *Set) SignWith(o SignOptions) Signer {
	return func(trust.Purpose, []byte) ([]byte, error) { return nil, errUnfinished }
}
