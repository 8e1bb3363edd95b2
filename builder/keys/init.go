package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/trust"
)

const (
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
	// StandbySecrets is the folder for the secret part of the standby key;
	// empty for Secrets, from where it should be taken to another place soon.
	StandbySecrets string
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
	Root, Manifest, Standby trust.Fingerprint
	// Public and Secret are the files that were written; Secret holds those of
	// root, manifest and standby key.
	Public []string
	Secret []string
}

// Init makes a root key, a manifest key and a standby key, Ed25519 as OpenPGP
// v4 so that gpg 2.2 reads them, and trust statement 1. The standby key is a
// second root key. It signs nothing until the first is lost or stolen; then it
// makes the next statement alone. Init writes everything or nothing, and never
// over keys: that there are some is [ErrExists].
func Init(o InitOptions) (Result, error) {
	if o.Secrets == "" {
		dir, err := DefaultSecrets()
		if err != nil {
			return Result{}, err
		}
		o.Secrets = dir
	}
	if o.StandbySecrets == "" {
		o.StandbySecrets = o.Secrets
	}
	if err := o.check(); err != nil {
		return Result{}, err
	}
	made, err := o.makeKeys()
	if err != nil {
		return Result{}, err
	}
	doc, st, err := o.statement(made)
	if err != nil {
		return Result{}, err
	}
	w := &writer{}
	res := o.write(w, doc, st, made)
	if w.err != nil {
		return Result{}, errors.Join(w.err, w.undo())
	}
	return res, nil
}

// makeKeys makes the keys in the order of Result.Secret.
func (o InitOptions) makeKeys() ([]secretKey, error) {
	m := maker{product: o.Product, now: o.Now, ask: o.Passphrase}
	root, err := m.newKey(RoleRoot, false)
	if err != nil {
		return nil, err
	}
	signer, err := m.newKey(RoleManifest, false)
	if err != nil {
		return nil, err
	}
	standby, err := m.newKey(RoleRoot, true)
	if err != nil {
		return nil, err
	}
	return []secretKey{root, signer, standby}, nil
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
	for _, secrets := range []string{o.Secrets, o.StandbySecrets} {
		if err := checkPlace(secrets, folders...); err != nil {
			return err
		}
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

// statement returns trust statement 1, signed and anchored once for proof.
func (o InitOptions) statement(made []secretKey) (Document, trust.Statement, error) {
	root, signer, standby := made[0], made[1].public, made[2].public
	data, err := trust.EncodeStatement(trust.Statement{
		Version: 1, Epoch: 1, Product: o.Product, Issued: o.Now, Expires: o.Now.AddDate(statementYears, 0, 0),
		Keys: []trust.Key{root.public, signer, standby},
		Roles: trust.Roles{
			Root:     trust.Role{Keys: []trust.Fingerprint{root.public.Fingerprint, standby.Fingerprint}, Threshold: 1},
			Manifest: trust.Role{Keys: []trust.Fingerprint{signer.Fingerprint}, Threshold: 1},
		},
	})
	if err != nil {
		return Document{}, trust.Statement{}, err
	}
	sig, err := sign(root.entity, trust.PurposeStatement, data, o.Now)
	if err != nil {
		return Document{}, trust.Statement{}, err
	}
	store, err := trust.Anchor(data, sig)
	if err != nil {
		return Document{}, trust.Statement{}, err
	}
	return Document{Version: 1, Statement: data, Signature: sig}, store.Statement(), nil
}

// write puts everything in its place: secret parts first, so that nothing is
// ever published that cannot be signed for, and the trust folder last and
// whole, since it is what [Load] begins with.
func (o InitOptions) write(w *writer, doc Document, st trust.Statement, made []secretKey) Result {
	res := Result{Root: made[0].public.Fingerprint, Manifest: made[1].public.Fingerprint, Standby: made[2].public.Fingerprint}
	for _, k := range made {
		dir := o.Secrets
		if k.standby {
			dir = o.StandbySecrets
		}
		res.Secret = append(res.Secret, w.secret(k, dir))
	}
	w.mkdir(o.Dir, 0o755)
	for _, k := range made {
		text, err := armored(k.public.Key)
		w.try(func() error { return err })
		name := filepath.Join(o.Dir, publicName(st, k.public.Fingerprint))
		w.file(name, text, 0o644)
		res.Public = append(res.Public, name)
	}
	draft, final := filepath.Join(o.Dir, unfinished), filepath.Join(o.Dir, doc.Path())
	w.mkdir(draft, 0o755)
	w.file(filepath.Join(draft, "1.json"), doc.Statement, 0o644)
	w.file(filepath.Join(draft, "1.json.sig"), doc.Signature, 0o644)
	w.rename(draft, filepath.Dir(final))
	res.Public = append(res.Public, final, final+".sig")
	return res
}

// secret writes the secret part of a new key and returns its file.
func (w *writer) secret(k secretKey, dir string) string {
	w.mkdir(dir, 0o700)
	w.try(func() error { return checkPrivate(dir) })
	name := secretName(dir, k.public.Fingerprint)
	w.file(name, k.secret, 0o600)
	w.sync(dir)
	return name
}

func exists(name string) bool {
	_, err := os.Lstat(name)
	return err == nil
}
