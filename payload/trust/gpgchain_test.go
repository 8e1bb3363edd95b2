package trust_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// TestGPGChain: root keys that gpg made, one of them on RSA, sign the next
// statement with gpg's own command line; the standby key takes over; and gpgv
// agrees about who signed.
func TestGPGChain(t *testing.T) {
	g := newGPG(t)
	root, standby, next := g.key("root", "ed25519"), g.key("standby", "rsa3072"), g.key("next", "ed25519")
	now := time.Now().Truncate(time.Second)
	st := trust.Statement{Version: 1, Epoch: 1, Product: "demo", Issued: now.Add(time.Minute), Expires: now.AddDate(5, 0, 0)}
	list := func(threshold int, keys ...trust.Key) {
		st.Keys, st.Roles.Root = keys, trust.Role{Threshold: threshold}
		for _, k := range keys {
			st.Roles.Root.Keys = append(st.Roles.Root.Keys, k.Fingerprint)
		}
		st.Roles.Manifest = trust.Role{Keys: []trust.Fingerprint{keys[0].Fingerprint}, Threshold: 1}
	}
	encode := func() []byte {
		t.Helper()
		data, err := trust.EncodeStatement(st)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	sign := func(data []byte, keys ...trust.Key) []byte {
		t.Helper()
		args := []string{"--set-notation", trust.Notation + "=trust-statement"}
		for _, k := range keys {
			args = append(args, "-u", string(k.Fingerprint))
		}
		return g.sign(data, args...)
	}

	list(1, root, standby)
	data := encode()
	store, err := trust.Anchor(data, sign(data, root))
	if err != nil {
		t.Fatal(err)
	}
	// A rotation: both sides in one run of gpg.
	st.Version = 2
	list(1, next, standby)
	data = encode()
	if _, err := store.Advance(data, sign(data, root)); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("by the old root alone: Advance = %v", err)
	}
	sigs := sign(data, root, next)
	gpgvSays(t, data, sigs, root, next)
	if store, err = store.Advance(data, sigs); err != nil {
		t.Fatal(err)
	}
	// The standby key revokes the new root.
	st.Version = 3
	list(1, standby)
	st.Revoked.Keys = []trust.RevokedKey{{Fingerprint: next.Fingerprint, Reason: "stolen", Since: now}}
	data = encode()
	if _, err := store.Advance(data, sign(data, next)); !errors.Is(err, trust.ErrUntrusted) {
		t.Errorf("by the revoked key: Advance = %v", err)
	}
	if store, err = store.Advance(data, sign(data, standby)); err != nil {
		t.Fatal(err)
	}
	body := []byte("{}\n")
	if v, err := store.Open(manifest, body, g.sign(body, "-u", "standby", "--set-notation", purposeFlag), now); err != nil || v.Statement() != 3 {
		t.Errorf("Open = statement %d, %v", v.Statement(), err)
	}
}

// gpgvSays fails unless gpgv finds a good signature by each key.
func gpgvSays(t *testing.T, data, sigs []byte, keys ...trust.Key) {
	t.Helper()
	if _, err := exec.LookPath("gpgv"); err != nil {
		t.Fatal("gpgv is missing: apt-get install gpgv")
	}
	dir := t.TempDir()
	var ring []byte
	for _, k := range keys {
		ring = append(ring, k.Key...)
	}
	for name, content := range map[string][]byte{"ring": ring, "data": data, "sigs": sigs} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("gpgv", "--homedir", dir, "--keyring", filepath.Join(dir, "ring"), "--status-fd", "1", "sigs", "data")
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("gpgv: %v\n%s", err, out)
	}
	for _, k := range keys {
		if !strings.Contains(string(out), "VALIDSIG "+string(k.Fingerprint)) {
			t.Errorf("gpgv finds no good signature by %s:\n%s", k.Fingerprint, out)
		}
	}
}
