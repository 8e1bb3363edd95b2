package keys

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/trust"
)

const (
	// predate is how far back keys are dated. gpg refuses a key that is younger
	// than its own clock, and clocks of desks differ by minutes.
	predate = time.Hour
	// statementYears is how long a statement is meant to be used. Media stay in
	// the field for about three years; running out is reported, not fatal.
	statementYears = 5
	// unfinished is what the folder of statements is called until it is whole.
	unfinished = "." + trustDir + ".new"
)

// InitOptions say what to make and where.
type InitOptions struct {
	// Dir is the keys folder. It need not exist.
	Dir string
	// Project is the folder that is committed and packed; secret keys are kept
	// out of it. It may be empty, then only Dir and git work trees are.
	Project string
	// Secrets is the folder for the secret parts; empty for [DefaultSecrets].
	Secrets string
	// Product is what the keys will speak for: a name as in a manifest.
	Product string
	// Now is the present.
	Now time.Time
	// Passphrase is asked once for each key; nil protects none. An empty answer
	// is an error: who asks for protection gets it, or no keys.
	Passphrase Passphrase
}

// Result tells what [Init] made.
type Result struct {
	Root, Manifest trust.Fingerprint
	// Public and Secret are the files that were written.
	Public []string
	Secret []string
}

// Init makes a root key and a manifest key, Ed25519 as OpenPGP v4 so that
// gpg 2.2 reads them, and trust statement 1. It writes everything or nothing,
// and it never writes over keys: that there are some is [ErrExists].
func Init(o InitOptions) (Result, error) {
	if o.Secrets == "" {
		dir, err := DefaultSecrets()
		if err != nil {
			return Result{}, err
		}
		o.Secrets = dir
	}
	if err := o.check(); err != nil {
		return Result{}, err
	}
	root, err := o.newKey("root")
	if err != nil {
		return Result{}, err
	}
	signer, err := o.newKey("manifest")
	if err != nil {
		return Result{}, err
	}
	doc, err := o.statement(root, signer)
	if err != nil {
		return Result{}, err
	}
	w := &writer{}
	res := o.write(w, doc, root, signer)
	if w.err != nil {
		return Result{}, errors.Join(w.err, w.undo())
	}
	return res, nil
}

