package keys

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/payload/trust"
)

// SigningKey is one key that can sign now: a key file, or one that gpg holds.
// The zero SigningKey signs nothing.
type SigningKey struct {
	// Fingerprint is that of the primary key.
	Fingerprint trust.Fingerprint
	// Where is the key file, or "gpg".
	Where string

	sign func(p trust.Purpose, data []byte, now time.Time) ([]byte, error)
}

// ParseSigner finds a signer by what a user writes: "gpg:FINGERPRINT" for a key
// that gpg holds, in its agent or on a smartcard; "file:PATH" for a key file;
// or a fingerprint alone, for a key file in one of the folders. A locked key
// file is unlocked at its first signature, by asking.
func ParseSigner(s string, secrets []string, ask Passphrase) (SigningKey, error) {
	if name, ok := strings.CutPrefix(s, "file:"); ok {
		return keyFile(name, "", ask)
	}
	name, isGPG := strings.CutPrefix(s, "gpg:")
	fpr, err := ParseFingerprint(name)
	if err != nil {
		return SigningKey{}, fmt.Errorf("signer %q: %w, after gpg: or alone, or file:PATH", s, err)
	}
	if isGPG {
		return gpgKey(fpr)
	}
	k, err := findKey(fpr, secrets, ask)
	if err == nil && k.sign == nil {
		err = fmt.Errorf("signer %q: no secret key of that name in %s", s, strings.Join(secrets, ", "))
	}
	return k, err
}

// Sign returns one binary signature over data, dated now. gpg dates its
// signatures itself; what it returns is verified before anybody uses it.
func (k SigningKey) Sign(p trust.Purpose, data []byte, now time.Time) ([]byte, error) {
	if k.sign == nil {
		return nil, errors.New("no signing key")
	}
	sig, err := k.sign(p, data, now)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w", k.Fingerprint, err)
	}
	return sig, nil
}

// findKey looks for a key file in folders. The zero SigningKey means that there
// is none.
func findKey(fpr trust.Fingerprint, secrets []string, ask Passphrase) (SigningKey, error) {
	for _, dir := range secrets {
		k, err := keyFile(secretName(dir, fpr), fpr, ask)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = checkPrivate(dir)
		}
		if err != nil {
			return SigningKey{}, err
		}
		return k, nil
	}
	return SigningKey{}, nil
}

// keyFile returns the key in a file, which must be that of fpr unless that is
// empty. It is unlocked when it signs.
func keyFile(name string, fpr trust.Fingerprint, ask Passphrase) (SigningKey, error) {
	entity, err := readSecret(name)
	if err != nil {
		return SigningKey{}, err
	}
	if got := fingerprint(entity); fpr != "" && got != fpr {
		return SigningKey{}, fmt.Errorf("%s: holds the key %s", name, got)
	}
	k := signingKey(entity, name)
	sign := k.sign
	unlocked := sync.OnceValue(func() error { return unlock(entity, name, ask) })
	k.sign = func(p trust.Purpose, data []byte, now time.Time) ([]byte, error) {
		if err := unlocked(); err != nil {
			return nil, err
		}
		return sign(p, data, now)
	}
	return k, nil
}

// signingKey returns a key that signs by itself, one signature at a time: the
// library keeps notes inside the entity.
func signingKey(entity *openpgp.Entity, where string) SigningKey {
	var mu sync.Mutex
	return SigningKey{Fingerprint: fingerprint(entity), Where: where, sign: func(p trust.Purpose, data []byte, now time.Time) ([]byte, error) {
		mu.Lock()
		defer mu.Unlock()
		return sign(entity, p, data, now)
	}}
}

// sign returns one detached binary signature. The purpose is not marked
// critical: gpg 2.2 would then call the signature bad.
//
// It is not dated before its key, which nobody would accept: the clock was ahead
// when the key was made, perhaps.
func sign(entity *openpgp.Entity, p trust.Purpose, data []byte, now time.Time) ([]byte, error) {
	if made := entity.PrimaryKey.CreationTime; now.Before(made) {
		now = made
	}
	var buf bytes.Buffer
	err := openpgp.DetachSign(&buf, []*openpgp.Entity{entity}, bytes.NewReader(data), &packet.Config{
		DefaultHash:        crypto.SHA512,
		Time:               func() time.Time { return now },
		SignatureNotations: []*packet.Notation{{Name: trust.Notation, Value: []byte(p), IsHumanReadable: true}},
	})
	return buf.Bytes(), err
}
