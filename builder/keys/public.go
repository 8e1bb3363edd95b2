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

	"github.com/farboot/farboot/payload/trust"
)

// checkPublic compares the files of public keys with the newest statement: the
// same keys, one per file, nothing more in it. The armor is compared as a
// whole, since a reader of armor skips what it does not like. If a run was
// interrupted, the keys may also be those of the statement before.
func (s *Set) checkPublic() error {
	st := s.Store.Statement()
	listed := publicKeys(st)
	for _, k := range st.Keys {
		name := filepath.Join(s.Dir, publicName(st, k.Fingerprint))
		if err := checkPublicFile(name, st.Version, k); err != nil && !(s.Unfinished && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	names, err := publicFiles(s.Dir)
	if err != nil {
		return err
	}
	var before map[string]trust.Key
	if n := len(s.stores); s.Unfinished && n > 1 {
		before = publicKeys(s.stores[n-2].Statement())
	}
	for _, name := range names {
		if _, ok := listed[name]; ok {
			continue
		}
		k, ok := before[name]
		if !ok {
			return fmt.Errorf("%s: trust statement %d lists no such key", filepath.Join(s.Dir, name), st.Version)
		}
		if err := checkPublicFile(filepath.Join(s.Dir, name), st.Version-1, k); err != nil {
			return err
		}
	}
	return nil
}

// checkPublicFile compares one file with one key of statement version.
func checkPublicFile(name string, version int64, key trust.Key) error {
	text, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: is missing, but trust statement %d lists the key: %w", name, version, fs.ErrNotExist)
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

// publicName is the file of a statement's key in the keys folder.
func publicName(st trust.Statement, fpr trust.Fingerprint) string {
	role := RoleManifest
	if slices.Contains(st.Roles.Root.Keys, fpr) {
		role = RoleRoot
	}
	return string(role) + "-" + string(fpr) + ".asc"
}

// publicKeys returns the statement's keys by the names of their files.
func publicKeys(st trust.Statement) map[string]trust.Key {
	all := map[string]trust.Key{}
	for _, k := range st.Keys {
		all[publicName(st, k.Fingerprint)] = k
	}
	return all
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
