// Package authkey reads the keys that people log in with: lines as in OpenSSH's
// authorized_keys (sshd(8), AUTHORIZED_KEYS FILE FORMAT).
//
// [Parse] is the main call. It promises that a line which it takes is one good
// public key of a kind that is safe today, and nothing else: options, among them
// commands and forced environments, are refused and not ignored, and so are
// certificates, DSA, and RSA below 3072 bits. What it takes, x/crypto/ssh takes as
// well; a fuzz test holds that.
//
// The package verifies no signatures, and has no part in a login: manifests use
// it to refuse a bad key at the desk, and payload/agent/sshd to know whom to let in.
package authkey

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrKey is wrapped by every error of [Parse].
var ErrKey = errors.New("not a key to log in with")

const (
	// MaxLine bounds a line, in bytes: RSA with 16384 bits takes 2740.
	MaxLine = 4096
	// minRSA and maxRSA bound an RSA key, in bits. Below 3072 lie less than 128
	// bits of strength (NIST SP 800-57 part 1, table 2); a check with more than
	// 16384, OpenSSH's own limit, costs more time than a stranger may have.
	minRSA, maxRSA = 3072, 16384
	// maxComment bounds the comment, in bytes. They are names like "anna@desk".
	maxComment = 256
	// maxExponent bounds RSA's public exponent, in bits, as x/crypto/ssh does. All
	// keys in use have 65537, which is 17.
	maxExponent = 24
)

// Key is a public key that may log in.
type Key struct {
	// Type is SSH's name of the kind of key, "ssh-ed25519".
	Type string
	// Blob is the key as SSH's protocol has it (RFC 4253, section 6.6).
	Blob []byte
	// Comment says whose it is, by whoever wrote the line. It may be empty, and
	// has no control characters.
	Comment string
}

