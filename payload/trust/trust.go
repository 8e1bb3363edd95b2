package trust

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/farboot/farboot/payload/object"
)

const (
	// Notation names the hashed subpacket (RFC 9580, section 5.2.3.24) that
	// binds a signature to a [Purpose]. Without it, a signature that the same
	// key put under an e-mail or a git tag could be passed off as another.
	Notation = "purpose@farboot.github.io"
	// MaxSignatureSize bounds a signature file, in bytes: about 100 Ed25519
	// signatures, or 35 of RSA-3072.
	MaxSignatureSize = 16 << 10
	// MaxStatementSize bounds a trust statement, in bytes. One with ten gpg
	// keys has about 10 KiB.
	MaxStatementSize = 64 << 10
	// MaxHops bounds how many statements one walk takes. Ten rotations a year
	// for six years fit; what is more is an endless chain, or a medium that has
	// to be built anew.
	MaxHops = 64
	// MaxKeys bounds the keys of a statement. 64 plain Ed25519 keys have 36 KiB;
	// of RSA-4096 keys with a subkey, about 20 fit into [MaxStatementSize].
	MaxKeys = 64
	// MaxRevoked bounds the revoked keys of a statement, and the revoked objects
	// once more. Both full, with short reasons, have 44 KiB, and leave room for
	// more than ten Ed25519 keys.
	MaxRevoked = 128
)

var (
	// ErrUntrusted is wrapped by errors that say that signatures do not carry
	// the bytes. The text tells why, for a person at a console.
	ErrUntrusted = errors.New("untrusted")
	// ErrMalformed is wrapped by errors that say that a statement cannot be
	// one, whoever signed it.
	ErrMalformed = errors.New("malformed trust statement")
	// ErrChain is wrapped by errors that say that a statement, well formed and
	// perhaps well signed, does not follow from the one before it.
	ErrChain = errors.New("broken trust chain")
)

// Purpose is what a signature was made for.
type Purpose string

// The purposes, as they stand in the notation.
const (
	PurposeStatement Purpose = "trust-statement"
	PurposeManifest  Purpose = "boot-manifest"
)

// Store believes what one trust statement says.
type Store struct {
	statement Statement
	id        object.ID // of the statement's bytes
}

// Anchor returns the Store of a statement that is believed because of where it
// lies: on the medium, or in the operator's own folder. The statement must be
// well formed and signed by a threshold of its own root keys, so that a slip of
// the pen is not burned.
func Anchor(statement, sigs []byte) (*Store, error) {
	statement = bytes.Clone(statement)
	st, err := decodeStatement(statement)
	if err != nil {
		return nil, err
	}
	if _, err := tally(st, PurposeStatement, statement, sigs); err != nil {
		return nil, fmt.Errorf("trust statement %d: %w", st.Version, err)
	}
	return &Store{statement: st, id: object.OfBytes(statement).SHA256}, nil
}

// Statement returns what the Store believes.
func (s *Store) Statement() Statement { return s.statement.clone() }

// ID returns the SHA-256 of the statement's bytes, by which it is told from
// another one with the same version.
func (s *Store) ID() object.ID { return s.id }

// Open returns data as Verified if the signatures in sigs carry it for purpose
// p: as many distinct keys as the role's threshold says. Otherwise the error
// wraps [ErrUntrusted] and tells for each signature why it does not count.
//
// The clock is not believed: now only serves to find [Verified.Doubts], and may
// be zero where there is no clock at all.
func (s *Store) Open(p Purpose, data, sigs []byte, now time.Time) (Verified, error) {
	data = bytes.Clone(data)
	counted, err := tally(s.statement, p, data, sigs)
	if err != nil {
		return Verified{}, err
	}
	v := Verified{purpose: p, data: data, statement: s.statement.Version}
	for fpr, sig := range counted {
		v.signers = append(v.signers, fpr)
		if v.signedAt.IsZero() || sig.made().Before(v.signedAt) {
			v.signedAt = sig.made()
		}
	}
	slices.Sort(v.signers)
	if !now.IsZero() {
		v.doubts, v.expired = doubts(s.statement, counted, v.signers, now)
	}
	return v, nil
}

// Verified is a file's bytes that enough keys vouch for. The zero Verified
// holds nothing and has no purpose.
type Verified struct {
	purpose   Purpose
	data      []byte
	statement int64
	signers   []Fingerprint
	signedAt  time.Time
	doubts    []string
	expired   []string // those of doubts that say that something is over
}

// Purpose returns what the bytes were signed for. Decoders compare it.
func (v Verified) Purpose() Purpose { return v.purpose }

// Bytes returns a copy of exactly the bytes that were signed.
func (v Verified) Bytes() []byte { return bytes.Clone(v.data) }

// Statement returns the version of the trust statement whose keys vouch for the
// bytes.
func (v Verified) Statement() int64 { return v.statement }

// Signers returns the primary keys whose signatures count, sorted.
func (v Verified) Signers() []Fingerprint { return slices.Clone(v.signers) }

// SignedAt returns the date of the oldest signature that counts, by the
// signer's clock, in UTC.
func (v Verified) SignedAt() time.Time { return v.signedAt }

// Doubts returns, one sentence each, what does not fit the clock: what has run
// out, and what is dated after now. Either time has passed or a clock is wrong,
// this one or the signer's.
func (v Verified) Doubts() []string { return slices.Clone(v.doubts) }

// Expired returns those of the Doubts that say that something has run out: the
// statement, a signature or its key. They are a reason to refuse where the clock
// can be believed. A date in the future is none: then the signer's clock was
// wrong, and no later statement of the chain could mend that.
func (v Verified) Expired() []string { return slices.Clone(v.expired) }
