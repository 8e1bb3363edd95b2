package keys

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/payload/trust"
)

// predate is how far back keys are dated. gpg refuses a key that is younger
// than its own clock, and clocks of desks differ by minutes.
const predate = time.Hour

// What keys are called in their user id. The standby key is a root key that is
// put away from the first day on; nothing but this name tells it from others.
const (
	rootName     = "farboot root key"
	standbyName  = "farboot standby key"
	manifestName = "farboot manifest key"
)

// maker makes keys.
type maker struct {
	product string
	now     time.Time
	// ask protects the keys; nil protects none.
	ask Passphrase
}

// secretKey is a new key and the bytes of its secret part, which may be locked.
type secretKey struct {
	entity *openpgp.Entity
	public trust.Key
	secret []byte
	role   Role
	// standby: the secret part goes to a place of its own.
	standby bool
	// replaces is the key whose place it takes, if any.
	replaces trust.Fingerprint
}

// newKey makes a key for a role.
func (m maker) newKey(role Role, standby bool) (secretKey, error) {
	name := map[Role]string{RoleRoot: rootName, RoleManifest: manifestName}[role]
	if standby {
		name = standbyName
	}
	k, err := m.generate(name)
	if err != nil {
		return secretKey{}, fmt.Errorf("%s: %w", name, err)
	}
	k.role, k.standby = role, standby
	return k, nil
}

// generate makes an Ed25519 key as OpenPGP v4, so that gpg 2.2 reads it. The
// primary key signs; there are no subkeys, above all none for encryption.
func (m maker) generate(name string) (secretKey, error) {
	config := &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519,
		DefaultHash: crypto.SHA512, DefaultCipher: packet.CipherAES256,
		Time: func() time.Time { return m.now.Add(-predate) },
	}
	entity, err := openpgp.NewEntity(name, m.product, "", config)
	if err != nil {
		return secretKey{}, err
	}
	entity.Subkeys = nil
	k := secretKey{entity: entity}
	if k.public, err = publicKey(entity); err != nil {
		return secretKey{}, err
	}
	k.secret, err = m.lock(entity, name, config)
	return k, err
}

// lock returns the secret key's bytes, encrypted if there is a passphrase to ask for.
// The entity itself stays usable.
func (m maker) lock(entity *openpgp.Entity, name string, config *packet.Config) ([]byte, error) {
	var passphrase []byte
	if m.ask != nil {
		var err error
		prompt := fmt.Sprintf("passphrase for the new %s %s", strings.TrimPrefix(name, "farboot "), fingerprint(entity))
		if passphrase, err = m.ask(prompt); err != nil {
			return nil, err
		}
		if len(passphrase) == 0 {
			return nil, ErrEmptyPassphrase
		}
	}
	var buf bytes.Buffer
	if err := entity.SerializePrivateWithoutSigning(&buf, config); err != nil || m.ask == nil {
		return buf.Bytes(), err
	}
	locked, err := openpgp.ReadEntity(packet.NewReader(&buf))
	if err != nil {
		return nil, err
	}
	if err := locked.EncryptPrivateKeys(passphrase, config); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = locked.SerializePrivateWithoutSigning(&out, config)
	return out.Bytes(), err
}

// publicKey returns the public part of a key as statements hold it.
func publicKey(entity *openpgp.Entity) (trust.Key, error) {
	var buf bytes.Buffer
	if err := entity.Serialize(&buf); err != nil {
		return trust.Key{}, err
	}
	return trust.ParseKey(buf.Bytes())
}

// readPublic reads the file of one public key, binary or armored.
func readPublic(name string) (trust.Key, error) {
	data, err := readFile(name)
	if err != nil {
		return trust.Key{}, err
	}
	if text := bytes.TrimSpace(data); bytes.HasPrefix(text, []byte("-----BEGIN PGP")) {
		if data, err = dearmor(text); err != nil {
			return trust.Key{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	key, err := trust.ParseKey(data)
	if err != nil {
		return trust.Key{}, fmt.Errorf("%s: %w; want what \"gpg --export --export-options export-minimal\" writes for one key", name, err)
	}
	return key, nil
}

// dearmor returns what the one armored block that text is holds.
func dearmor(text []byte) ([]byte, error) {
	if bytes.Count(text, []byte("-----BEGIN PGP")) != 1 {
		return nil, errors.New("holds more than one armored block")
	}
	block, err := armor.Decode(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(block.Body)
}

// entityOf reads a key of a statement anew. The library keeps its findings
// about a key, as of one moment, inside it.
func entityOf(k trust.Key) (*openpgp.Entity, error) {
	return openpgp.ReadEntity(packet.NewReader(bytes.NewReader(k.Key)))
}

// userID returns what a key calls itself, or "".
func userID(k trust.Key) string {
	entity, err := entityOf(k)
	if err != nil {
		return ""
	}
	names := slices.Sorted(maps.Keys(entity.Identities))
	if len(names) == 0 {
		return ""
	}
	if _, id := entity.PrimaryIdentity(time.Time{}, nil); id != nil {
		return id.Name
	}
	return names[0]
}

// isStandby tells whether a key was made to be put away.
func isStandby(k trust.Key) bool { return strings.HasPrefix(userID(k), standbyName+" ") }