// Fingerprint returns "SHA256:" with the unpadded base64 of the key's SHA-256, as
// ssh-keygen -l shows it.
func (k Key) Fingerprint() string {
	sum := sha256.Sum256(k.Blob)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// String returns the line that [Parse] read, with single blanks.
func (k Key) String() string {
	return strings.TrimSpace(k.Type + " " + base64.StdEncoding.EncodeToString(k.Blob) + " " + k.Comment)
}

// Parse reads one line: kind, base64, comment. The error wraps [ErrKey] and says
// what to do, without repeating a line that may be a private key.
func Parse(line string) (Key, error) {
	k, err := parse(line)
	if err != nil {
		return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return k, nil
}

func parse(line string) (Key, error) {
	if len(line) > MaxLine {
		return Key{}, fmt.Errorf("%d bytes, at most %d", len(line), MaxLine)
	}
	if strings.Contains(line, "PRIVATE KEY") {
		return Key{}, errors.New("this is a private key: it belongs to nobody but its owner; the file beside it that ends in .pub is meant")
	}
	kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	check, known := kinds()[kind]
	if !known {
		return Key{}, explain(kind)
	}
	text, comment, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	blob, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return Key{}, fmt.Errorf("%s: damaged: %w", kind, err)
	}
	if err := checkBlob(kind, blob, check); err != nil {
		return Key{}, fmt.Errorf("%s: %w", kind, err)
	}
	comment = strings.TrimSpace(comment)
	if len(comment) > maxComment || !utf8.ValidString(comment) || strings.ContainsFunc(comment, unprintable) {
		return Key{}, fmt.Errorf("comment: want at most %d bytes without control characters", maxComment)
	}
	return Key{Type: kind, Blob: blob, Comment: comment}, nil
}

// checkBlob wants the name of the kind, the fields that check knows, and no more.
func checkBlob(kind string, blob []byte, check func(*reader) error) error {
	fields := reader{rest: blob}
	name := fields.text()
	if !fields.short && name != kind {
		return fmt.Errorf("the key inside is of the kind %.40q", name)
	}
	err := check(&fields)
	if fields.short || err == nil && len(fields.rest) != 0 {
		return errors.New("damaged: too short or too long")
	}
	return err
}

// unprintable tells whether a rune is none that is seen.
func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// explain says why a line that begins with word is none of ours.
func explain(word string) error {
	switch {
	case word == "" || strings.HasPrefix(word, "#"):
		return errors.New("the line is empty or a comment")
	case word == "ssh-dss":
		return errors.New("DSA is broken; make one with: ssh-keygen -t ed25519")
	case strings.Contains(word, "-cert-v01@"):
		return errors.New("certificates are not taken: list the key itself")
	}
	return fmt.Errorf("begins with %+.40q; want ssh-ed25519, ecdsa-sha2-nistp256, ssh-rsa or the like, and no options before it", word)
}

// kinds maps the kinds of keys that are taken to what checks the fields behind
// the name.
func kinds() map[string]func(*reader) error {
	return map[string]func(*reader) error{
		"ssh-ed25519":                        ed25519Key,         // RFC 8709, section 4
		"ecdsa-sha2-nistp256":                ecdsaKey,           // RFC 5656, section 3.1
		"ecdsa-sha2-nistp384":                ecdsaKey,           // the same
		"ecdsa-sha2-nistp521":                ecdsaKey,           // the same
		"ssh-rsa":                            rsaKey,             // RFC 4253, section 6.6
		"sk-ssh-ed25519@openssh.com":         onCard(ed25519Key), // OpenSSH, PROTOCOL.u2f
		"sk-ecdsa-sha2-nistp256@openssh.com": onCard(ecdsaKey),   // the same
	}
}

// ed25519Key wants 32 bytes.
func ed25519Key(f *reader) error {
	if n := len(f.bytes()); n != 32 {
		return fmt.Errorf("%d bytes, want 32", n)
	}
	return nil
}

// ecdsaKey wants a point on the curve that is named, in the uncompressed form.
func ecdsaKey(f *reader) error {
	name, point := f.text(), f.bytes()
	curve := map[string]ecdh.Curve{"nistp256": ecdh.P256(), "nistp384": ecdh.P384(), "nistp521": ecdh.P521()}[name]
	if curve == nil || !strings.Contains(f.first, name) {
		return fmt.Errorf("curve %.20q", name)
	}
	if _, err := curve.NewPublicKey(point); err != nil {
		return fmt.Errorf("damaged: %w", err)
	}
	return nil
}

// rsaKey wants an odd exponent from 3, and a modulus of a safe length.
func rsaKey(f *reader) error {
	e, n := f.number(), f.number()
	if e.BitLen() < 2 || e.BitLen() > maxExponent || e.Bit(0) == 0 {
		return errors.New("its exponent is no good")
	}
	if bits := n.BitLen(); bits < minRSA || bits > maxRSA {
		return fmt.Errorf("%d bits, want %d to %d; make one with: ssh-keygen -t ed25519", bits, minRSA, maxRSA)
	}
	if n.Bit(0) == 0 {
		return errors.New("damaged: its modulus is even")
	}
	return nil
}

// onCard is a key that lives in a security key: an application's name follows it.
func onCard(check func(*reader) error) func(*reader) error {
	return func(f *reader) error {
		if err := check(f); err != nil {
			return err
		}
		if f.text() == "" {
			return errors.New("has no application")
		}
		return nil
	}
}

// reader takes fields off a blob: a length of 32 bits before each (RFC 4251,
// section 5).
type reader struct {
	rest  []byte
	first string // the first field
	short bool   // whether a field was not whole
}

// bytes returns the next field, or nil where there is none.
func (r *reader) bytes() []byte {
	if len(r.rest) < 4 {
		r.short, r.rest = true, nil
		return nil
	}
	n := binary.BigEndian.Uint32(r.rest)
	if uint64(n) > uint64(len(r.rest)-4) {
		r.short, r.rest = true, nil
		return nil
	}
	field := r.rest[4 : 4+n]
	r.rest = r.rest[4+n:]
	return field
}

// text returns the next field as text.
func (r *reader) text() string {
	s := string(r.bytes())
	if r.first == "" {
		r.first = s
	}
	return s
}

// number returns the next field as a positive number. It is 0 where the field is
// no such number in its only spelling: two's complement, without needless zeros
// before it (RFC 4251, section 5).
func (r *reader) number() *big.Int {
	b := r.bytes()
	if len(b) == 0 || b[0] >= 0x80 || b[0] == 0 && (len(b) == 1 || b[1] < 0x80) {
		return new(big.Int)
	}
	return new(big.Int).SetBytes(b)
}
