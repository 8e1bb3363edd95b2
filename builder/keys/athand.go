package keys

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/farboot/farboot/payload/trust"
)

// AtHand are the secret keys on a desk whose signatures on a request count.
type AtHand struct {
	// Signers are named as [ParseSigner] takes them.
	Signers []string
	// Standby are standby keys, which sign only where somebody names them.
	Standby []trust.Fingerprint
}

// AtHand looks for secret keys in the folders, and in gpg. Where nobody knows
// whose signatures count, since there is no [Set], only key files that call
// themselves a key of that role and product are found.
func (r Request) AtHand(secrets []string) (AtHand, error) {
	var h AtHand
	if r.Able == nil {
		return h, h.look(r, secrets)
	}
	held := gpgSecrets()
	for _, fpr := range r.Able {
		file := slices.ContainsFunc(secrets, func(dir string) bool { return exists(secretName(dir, fpr)) })
		i := slices.IndexFunc(r.keys, func(k trust.Key) bool { return k.Fingerprint == fpr })
		switch {
		case !file && !held[fpr]:
		case isStandby(r.keys[i]):
			h.Standby = append(h.Standby, fpr)
		case file:
			h.Signers = append(h.Signers, string(fpr))
		default:
			h.Signers = append(h.Signers, "gpg:"+string(fpr))
		}
	}
	return h, nil
}

// look finds key files by what they call themselves.
func (h *AtHand) look(r Request, secrets []string) error {
	role := manifestName
	if r.Purpose == trust.PurposeStatement {
		role = rootName
	}
	for _, dir := range secrets {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			if filepath.Ext(name) != ".pgp" {
				continue
			}
			entity, err := readSecret(name)
			if err != nil {
				return err
			}
			public, err := publicKey(entity)
			if err != nil {
				return err
			}
			switch userID(public) {
			case role + " (" + r.product + ")":
				h.Signers = append(h.Signers, "file:"+name)
			case standbyName + " (" + r.product + ")":
				if role == rootName {
					h.Standby = append(h.Standby, public.Fingerprint)
				}
			}
		}
	}
	return nil
}
