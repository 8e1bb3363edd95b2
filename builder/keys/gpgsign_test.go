package keys

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// gpgUserHome makes gpg's home that of the user, as signers find it.
func gpgUserHome(t *testing.T) string {
	t.Helper()
	home := gpgHome(t)
	t.Setenv("GNUPGHOME", home)
	return home
}

// gpgNew makes a key in gpg and returns its fingerprint and public file.
func gpgNew(t *testing.T, home, algorithm, usage, expires string) (trust.Fingerprint, string) {
	t.Helper()
	name := strings.ReplaceAll(algorithm+usage, "/", "") + " <key@example.org>"
	runGPG(t, home, "--passphrase", "", "--quick-generate-key", name, algorithm, usage, expires)
	fpr := gpgFingerprint(t, home, name, 0)
	file := filepath.Join(t.TempDir(), "public.asc")
	runGPG(t, home, "--armor", "--output", file, "--export", string(fpr))
	return fpr, file
}

// gpgFingerprint returns the nth fingerprint of a key: 0 is the primary key's.
func gpgFingerprint(t *testing.T, home, name string, n int) trust.Fingerprint {
	t.Helper()
	for line := range strings.Lines(runGPG(t, home, "--with-colons", "--list-keys", "="+name)) {
		if f := strings.Split(line, ":"); f[0] == "fpr" {
			if n == 0 {
				return trust.Fingerprint(f[9])
			}
			n--
		}
	}
	t.Fatalf("gpg has no key %q", name)
	return ""
}

// TestGPGInCeremonies has keys that only gpg knows take over both roles, RSA and
// Ed25519, and sign what follows.
func TestGPGInCeremonies(t *testing.T) {
	init := options(t)
	res, _ := initialise(t, init)
	home := gpgUserHome(t)
	// Whatever the user's own settings do, signatures must come out right.
	conf := "armor\ntextmode\ndigest-algo SHA1\npersonal-digest-preferences SHA1\n"
	if err := os.WriteFile(filepath.Join(home, "gpg.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	root, rootFile := gpgNew(t, home, "rsa3072", "cert,sign", "0")
	signer, signerFile := gpgNew(t, home, "ed25519", "sign", "2y")
	o := ceremonies(init)
	o.Now = time.Now().Add(time.Second)
	k, err := ParseSigner("gpg:"+strings.ToLower(string(root)), nil, nil)
	if err != nil || k.Fingerprint != root || k.Where != "gpg" {
		t.Fatalf("%+v, %v", k, err)
	}
	o.Signers = []SigningKey{k, keyIn(t, res.Root, init.Secrets)}
	out, _ := apply(t, o, Rotate{Role: RoleRoot, NewKey: rootFile}, Rotate{Role: RoleManifest, NewKey: signerFile})
	if len(out.Made) != 0 || len(out.Signers) != 2 {
		t.Errorf("outcome %+v", out)
	}
	// From now on gpg alone can do it.
	o.Secrets, o.Signers = []string{filepath.Join(t.TempDir(), "none")}, o.Signers[:1]
	_, set := apply(t, o, RevokeObject{Reason: "a hole"})
	follow(t, set)
	m, err := ParseSigner("gpg:"+string(signer), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	data := sampleManifest(t, set, 1)
	sig, err := set.SignWith(SignOptions{Signers: []SigningKey{m}, Now: o.Now})(trust.PurposeManifest, data)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Store.Open(trust.PurposeManifest, data, sig, o.Now); err != nil {
		t.Error(err)
	}
	if _, err := set.SignWith(SignOptions{Signers: []SigningKey{k}, Now: o.Now})(trust.PurposeManifest, data); err == nil {
		t.Error("the root key signs a manifest")
	}
	report, err := set.Report([]string{init.Secrets}, o.Now)
	if err != nil {
		t.Fatal(err)
	}
	for _, role := range report.Roles {
		for _, key := range role.Keys {
			inGPG := len(key.Secret) == 1 && key.Secret[0] == "gpg"
			if inGPG != (key.Fingerprint != res.Standby) {
				t.Errorf("key %s: secret at %v", key.Fingerprint, key.Secret)
			}
			if key.Expires.IsZero() != (key.Fingerprint != signer) {
				t.Errorf("key %s expires %s", key.Fingerprint, key.Expires)
			}
		}
	}
}

// TestGPGSubkey: a primary key that only certifies, with a subkey that signs,
// is the usual shape of a smartcard's.
func TestGPGSubkey(t *testing.T) {
	init := options(t)
	initialise(t, init)
	home := gpgUserHome(t)
	primary, _ := gpgNew(t, home, "ed25519", "cert", "0")
	runGPG(t, home, "--passphrase", "", "--quick-add-key", string(primary), "ed25519", "sign", "0")
	sub := gpgFingerprint(t, home, "ed25519cert <key@example.org>", 1)
	file := filepath.Join(t.TempDir(), "public.gpg")
	runGPG(t, home, "--output", file, "--export", string(primary))
	o := ceremonies(init)
	o.Now = time.Now().Add(time.Second)
	_, set := apply(t, o, AddKey{Role: RoleManifest, File: file})
	for _, name := range []trust.Fingerprint{primary, sub} {
		k, err := ParseSigner("gpg:"+string(name), nil, nil)
		if err != nil || k.Fingerprint != primary {
			t.Fatalf("%s: %+v, %v", name, k, err)
		}
		sig, err := k.Sign(trust.PurposeManifest, []byte("m"), o.Now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := set.Store.Open(trust.PurposeManifest, []byte("m"), sig, o.Now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestGPGRefusals: no such key, no secret part, a locked one without anybody to
// ask, a key too weak, and a gpg that says yes and signs something else.
func TestGPGRefusals(t *testing.T) {
	init := options(t)
	res, _ := initialise(t, init)
	home := gpgUserHome(t)
	runGPG(t, home, "--import", res.Public[0])
	if err := os.WriteFile(filepath.Join(home, "gpg.conf"), []byte("pinentry-mode error\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	runGPG(t, home, "--passphrase", "secret", "--quick-generate-key", "locked", "ed25519", "sign", "0")
	locked := gpgFingerprint(t, home, "locked", 0)
	runGPG(t, home, "--passphrase", "", "--quick-generate-key", "weak", "rsa2048", "sign", "0")
	weak := gpgFingerprint(t, home, "weak", 0)
	runGPG(t, home, "--passphrase", "", "--quick-generate-key", "good", "ed25519", "sign", "0")
	good := gpgFingerprint(t, home, "good", 0)
	stop := func() {
		// An agent that saw the passphrase remembers it.
		runGPGConf(t, home, "--kill", "gpg-agent")
	}
	stop()
	for name, c := range map[string]struct{ signer, says string }{
		"no key":         {"gpg:" + strings.Repeat("A", 40), "gpg has no key"},
		"no fingerprint": {"gpg:alice", "40 hexadecimal digits"},
		"public only":    {"gpg:" + string(res.Root), "No secret key"},
		"locked":         {"gpg:" + string(locked), "gpg"},
		"weak":           {"gpg:" + string(weak), "too weak"},
	} {
		k, err := ParseSigner(c.signer, nil, nil)
		if err == nil {
			_, err = k.Sign(trust.PurposeManifest, []byte("m"), time.Now().Add(time.Second))
		}
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	k, err := ParseSigner("gpg:"+string(good), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	for name, script := range map[string]string{
		"nothing":       "#!/bin/sh\nexit 0\n",
		"junk":          "#!/bin/sh\necho junk\n",
		"other bytes":   "#!/bin/sh\necho other | " + lookPath(t, "gpg") + " \"$@\" -\n",
		"other purpose": "#!/bin/bash\nexec " + lookPath(t, "gpg") + " \"${@/boot-manifest/trust-statement}\"\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, "gpg"), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
		if sig, err := k.Sign(trust.PurposeManifest, []byte("m"), time.Now().Add(time.Second)); err == nil || sig != nil || !strings.Contains(err.Error(), "untrusted") {
			t.Errorf("gpg returns %s: %v", name, err)
		}
	}
}

// TestGPGSecondPerson types what the text beside a request says.
func TestGPGSecondPerson(t *testing.T) {
	_, res, o, other := twoRoots(t)
	out, err := Apply(o, Rotate{Role: RoleManifest})
	if err != nil || !out.Pending {
		t.Fatalf("%+v, %v", out, err)
	}
	home := gpgUserHome(t)
	runGPG(t, home, "--import", secretName(other, res.Standby))
	text, err := os.ReadFile(out.File + ".txt")
	if err != nil {
		t.Fatal(err)
	}
	var command string
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "  gpg ") {
			command = strings.ReplaceAll(strings.TrimSpace(line), "FINGERPRINT", string(res.Standby))
		}
	}
	runShell(t, filepath.Dir(out.File), command)
	set, err := Load(o.Dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Collect(set, time.Now().Add(time.Second))
	if err != nil || len(got) != 1 || got[0].Done == "" {
		t.Fatalf("collected %+v, %v", got, err)
	}
	if set, err = Load(o.Dir); err != nil || set.Newest().Version != 3 {
		t.Fatalf("Load: %v", err)
	}
	follow(t, set)
}
