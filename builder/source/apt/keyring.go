package apt

import (
	"bufio"
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// clockSkew is how far the operator's clock may be behind the archive's. Apt
// allows 10 seconds; desks without NTP need more, and an archive that signs
// the future could sign anything else as well.
const clockSkew = time.Hour

// keyring is the set of keys that may sign for a source. It is kept as bytes,
// and parsed for every use: the library's entities remember results of checks
// and are not safe for goroutines that share them. 60 KB take some 5 ms.
type keyring struct {
	files []keyFile
	// only lists fingerprints (upper case) of the keys that count; empty means all.
	only []string
}

type keyFile struct {
	name string
	data []byte
}

// String names the files, for messages.
func (k keyring) String() string {
	var names []string
	for _, f := range k.files {
		names = append(names, f.name)
	}
	return strings.Join(names, ", ")
}

// sourceKeyring returns the keyring of a source of the machine whose root
// folder is root.
func sourceKeyring(root string, s source) (keyring, error) {
	var k keyring
	if s.key != "" {
		k.files = append(k.files, keyFile{s.from, []byte(s.key)})
	}
	for _, word := range s.signedBy {
		if !strings.HasPrefix(word, "/") {
			k.only = append(k.only, strings.ToUpper(strings.TrimSuffix(word, "!")))
			continue
		}
		data, err := readCapped(filepath.Join(root, word), maxKeyring)
		if err != nil {
			return keyring{}, fmt.Errorf("%s: keyring: %w", s.from, err)
		}
		k.files = append(k.files, keyFile{word, data})
	}
	if len(k.files) == 0 {
		k.files = trustedKeys(root)
	}
	if len(k.files) == 0 {
		return keyring{}, fmt.Errorf("%s: the machine has no trusted keys below %s", s.from, filepath.Join(root, "etc/apt"))
	}
	if _, err := k.entities(time.Time{}); err != nil {
		return keyring{}, fmt.Errorf("%s: %w", s.from, err)
	}
	return k, nil
}

// trustedKeys returns the keys that a machine trusts for sources without
// Signed-By. Like apt it passes over files that hold no keys it can read.
func trustedKeys(root string) []keyFile {
	dir := filepath.Join(root, "etc/apt")
	var names []string
	for _, pattern := range []string{"trusted.gpg", "trusted.gpg.d/*.gpg", "trusted.gpg.d/*.asc"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern)) // fails on a bad pattern only
		names = append(names, found...)
	}
	var files []keyFile
	for _, name := range names {
		data, err := readCapped(name, maxKeyring)
		if err != nil {
			continue
		}
		if f := (keyFile{name, data}); f.usable() {
			files = append(files, f)
		}
	}
	return files
}

func (f keyFile) usable() bool {
	_, err := f.entities()
	return err == nil
}

// entities reads the keys of a binary or armored file. In a binary file keys
// of kinds unknown to the library are passed over: they sign nothing for us.
func (f keyFile) entities() (openpgp.EntityList, error) {
	if len(f.data) > 0 && f.data[0] >= 0x80 { // every OpenPGP packet begins so, no armor does
		return openpgp.ReadKeyRing(bytes.NewReader(f.data))
	}
	var all openpgp.EntityList
	for r := bufio.NewReader(bytes.NewReader(f.data)); ; {
		block, err := armor.Decode(r) // takes r as it is, so that the next block is found
		if errors.Is(err, io.EOF) && len(all) > 0 {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("want OpenPGP public keys: %w", err)
		}
		if block.Type != openpgp.PublicKeyType {
			return nil, fmt.Errorf("want OpenPGP public keys, not %q", block.Type)
		}
		entities, err := openpgp.ReadKeyRing(block.Body)
		if err != nil {
			return nil, err
		}
		all = append(all, entities...)
	}
}

