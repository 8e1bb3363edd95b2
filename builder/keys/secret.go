package keys

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/payload/trust"
)

// Passphrase asks the user for the passphrase that the prompt names.
type Passphrase func(prompt string) ([]byte, error)

// DefaultSecrets returns the folder for secret keys where the user names none:
// farboot/secret in the user's configuration folder.
func DefaultSecrets() (string, error) {
	config, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("no folder for secret keys: %w", err)
	}
	return filepath.Join(config, "farboot", "secret"), nil
}

// secretName is the file of a secret key.
func secretName(dir string, fpr trust.Fingerprint) string {
	return filepath.Join(dir, string(fpr)+".pgp")
}

// checkPlace refuses a folder for secret keys from which they could be
// committed or packed: one inside, or around, one of the given folders, or in a
// git work tree.
func checkPlace(secrets string, folders ...string) error {
	dir, err := resolve(secrets)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		public, err := resolve(folder)
		if err != nil {
			return err
		}
		if within(dir, public) {
			return fmt.Errorf("secret keys must not lie in %s, which lies in %s: it could be committed or packed", dir, public)
		}
	}
	for d := dir; ; d = filepath.Dir(d) {
		if exists(filepath.Join(d, ".git")) {
			return fmt.Errorf("secret keys must not lie in %s: %s is a git work tree", dir, d)
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}

// within tells whether the clean path name is dir or lies below it.
func within(name, dir string) bool {
	rel, err := filepath.Rel(dir, name)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// resolve returns the absolute path without symbolic links, of which the last
// parts need not exist.
func resolve(name string) (string, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	rest := ""
	for {
		real, err := filepath.EvalSymlinks(abs)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		abs, rest = filepath.Dir(abs), filepath.Join(filepath.Base(abs), rest)
	}
}

// checkPrivate refuses a file or folder that others than its owner may use.
func checkPrivate(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s: mode %04o lets others at secret keys; run: chmod go= %q", name, mode, name)
	}
	return nil
}

// readSecret reads a secret key, which may be locked. That there is none is
// fs.ErrNotExist.
func readSecret(name string) (*openpgp.Entity, error) {
	data, err := readFile(name)
	if err != nil {
		return nil, err
	}
	if err := checkPrivate(name); err != nil {
		return nil, err
	}
	entity, err := openpgp.ReadEntity(packet.NewReader(bytes.NewReader(data)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if entity.PrivateKey == nil {
		return nil, fmt.Errorf("%s: holds no secret key", name)
	}
	return entity, nil
}

// Protected tells whether the secret part of any key of the newest statement lies
// in one of the folders and is locked with a passphrase. New keys should then be
// as well.
func (s *Set) Protected(secrets []string) (bool, error) {
	for _, k := range s.Store.Statement().Keys {
		for _, dir := range secrets {
			entity, err := readSecret(secretName(dir, k.Fingerprint))
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return false, err
			}
			if entity.PrivateKey.Encrypted {
				return true, nil
			}
		}
	}
	return false, nil
}

// unlock decrypts the secret parts where a passphrase protects them.
func unlock(entity *openpgp.Entity, name string, ask Passphrase) error {
	if !entity.PrivateKey.Encrypted {
		return nil
	}
	if ask == nil {
		return fmt.Errorf("%s: is locked with a passphrase, and there is nobody to ask", name)
	}
	passphrase, err := ask("passphrase for " + name)
	if err != nil {
		return err
	}
	if err := entity.DecryptPrivateKeys(passphrase); err != nil {
		return fmt.Errorf("%s: the passphrase does not fit: %w", name, err)
	}
	return nil
}

func fingerprint(entity *openpgp.Entity) trust.Fingerprint {
	return trust.Fingerprint(fmt.Sprintf("%X", entity.PrimaryKey.Fingerprint))
}