// check refuses what could not end well before a key is made.
func (o InitOptions) check() error {
	if err := manifest.CheckName(o.Product); err != nil {
		return fmt.Errorf("product: %w", err)
	}
	folders := []string{o.Dir}
	if o.Project != "" {
		folders = append(folders, o.Project)
	}
	if err := checkPlace(o.Secrets, folders...); err != nil {
		return err
	}
	if name := filepath.Join(o.Dir, trustDir); exists(name) {
		return fmt.Errorf("%w: %s is there; media and sites depend on it, so it is not replaced", ErrExists, name)
	}
	names, err := publicFiles(o.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if exists(filepath.Join(o.Dir, unfinished)) {
		names = append(names, unfinished)
	}
	if len(names) > 0 {
		return fmt.Errorf("%w: %s is there, but no trust statement; if an earlier run was interrupted, remove it",
			ErrExists, filepath.Join(o.Dir, names[0]))
	}
	return nil
}

// secretKey is a new key and the bytes of its secret part, which may be locked.
type secretKey struct {
	entity *openpgp.Entity
	public trust.Key
	secret []byte
}

// newKey makes the key for a role. The primary key signs; there are no subkeys,
// above all none for encryption.
func (o InitOptions) newKey(role string) (secretKey, error) {
	config := &packet.Config{
		Algorithm: packet.PubKeyAlgoEdDSA, Curve: packet.Curve25519,
		DefaultHash: crypto.SHA512, DefaultCipher: packet.CipherAES256,
		Time: func() time.Time { return o.Now.Add(-predate) },
	}
	entity, err := openpgp.NewEntity("farboot "+role+" key", o.Product, "", config)
	if err != nil {
		return secretKey{}, fmt.Errorf("%s key: %w", role, err)
	}
	entity.Subkeys = nil
	k := secretKey{entity: entity}
	var public bytes.Buffer
	if err := entity.Serialize(&public); err != nil {
		return secretKey{}, fmt.Errorf("%s key: %w", role, err)
	}
	if k.public, err = trust.ParseKey(public.Bytes()); err != nil {
		return secretKey{}, fmt.Errorf("%s key: %w", role, err)
	}
	if k.secret, err = o.lock(entity, role, config); err != nil {
		return secretKey{}, fmt.Errorf("%s key: %w", role, err)
	}
	return k, nil
}

// lock returns the secret key's bytes, encrypted if there is a passphrase to ask for.
// The entity itself stays usable.
func (o InitOptions) lock(entity *openpgp.Entity, role string, config *packet.Config) ([]byte, error) {
	var passphrase []byte
	if o.Passphrase != nil {
		var err error
		prompt := fmt.Sprintf("passphrase for the new %s key %s", role, fingerprint(entity))
		if passphrase, err = o.Passphrase(prompt); err != nil {
			return nil, err
		}
		if len(passphrase) == 0 {
			return nil, ErrEmptyPassphrase
		}
	}
	var buf bytes.Buffer
	if err := entity.SerializePrivateWithoutSigning(&buf, config); err != nil || o.Passphrase == nil {
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

// statement returns trust statement 1, signed and anchored once for proof.
func (o InitOptions) statement(root, signer secretKey) (Document, error) {
	data, err := trust.EncodeStatement(trust.Statement{
		Version: 1, Epoch: 1, Product: o.Product, Issued: o.Now, Expires: o.Now.AddDate(statementYears, 0, 0),
		Keys: []trust.Key{root.public, signer.public},
		Roles: trust.Roles{
			Root:     trust.Role{Keys: []trust.Fingerprint{root.public.Fingerprint}, Threshold: 1},
			Manifest: trust.Role{Keys: []trust.Fingerprint{signer.public.Fingerprint}, Threshold: 1},
		},
	})
	if err != nil {
		return Document{}, err
	}
	sig, err := sign(root.entity, trust.PurposeStatement, data, o.Now)
	if err != nil {
		return Document{}, err
	}
	if _, err := trust.Anchor(data, sig); err != nil {
		return Document{}, err
	}
	return Document{Version: 1, Statement: data, Signature: sig}, nil
}

// write puts everything in its place: secret parts first, so that nothing is
// ever published that cannot be signed for, and the trust folder last and
// whole, since it is what [Load] begins with.
func (o InitOptions) write(w *writer, doc Document, root, signer secretKey) Result {
	res := Result{Root: root.public.Fingerprint, Manifest: signer.public.Fingerprint}
	w.mkdir(o.Secrets, 0o700)
	w.try(func() error { return checkPrivate(o.Secrets) })
	for _, k := range []secretKey{root, signer} {
		name := secretName(o.Secrets, k.public.Fingerprint)
		w.file(name, k.secret, 0o600)
		res.Secret = append(res.Secret, name)
	}
	w.mkdir(o.Dir, 0o755)
	for i, role := range []string{"root", "manifest"} {
		key := []secretKey{root, signer}[i].public
		text, err := armored(key.Key)
		w.try(func() error { return err })
		name := filepath.Join(o.Dir, publicName(role, key.Fingerprint))
		w.file(name, text, 0o644)
		res.Public = append(res.Public, name)
	}
	draft, final := filepath.Join(o.Dir, unfinished), filepath.Join(o.Dir, doc.Path())
	w.mkdir(draft, 0o755)
	w.file(filepath.Join(draft, "1.json"), doc.Statement, 0o644)
	w.file(filepath.Join(draft, "1.json.sig"), doc.Signature, 0o644)
	w.try(func() error { return os.Rename(draft, filepath.Dir(final)) })
	res.Public = append(res.Public, final, final+".sig")
	return res
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
