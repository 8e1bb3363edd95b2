package trust

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/ed25519"
	"github.com/ProtonMail/go-crypto/openpgp/eddsa"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// minRSABits is what is asked of an RSA key: about 128 bits of security
// (NIST SP 800-57, part 1, table 2).
const minRSABits = 3072

// ParseKey reads one binary transferable public key that could stand in a
// statement: an OpenPGP v4 key, nothing beside it, and above all no secret
// part.
func ParseKey(data []byte) (Key, error) {
	entity, err := parseEntity(data)
	if err != nil {
		return Key{}, fmt.Errorf("public key: %w", err)
	}
	return Key{Fingerprint: fingerprint(entity.PrimaryKey), Key: bytes.Clone(data)}, nil
}

// parse reads the key anew. The library keeps its findings about a key, as of
// one moment, inside it, so that one that was asked before answers wrongly.
func (k Key) parse() (*openpgp.Entity, error) {
	entity, err := parseEntity(k.Key)
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", k.Fingerprint, err)
	}
	if got := fingerprint(entity.PrimaryKey); got != k.Fingerprint {
		return nil, fmt.Errorf("key %q: its key has the fingerprint %s", k.Fingerprint, got)
	}
	return entity, nil
}

// parseEntity reads exactly one OpenPGP v4 public key.
func parseEntity(data []byte) (*openpgp.Entity, error) {
	packets, err := splitPackets(data)
	if err != nil {
		return nil, err
	}
	for i, p := range packets {
		switch p.tag {
		case tagSecretKey, tagSecretSubkey:
			return nil, errors.New("holds a SECRET key; export the public part only")
		case tagPublicKey:
			if i > 0 {
				return nil, errors.New("holds more than one key")
			}
		case tagSignature, tagUserID, tagPublicSubkey:
		default:
			return nil, fmt.Errorf("holds an OpenPGP packet of type %d, which is no part of a plain public key", p.tag)
		}
	}
	if len(packets) == 0 || packets[0].tag != tagPublicKey {
		return nil, errors.New("does not begin with a public key")
	}
	entity, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(data)))
	if err != nil {
		return nil, err
	}
	if entity.PrimaryKey.Version != 4 {
		return nil, fmt.Errorf("is an OpenPGP v%d key, want v4", entity.PrimaryKey.Version)
	}
	return entity, nil
}

// checkKey refuses a key that could sign nothing that counts, as of at.
func checkKey(entity *openpgp.Entity, at time.Time) error {
	if err := checkStrength(entity.PrimaryKey); err != nil {
		return err
	}
	if _, err := entity.VerifyPrimaryKey(at, policy(at)); err != nil {
		return fmt.Errorf("not valid on %s: %w", day(at), err)
	}
	key, ok := entity.SigningKey(at, policy(at))
	if !ok {
		return fmt.Errorf("cannot sign on %s", day(at))
	}
	return checkStrength(key.PublicKey)
}

// checkStrength is the allow-list of key algorithms. The deny-lists of the
// library stay in place below it.
func checkStrength(pk *packet.PublicKey) error {
	switch key := pk.PublicKey.(type) {
	case *ed25519.PublicKey:
		return nil
	case *eddsa.PublicKey:
		if curve, err := pk.Curve(); err == nil && curve == packet.Curve25519 {
			return nil
		}
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits {
			return fmt.Errorf("RSA key with %d bits is too weak, want %d", bits, minRSABits)
		}
		return nil
	}
	return fmt.Errorf("key algorithm %d is not accepted, want Ed25519 or RSA", pk.PubKeyAlgo)
}

// materials returns, for the primary key and every subkey, the numbers that the
// secret belongs to. A fingerprint would not do: it covers the date as well.
func materials(entity *openpgp.Entity) []string {
	list := []string{material(entity.PrimaryKey)}
	for _, sub := range entity.Subkeys {
		list = append(list, material(sub.PublicKey))
	}
	return list
}

func material(pk *packet.PublicKey) string {
	switch key := pk.PublicKey.(type) {
	case *ed25519.PublicKey:
		return string(key.Point)
	case *eddsa.PublicKey:
		return string(key.X)
	case *rsa.PublicKey:
		return string(key.N.Bytes())
	}
	return string(pk.Fingerprint)
}

// fingerprint returns the fingerprint of pk as the formats have it.
func fingerprint(pk *packet.PublicKey) Fingerprint {
	return Fingerprint(fmt.Sprintf("%X", pk.Fingerprint))
}

// policy is what the library is asked to insist on, as of at.
func policy(at time.Time) *packet.Config {
	weak := map[crypto.Hash]bool{}
	for h := crypto.MD4; h <= crypto.BLAKE2b_512; h++ {
		weak[h] = h != crypto.SHA256 && h != crypto.SHA512
	}
	return &packet.Config{
		Time:                        func() time.Time { return at },
		MinRSABits:                  minRSABits,
		RejectHashAlgorithms:        weak,
		RejectMessageHashAlgorithms: weak,
		RejectPublicKeyAlgorithms: map[packet.PublicKeyAlgorithm]bool{
			packet.PubKeyAlgoDSA: true, packet.PubKeyAlgoElGamal: true, packet.PubKeyAlgoECDSA: true,
			packet.PubKeyAlgoRSAEncryptOnly: true,
		},
		KnownNotations: map[string]bool{Notation: true},
	}
}
