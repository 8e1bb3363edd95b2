package keys

import (
	"bytes"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/payload/trust"
)

// TestLoadChain: a chain that a machine would refuse is refused, at the file.
func TestLoadChain(t *testing.T) {
	trustFile := func(o InitOptions, name string) string { return filepath.Join(o.Dir, trustDir, name) }
	for name, c := range map[string]struct {
		file, says string
		is         error
		spoil      func(o InitOptions) error
	}{
		"middle is gone": {"3.json", "is missing, but", nil, func(o InitOptions) error {
			return errors.Join(os.Remove(trustFile(o, "2.json")), os.Remove(trustFile(o, "2.json.sig")))
		}},
		"swapped": {"2.json", "version 3", trust.ErrChain, func(o InitOptions) error {
			return errors.Join(os.Rename(trustFile(o, "2.json"), trustFile(o, "x")), os.Rename(trustFile(o, "3.json"), trustFile(o, "2.json")),
				os.Rename(trustFile(o, "x"), trustFile(o, "3.json")))
		}},
		"edited": {"2.json", "bad", trust.ErrUntrusted, func(o InitOptions) error {
			return edit(trustFile(o, "2.json"), `"epoch": 1`, `"epoch": 2`)
		}},
		"signatures of another": {"2.json", "untrusted", trust.ErrUntrusted, func(o InitOptions) error {
			return os.Rename(trustFile(o, "3.json.sig"), trustFile(o, "2.json.sig"))
		}},
		"a forged fourth": {"4.json", "by the keys of 3", trust.ErrUntrusted, func(o InitOptions) error {
			other := options(t)
			if _, err := Init(other); err != nil {
				return err
			}
			for range 3 {
				if _, err := Apply(ceremonies(other), Renew{}); err != nil {
					return err
				}
			}
			return errors.Join(os.Rename(trustFile(other, "4.json"), trustFile(o, "4.json")), os.Rename(trustFile(other, "4.json.sig"), trustFile(o, "4.json.sig")))
		}},
		"stray file": {"notes.txt", "no part of the chain", nil, func(o InitOptions) error {
			return os.WriteFile(trustFile(o, "notes.txt"), nil, 0o644)
		}},
		"signatures too early": {"4.json.sig", "no part of the chain", nil, func(o InitOptions) error {
			return os.WriteFile(trustFile(o, "4.json.sig"), nil, 0o644)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t)
			initialise(t, o)
			apply(t, ceremonies(o), Rotate{Role: RoleManifest})
			apply(t, ceremonies(o), Rotate{Role: RoleRoot})
			if err := c.spoil(o); err != nil {
				t.Fatal(err)
			}
			set, err := Load(o.Dir)
			if err == nil || set != nil || !strings.Contains(err.Error(), trustFile(o, c.file)) || !strings.Contains(err.Error(), c.says) ||
				c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("Load = %v, want %s and %q", err, c.file, c.says)
			}
			if _, err := Apply(ceremonies(o), Renew{}); err == nil {
				t.Error("a change of keys goes on from there")
			}
		})
	}
}

// TestPlantedSecrets: wherever in the keys folder a secret key lies, and in
// whatever form, nothing is done with the folder, and the error names the file.
func TestPlantedSecrets(t *testing.T) {
	o := options(t)
	res, _ := initialise(t, o)
	apply(t, ceremonies(o), Rotate{Role: RoleManifest})
	pgp, err := os.ReadFile(res.Secret[0])
	if err != nil {
		t.Fatal(err)
	}
	var armored bytes.Buffer
	w, err := armor.Encode(&armored, openpgp.PrivateKeyType, map[string]string{"Comment": "backup"})
	if err == nil {
		_, err = w.Write(pgp)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	body := bytes.Repeat([]byte("secret"), 40)
	forms := map[string][]byte{
		"OpenPGP":         pgp,
		"armored OpenPGP": armored.Bytes(),
		"PEM":             pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: body}),
		"PEM RSA":         pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: body}),
		"OpenSSH":         pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: body}),
		"behind text":     append([]byte("old key, do not lose\n"), armored.Bytes()...),
	}
	public, err := publicFiles(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	for form, data := range forms {
		for _, place := range []string{"backup", ".hidden", "notes/deep/key.txt", "trust/3.json.sig", "trust/x", "pending/trust-3.json.txt", PublishedFile, "README.md", public[0]} {
			name := filepath.Join(o.Dir, place)
			before, readErr := os.ReadFile(name)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name, data, 0o644); err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{"Load": second(Load(o.Dir)), "Apply": second(Apply(ceremonies(o), Renew{}))} {
				if !errors.Is(err, leak.ErrSecret) || !strings.Contains(err.Error(), name) {
					t.Errorf("%s in %s: %s = %v, want ErrSecret and the name", form, place, what, err)
				}
			}
			if readErr == nil {
				err = os.WriteFile(name, before, 0o644)
			} else {
				err = os.Remove(name)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := Load(o.Dir); err != nil {
		t.Errorf("the folder is not as it was: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }
