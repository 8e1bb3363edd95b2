// Package object names bytes by their SHA-256 and lets nothing else through.
//
// Every byte that comes from outside (a mirror, a cache, a disk) flows through
// a [Verifier], or through the [Reader] built on it, which stops at the first
// byte beyond the promised size and refuses to end before the promised hash is
// met. Most callers want [NewReader]; callers that write somewhere themselves
// want [NewVerifier].
//
// The package promises that a read which ends in io.EOF delivered exactly the
// referenced bytes. It does not promise that bytes delivered before an error
// were right: whoever acts on a stream must wait for its end.
package object

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
)

// ErrMismatch is wrapped by every error that says that bytes were not the
// referenced ones, be it by size or by hash.
var ErrMismatch = errors.New("content mismatch")

// ID is the SHA-256 of an object's bytes.
type ID [sha256.Size]byte

// ParseID reads an ID from its 64 lower-case hexadecimal digits. Upper case is
// refused, so that one object has one name.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != hex.EncodedLen(len(id)) {
		return ID{}, fmt.Errorf("sha256 %q: %d characters, want 64 hexadecimal digits", clip(s), len(s))
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return ID{}, fmt.Errorf("sha256 %q: want lower-case hexadecimal digits only", s)
		}
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err
}

// String returns the 64 lower-case hexadecimal digits of the ID.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler by [ParseID].
func (id *ID) UnmarshalText(text []byte) error {
	parsed, err := ParseID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

// Ref is all that is needed to recognise an object: its size in bytes and its
// SHA-256.
type Ref struct {
	Size   int64 `json:"size"`
	SHA256 ID    `json:"sha256"`
}

// Path is where a site keeps the object, relative to the site's root.
func (r Ref) Path() string { return "objects/" + r.SHA256.String() }

// String names the object in messages: the hash and the size.
func (r Ref) String() string { return fmt.Sprintf("sha256:%s (%d bytes)", r.SHA256, r.Size) }

// Of reads r to its end and returns the reference of what it held.
func Of(r io.Reader) (Ref, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return Ref{}, err
	}
	return Ref{Size: n, SHA256: ID(h.Sum(nil))}, nil
}

// OfBytes returns the reference of data.
func OfBytes(data []byte) Ref {
	return Ref{Size: int64(len(data)), SHA256: sha256.Sum256(data)}
}

// MismatchError tells which object was wanted and what came instead. It wraps
// [ErrMismatch].
type MismatchError struct {
	Want Ref
	// Got is the size that arrived; the hash is set only where the size was right.
	Got Ref
}

// Error names both sizes or both hashes, whichever tells the difference.
func (e *MismatchError) Error() string {
	switch {
	case e.Got.Size > e.Want.Size:
		return fmt.Sprintf("object %s: more than the promised %d bytes", e.Want.SHA256, e.Want.Size)
	case e.Got.Size < e.Want.Size:
		return fmt.Sprintf("object %s: ends after %d of %d bytes", e.Want.SHA256, e.Got.Size, e.Want.Size)
	}
	return fmt.Sprintf("object %s: content has sha256 %s", e.Want.SHA256, e.Got.SHA256)
}

// Unwrap returns [ErrMismatch].
func (e *MismatchError) Unwrap() error { return ErrMismatch }

// Verifier takes the bytes of one object in order. Write fails at the first
// byte too many; Close fails unless the bytes written are the object.
type Verifier struct {
	want Ref
	n    int64
	h    hash.Hash
}

// NewVerifier returns a Verifier for the object that ref names.
func NewVerifier(ref Ref) *Verifier { return &Verifier{want: ref, h: sha256.New()} }

// Write hashes p. It takes nothing of a p that would pass the promised size.
func (v *Verifier) Write(p []byte) (int, error) {
	if int64(len(p)) > v.want.Size-v.n {
		return 0, &MismatchError{Want: v.want, Got: Ref{Size: v.n + int64(len(p))}}
	}
	v.n += int64(len(p))
	return v.h.Write(p)
}

// Written returns how many bytes have been accepted so far.
func (v *Verifier) Written() int64 { return v.n }

// Close compares what was written with the reference. It may be called once
// more bytes are not expected; it does not end the Verifier's life otherwise.
func (v *Verifier) Close() error {
	got := Ref{Size: v.n}
	if v.n == v.want.Size {
		got.SHA256 = ID(v.h.Sum(nil))
		if got == v.want {
			return nil
		}
	}
	return &MismatchError{Want: v.want, Got: got}
}

// Reader is an io.Reader over an object that fails instead of ending where the
// bytes are not the object.
type Reader struct {
	r io.Reader
	v *Verifier
}

// NewReader returns a Reader that expects exactly the object ref in r.
func NewReader(r io.Reader, ref Ref) *Reader { return &Reader{r: r, v: NewVerifier(ref)} }

// Read implements io.Reader. It returns io.EOF only after the whole object has
// been delivered and verified; too long, too short or altered input ends in a
// [*MismatchError].
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		if _, verr := r.v.Write(p[:n]); verr != nil {
			return 0, verr
		}
	}
	if errors.Is(err, io.EOF) {
		if verr := r.v.Close(); verr != nil {
			return n, verr
		}
	}
	return n, err
}

// clip shortens s for a message.
func clip(s string) string {
	if len(s) > 80 {
		return s[:80] + "..."
	}
	return s
}
