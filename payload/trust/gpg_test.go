package trust_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// gpg runs real gpg in a home of its own.
type gpg struct {
	t    *testing.T
	home string
}

func newGPG(t *testing.T) *gpg {
	t.Helper()
	if _, err := exec.LookPath("gpg"); err != nil {
		t.Fatal("gpg is missing: apt-get install gnupg")
	}
	// Sockets of gpg-agent must have short names, so not t.TempDir.
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	g := &gpg{t, home}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run()
		os.RemoveAll(home)
	})
	return g
}

// run returns what gpg writes to its standard output.
func (g *gpg) run(input []byte, args ...string) []byte {
	g.t.Helper()
	cmd := exec.Command("gpg", append([]string{
		"--homedir", g.home, "--batch", "--no-tty", "--quiet", "--yes", "--pinentry-mode", "loopback", "--passphrase", "",
	}, args...)...)
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		g.t.Fatalf("gpg %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return out
}

// key makes a key for signing and returns its fingerprint and public part.
func (g *gpg) key(name, algorithm string, args ...string) trust.Key {
	g.t.Helper()
	g.run(nil, append(args, "--quick-gen-key", name, algorithm, "sign", "never")...)
	return g.export(name)
}

func (g *gpg) export(name string) trust.Key {
	g.t.Helper()
	var fpr string
	for line := range strings.Lines(string(g.run(nil, "--with-colons", "--list-keys", name))) {
		if f := strings.Split(line, ":"); f[0] == "fpr" && fpr == "" {
			fpr = f[9]
		}
	}
	return trust.Key{Fingerprint: trust.Fingerprint(fpr), Key: g.run(nil, "--export", fpr)}
}

// sign makes a detached signature with the notation that args give.
func (g *gpg) sign(data []byte, args ...string) []byte {
	g.t.Helper()
	return g.run(data, append(args, "--detach-sign", "--output", "-", "-")...)
}

const purposeFlag = trust.Notation + "=boot-manifest"

// gpgStore anchors a statement with the given keys as manifest keys.
func gpgStore(t *testing.T, keys ...trust.Key) *trust.Store {
	t.Helper()
	// gpg made its keys by the real clock.
	now := time.Now().Truncate(time.Second)
	root := trusttest.NewKey(t, "root", now)
	st := statement(t, root)
	st.Issued, st.Expires = now.Add(time.Second), now.AddDate(1, 0, 0)
	for _, k := range keys {
		st.Keys = append(st.Keys, k)
		st.Roles.Manifest.Keys = append(st.Roles.Manifest.Keys, k.Fingerprint)
	}
	data, err := trust.EncodeStatement(st)
	if err != nil {
		t.Fatal(err)
	}
	store, err := trust.Anchor(data, root.Sign(t, trust.PurposeStatement, data, now))
	if err != nil {
		t.Fatal(err)
	}
	return store
}

// TestGPG: signatures that gpg makes count, and those that it can be talked
// into making badly do not (threat 16).
func TestGPG(t *testing.T) {
	g := newGPG(t)
	ed := g.key("ed", "ed25519")
	rsa := g.key("rsa", "rsa3072")
	g.run(nil, "--quick-add-key", string(ed.Fingerprint), "rsa1024", "sign", "never")
	g.run(nil, "--quick-add-key", string(rsa.Fingerprint), "ed25519", "sign", "never")
	g.run(nil, "--quick-add-key", string(rsa.Fingerprint), "cv25519", "encr", "never")
	g.key("foreign", "ed25519")
	ed, rsa = g.export("ed"), g.export("rsa")
	store := gpgStore(t, ed, rsa)
	data := []byte("{\"version\": 1}\n")
	open := func(sigs []byte) ([]trust.Fingerprint, error) {
		v, err := store.Open(manifest, data, sigs, time.Time{})
		if err == nil && !bytes.Equal(v.Bytes(), data) {
			t.Error("Open changed the bytes")
		}
		return v.Signers(), err
	}
	byEd, byRSA := []string{"-u", string(ed.Fingerprint) + "!"}, []string{"-u", string(rsa.Fingerprint) + "!"}
	purpose := []string{"--set-notation", purposeFlag}
	flags := func(lists ...[]string) (all []string) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	for _, c := range []struct {
		name string
		args []string
		want int
		says string
	}{
		{"Ed25519", flags(byEd, purpose), 1, ""},
		{"RSA-3072", flags(byRSA, purpose), 1, ""},
		{"Ed25519 subkey of an RSA key", flags([]string{"-u", "rsa"}, purpose), 1, ""},
		{"two at once", flags(byEd, byRSA, purpose), 2, ""},
		{"SHA-256", flags(byEd, purpose, []string{"--digest-algo", "SHA256"}), 1, ""},
		{"critical purpose", flags(byEd, []string{"--set-notation", "!" + purposeFlag}), 1, ""},
		{"SHA-1", flags(byRSA, purpose, []string{"--digest-algo", "SHA1"}), 0, "made with SHA-1"},
		{"SHA-384", flags(byRSA, purpose, []string{"--digest-algo", "SHA384"}), 0, "made with SHA-384"},
		{"RSA-1024 subkey", flags([]string{"-u", "ed"}, purpose), 0, "bad"},
		{"text mode", flags(byEd, purpose, []string{"--textmode"}), 0, "text mode"},
		{"armored", flags(byEd, purpose, []string{"--armor"}), 0, "armored"},
		{"no notation", byEd, 0, "no purpose"},
		{"wrong purpose", flags(byEd, []string{"--set-notation", trust.Notation + "=trust-statement"}), 0, "another purpose"},
		{"foreign notation", flags(byEd, purpose, []string{"--set-notation", "!x@example.invalid=1"}), 0, "critical notation"},
		{"foreign key", flags([]string{"-u", "foreign"}, purpose), 0, "unknown key"},
	} {
		signers, err := open(g.sign(data, c.args...))
		if len(signers) != c.want || (c.want > 0) != (err == nil) {
			t.Errorf("%s: %d signers, %v", c.name, len(signers), err)
		}
		if err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %q does not say %q", c.name, err, c.says)
		}
	}
	inline := g.run(data, flags(byEd, purpose, []string{"--sign", "--output", "-", "-"})...)
	if _, err := open(inline); err == nil {
		t.Error("an inline signed message was taken for a signature")
	}
	clear := g.run(data, flags(byEd, purpose, []string{"--clear-sign", "--output", "-", "-"})...)
	if _, err := open(clear); err == nil {
		t.Error("a clear-signed message was taken for a signature")
	}
}

// TestGPGKeys: what gpg makes and a statement must not hold.
func TestGPGKeys(t *testing.T) {
	g := newGPG(t)
	now := time.Now().Truncate(time.Second)
	root := trusttest.NewKey(t, "root", now)
	weakSelf := []string{"--cert-digest-algo", "SHA1"}
	for name, c := range map[string]struct {
		key  trust.Key
		says string
	}{
		"RSA-1024":             {g.key("rsa1024", "rsa1024"), "too weak"},
		"RSA-2048":             {g.key("rsa2048", "rsa2048"), "too weak"},
		"DSA":                  {g.key("dsa", "dsa2048"), "not accepted"},
		"NIST curve":           {g.key("nist", "nistp256"), "not accepted"},
		"SHA-1 self signature": {g.key("sha1", "rsa3072", weakSelf...), "not valid"},
		"cannot sign":          {g.certifier("certifier"), "cannot sign"},
		"secret":               {g.secret("leak"), "SECRET"},
	} {
		st := statement(t, root)
		st.Issued, st.Expires = now.Add(time.Minute), now.AddDate(1, 0, 0)
		st.Keys = append(st.Keys, c.key)
		st.Roles.Manifest.Keys = []trust.Fingerprint{c.key.Fingerprint}
		_, err := trust.EncodeStatement(st)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: EncodeStatement = %v, want %q", name, err, c.says)
		}
	}
}

// certifier makes a key that may certify other keys but sign nothing.
func (g *gpg) certifier(name string) trust.Key {
	g.t.Helper()
	g.run(nil, "--quick-gen-key", name, "ed25519", "cert", "never")
	return g.export(name)
}

// secret exports a key with its secret part.
func (g *gpg) secret(name string) trust.Key {
	g.t.Helper()
	key := g.key(name, "ed25519")
	key.Key = g.run(nil, "--export-secret-keys", name)
	return key
}

// TestGPGVerifies is the other direction: what counts here, gpgv accepts too.
func TestGPGVerifies(t *testing.T) {
	if _, err := exec.LookPath("gpgv"); err != nil {
		t.Fatal("gpgv is missing: apt-get install gpgv")
	}
	now := time.Now().Truncate(time.Second)
	site := trusttest.New(t, "demo", now)
	dir := t.TempDir()
	data := []byte("data")
	for name, content := range map[string][]byte{
		"ring": site.Manifest.Public(t).Key, "data": data, "good": site.Sign(t, data, now), "bad": site.Sign(t, []byte("x"), now),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	verify := func(sig string) ([]byte, error) {
		cmd := exec.Command("gpgv", "--homedir", dir, "--keyring", filepath.Join(dir, "ring"), sig, "data")
		cmd.Dir = dir
		return cmd.CombinedOutput()
	}
	if out, err := verify("good"); err != nil {
		t.Errorf("gpgv: %v\n%s", err, out)
	}
	if out, err := verify("bad"); err == nil {
		t.Errorf("gpgv accepts a bad signature\n%s", out)
	}
}
