// Package keys holds the operator's side of trust: it makes the keys, keeps
// their secret parts away from everything that is committed or packed, reads
// the folder with the public parts, and signs.
//
// The folder, "keys" in a project, is plain data:
//
//	root-<FPR>.asc      a public key that signs trust statements
//	manifest-<FPR>.asc  a public key that signs boot manifests
//	trust/1.json        the trust statement, with 1.json.sig beside it
//
// The secret parts lie as <FPR>.pgp in a folder of the user's own, mode 0700,
// each file 0600; gpg imports them. They are never written into the project or
// into a git work tree.
//
// The main calls are [Init], [Load] and [Set.Signer]. A folder that does not
// hold exactly the keys of its statement, or that holds a secret key, is
// refused as a whole: an incomplete keyring looks like a complete one until the
// day it is needed.
//
// Keys carry no expiry date. They end by a next statement without them, or by
// revocation; a machine that boots has no clock to judge a date with. Making
// that next statement is not done here yet.
package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/payload/trust"
)

// Errors that callers turn into hints.
var (
	// ErrMissing: there is no trust statement; "farboot keys init" makes one.
	ErrMissing = errors.New("no keys")
	// ErrExists: there are keys already.
	ErrExists = errors.New("keys exist")
	// ErrEmptyPassphrase: keys are to be protected, by nothing.
	ErrEmptyPassphrase = errors.New("the passphrase is empty")
)

const (
	// trustDir is the folder of statements, in the keys folder and on a site.
	trustDir = "trust"
	// maxFile bounds every file that is read, in bytes.
	maxFile = trust.MaxStatementSize
)

// Set is what a keys folder holds.
type Set struct {
	Dir string
	// Store believes the newest statement.
	Store *trust.Store
	// Chain holds all statements, from version 1.
	Chain []Document
}

// Document is a trust statement with its signatures, as both are published.
type Document struct {
	Version   int64
	Statement []byte
	Signature []byte
}

// Path is where a site keeps the statement, relative to its root; ".sig" is
// added for the signatures.
func (d Document) Path() string { return fmt.Sprintf("%s/%d.json", trustDir, d.Version) }

// Newest returns the statement that media and manifests are made with.
func (s *Set) Newest() Document { return s.Chain[len(s.Chain)-1] }

// Load reads the keys folder at dir. The newest statement must be signed by its
// own root keys, each of its keys must lie in one file of its own, and no file
// may hold a secret key.
func Load(dir string) (*Set, error) {
	if err := scan(dir); err != nil {
		return nil, err
	}
	s := &Set{Dir: dir}
	for {
		doc, err := readDocument(dir, int64(len(s.Chain))+1)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		s.Chain = append(s.Chain, doc)
	}
	if len(s.Chain) == 0 {
		return nil, fmt.Errorf("%w: there is no %s", ErrMissing, filepath.Join(dir, trustDir, "1.json"))
	}
	newest := s.Newest()
	name := filepath.Join(dir, newest.Path())
	store, err := trust.Anchor(newest.Statement, newest.Signature)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if v := store.Statement().Version; v != newest.Version {
		return nil, fmt.Errorf("%s: holds version %d", name, v)
	}
	s.Store = store
	if err := checkPublic(dir, store.Statement()); err != nil {
		return nil, err
	}
	return s, nil
}

// readDocument reads statement n and its signatures. That the statement is
// missing is fs.ErrNotExist; that the signatures are is not.
func readDocument(dir string, n int64) (Document, error) {
	doc := Document{Version: n}
	name := filepath.Join(dir, doc.Path())
	var err error
	if doc.Statement, err = readFile(name); err != nil {
		return Document{}, err
	}
	if doc.Signature, err = readFile(name + ".sig"); err != nil {
		return Document{}, fmt.Errorf("%s is not signed: %w", name, errors.New(err.Error()))
	}
	return doc, nil
}

// scan refuses a folder that holds a secret key or a link that leads elsewhere.
func scan(dir string) error {
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: there is no folder %s", ErrMissing, dir)
	}
	if err != nil {
		return err
	}
	return filepath.WalkDir(real, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return nil
		case !d.Type().IsRegular():
			return fmt.Errorf("%s: neither file nor folder; keys are plain files", name)
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		return leak.Scan(name, f)
	})
}

// checkPublic compares the files of public keys with the statement: the same
// keys, one per file, nothing more in it. The armor is compared as a whole,
// since a reader of armor skips what it does not like.
func checkPublic(dir string, st trust.Statement) error {
	want := map[string]bool{}
	for _, k := range st.Keys {
		role := "manifest"
		if slices.Contains(st.Roles.Root.Keys, k.Fingerprint) {
			role = "root"
		}
		want[publicName(role, k.Fingerprint)] = true
		if err := checkPublicFile(filepath.Join(dir, publicName(role, k.Fingerprint)), st.Version, k); err != nil {
			return err
		}
	}
	names, err := publicFiles(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if !want[name] {
			return fmt.Errorf("%s: trust statement %d lists no such key", filepath.Join(dir, name), st.Version)
		}
	}
	return nil
}

// checkPublicFile compares one file with one key of statement version.
func checkPublicFile(name string, version int64, key trust.Key) error {
	text, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: is missing, but trust statement %d lists the key", name, version)
	}
	if err != nil {
		return err
	}
	expected, err := armored(key.Key)
	if err != nil {
		return err
	}
	if !bytes.Equal(text, expected) {
		return fmt.Errorf("%s: is not exactly the key in trust statement %d", name, version)
	}
	return nil
}

// publicName is the file of a key in the keys folder.
func publicName(role string, fpr trust.Fingerprint) string {
	return role + "-" + string(fpr) + ".asc"
}

// publicFiles returns the names in dir that claim to be keys of a role.
func publicFiles(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "root-") || strings.HasPrefix(e.Name(), "manifest-") {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// armored returns the one text form of a public key that is read and written.
func armored(key []byte) ([]byte, error) {
	var buf strings.Builder
	w, err := armor.Encode(&buf, openpgp.PublicKeyType, nil)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(key); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return []byte(strings.TrimRight(buf.String(), "\n") + "\n"), nil
}

// readFile reads a file that must not be large.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("%s: %d bytes, at most %d are read", name, info.Size(), maxFile)
	}
	return os.ReadFile(name)
}