// entities returns all keys that count, without those that any copy in the
// keyring says are revoked at the moment at.
func (k keyring) entities(at time.Time) (openpgp.EntityList, error) {
	var all openpgp.EntityList
	revoked := map[string]bool{}
	for _, f := range k.files {
		entities, err := f.entities()
		if err != nil {
			return nil, fmt.Errorf("keyring %s: %w", f.name, err)
		}
		for _, e := range entities {
			if e.PrivateKey != nil {
				return nil, fmt.Errorf("keyring %s: holds a secret key", f.name)
			}
			if e.Revoked(at) {
				revoked[string(e.PrimaryKey.Fingerprint)] = true
			}
		}
		all = append(all, entities...)
	}
	all = slices.DeleteFunc(all, func(e *openpgp.Entity) bool {
		return revoked[string(e.PrimaryKey.Fingerprint)] || !k.counts(e)
	})
	if len(all) == 0 {
		return nil, fmt.Errorf("keyring %s: no usable key", k)
	}
	return all, nil
}

// counts tells whether e is among the fingerprints that the source names.
func (k keyring) counts(e *openpgp.Entity) bool {
	return len(k.only) == 0 || slices.ContainsFunc(k.only, func(want string) bool {
		return want == fmt.Sprintf("%X", e.PrimaryKey.Fingerprint) ||
			slices.ContainsFunc(e.Subkeys, func(s openpgp.Subkey) bool {
				return want == fmt.Sprintf("%X", s.PublicKey.Fingerprint)
			})
	})
}

// verify checks that one of signatures is by a key of the keyring that is
// usable at the moment at, over signed. Each key is tried by itself, so that
// an outdated copy of a key does not hide a renewed one.
func (k keyring) verify(signed, signatures []byte, at time.Time) error {
	entities, err := k.entities(at)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	reason := fmt.Errorf("signed by %s, none of which is in %s", issuers(signatures), k)
	conf := strict(at)
	for _, e := range entities {
		sig, signer, err := openpgp.VerifyDetachedSignature(openpgp.EntityList{e},
			bytes.NewReader(signed), bytes.NewReader(signatures), conf)
		if errors.Is(err, pgperrors.ErrUnknownIssuer) {
			continue
		}
		if err == nil {
			// The library asked whether the key was good when it signed. We ask
			// whether it still is, or the thief of an old key could backdate.
			if _, ok := signer.SigningKeyById(at, *sig.IssuerKeyId, conf); ok {
				return nil
			}
			err = errors.New("the key has expired")
		}
		reason = fmt.Errorf("key %X: %w (judged as of %s)", e.PrimaryKey.Fingerprint, err, at.UTC().Format(time.RFC3339))
	}
	return fmt.Errorf("%w: %w", ErrUntrusted, reason)
}

// strict is what the library shall refuse. The defaults of its v2 say nearly
// the same; they are spelled out lest an upgrade loosens them.
func strict(at time.Time) *packet.Config {
	weak := map[crypto.Hash]bool{crypto.MD5: true, crypto.SHA1: true, crypto.RIPEMD160: true, crypto.SHA224: true}
	return &packet.Config{
		Time:                        func() time.Time { return at.Add(clockSkew) },
		MinRSABits:                  2048,
		RejectPublicKeyAlgorithms:   map[packet.PublicKeyAlgorithm]bool{packet.PubKeyAlgoDSA: true, packet.PubKeyAlgoElGamal: true},
		RejectHashAlgorithms:        weak, // of a key's signatures on itself too
		RejectMessageHashAlgorithms: weak,
		RejectCurves:                map[packet.Curve]bool{packet.CurveSecP256k1: true},
	}
}

// issuers lists who claims to have signed, for messages.
func issuers(signatures []byte) string {
	var ids []string
	for r := packet.NewReader(bytes.NewReader(signatures)); ; {
		p, err := r.Next()
		if err != nil {
			break
		}
		if sig, ok := p.(*packet.Signature); ok && sig.IssuerKeyId != nil {
			ids = append(ids, fmt.Sprintf("%016X", *sig.IssuerKeyId))
		}
	}
	if len(ids) == 0 {
		return "nobody"
	}
	return strings.Join(ids, ", ")
}
