package keys

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/payload/trust"
)

// Signer returns what belongs into the signature file beside data: signatures
// made for purpose p by as many keys as it takes.
type Signer func(p trust.Purpose, data []byte) ([]byte, error)

// Signer returns a Signer that signs with every key of the role whose secret
// part lies in the folder secrets, dated now. It fails where those are too few.
func (s *Set) Signer(secrets string, ask Passphrase, now time.Time) Signer {
	return func(p trust.Purpose, data []byte) ([]byte, error) {
		role, err := s.role(p)
		if err != nil {
			return nil, err
		}
		var sigs []byte
		var missing []string
		for _, fpr := range role.Keys {
			entity, err := readSecret(secrets, fpr, ask)
			if errors.Is(err, fs.ErrNotExist) {
				missing = append(missing, string(fpr))
				continue
			}
			if err != nil {
				return nil, err
			}
			sig, err := sign(entity, p, data, now)
			if err != nil {
				return nil, fmt.Errorf("key %s: %w", fpr, err)
			}
			sigs = append(sigs, sig...)
		}
		if have := len(role.Keys) - len(missing); have < role.Threshold {
			return nil, fmt.Errorf("a %s needs signatures by %d keys, and %s holds %d of them; it has no %s",
				p, role.Threshold, secrets, have, strings.Join(missing, ", "))
		}
		return sigs, nil
	}
}

// role returns who signs p.
func (s *Set) role(p trust.Purpose) (trust.Role, error) {
	roles := s.Store.Statement().Roles
	switch p {
	case trust.PurposeStatement:
		return roles.Root, nil
	case trust.PurposeManifest:
		return roles.Manifest, nil
	}
	return trust.Role{}, fmt.Errorf("no role signs %q", p)
}

// sign returns one detached binary signature. The purpose is not marked
// critical: gpg 2.2 would then call the signature bad.
func sign(entity *openpgp.Entity, p trust.Purpose, data []byte, now time.Time) ([]byte, error) {
	var buf bytes.Buffer
	err := openpgp.DetachSign(&buf, []*openpgp.Entity{entity}, bytes.NewReader(data), &packet.Config{
		DefaultHash:        crypto.SHA512,
		Time:               func() time.Time { return now },
		SignatureNotations: []*packet.Notation{{Name: trust.Notation, Value: []byte(p), IsHumanReadable: true}},
	})
	return buf.Bytes(), err
}
