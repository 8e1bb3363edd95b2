package keys

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// gpgHome returns a folder for gpg; its name is short, for gpg-agent's socket.
func gpgHome(t *testing.T) string {
	t.Helper()
	for tool, pkg := range map[string]string{"gpg": "gnupg", "gpgv": "gpgv"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing: apt-get install %s", tool, pkg)
		}
	}
	home, err := os.MkdirTemp("", "gpg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run()
		os.RemoveAll(home)
	})
	return home
}

// runGPG runs gpg and returns both outputs.
func runGPG(t *testing.T, home string, args ...string) string {
	t.Helper()
	cmd := exec.Command("gpg", append([]string{"--homedir", home, "--batch", "--no-tty", "--pinentry-mode", "loopback"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("gpg %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestGPGReadsOurKeys: gpg imports the public files, and both it and gpgv
// accept what our keys sign.
func TestGPGReadsOurKeys(t *testing.T) {
	home, o := gpgHome(t), options(t)
	res, set := initialise(t, o)
	runGPG(t, home, "--import", res.Public[0], res.Public[1], res.Public[2])
	list := runGPG(t, home, "--with-colons", "--list-keys")
	for _, want := range []string{string(res.Root), string(res.Manifest), "farboot root key (demo)", "farboot manifest key (demo)"} {
		if !strings.Contains(list, want) {
			t.Errorf("gpg --list-keys does not show %s:\n%s", want, list)
		}
	}
	if strings.Contains(list, "\nsub:") {
		t.Errorf("keys have subkeys:\n%s", list)
	}
	dir := t.TempDir()
	data := []byte("a manifest\n")
	sig, err := set.Signer(o.Secrets, nil, time.Now())(trust.PurposeManifest, data)
	if err != nil {
		t.Fatal(err)
	}
	ring := filepath.Join(dir, "ring")
	runGPG(t, home, "--output", ring, "--export", string(res.Manifest))
	signed := filepath.Join(dir, "manifest.json")
	for name, content := range map[string][]byte{signed: data, signed + ".sig": sig} {
		if err := os.WriteFile(name, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	runGPG(t, home, "--verify", signed+".sig", signed)
	if out, err := exec.Command("gpgv", "--keyring", ring, signed+".sig", signed).CombinedOutput(); err != nil {
		t.Errorf("gpgv: %v\n%s", err, out)
	}
	if out, err := exec.Command("gpgv", "--keyring", ring, signed+".sig", ring).CombinedOutput(); err == nil {
		t.Errorf("gpgv accepts the signature for another file:\n%s", out)
	}
	statement := filepath.Join(o.Dir, "trust", "1.json")
	runGPG(t, home, "--verify", statement+".sig", statement)
}

// TestGPGSignsWithOurKeys: gpg imports the secret files, locked or not, and
// what it signs counts.
func TestGPGSignsWithOurKeys(t *testing.T) {
	for _, passphrase := range []string{"", "correct horse"} {
		home, o := gpgHome(t), options(t)
		if passphrase != "" {
			o.Passphrase = func(string) ([]byte, error) { return []byte(passphrase), nil }
		}
		res, set := initialise(t, o)
		runGPG(t, home, "--passphrase", passphrase, "--import", res.Secret[1])
		data := []byte("a manifest\n")
		name := filepath.Join(t.TempDir(), "manifest.json")
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
		runGPG(t, home, "--passphrase", passphrase, "-u", string(res.Manifest),
			"--set-notation", trust.Notation+"="+string(trust.PurposeManifest), "--detach-sign", name)
		sig, err := os.ReadFile(name + ".sig")
		if err != nil {
			t.Fatal(err)
		}
		v, err := set.Store.Open(trust.PurposeManifest, data, sig, time.Now())
		if err != nil {
			t.Errorf("passphrase %q: %v", passphrase, err)
		}
		if !bytes.Equal(v.Bytes(), data) {
			t.Errorf("passphrase %q: Bytes() = %q", passphrase, v.Bytes())
		}
	}
}

// runGPGConf runs gpgconf for a home.
func runGPGConf(t *testing.T, home string, args ...string) {
	t.Helper()
	if out, err := exec.Command("gpgconf", append([]string{"--homedir", home}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("gpgconf: %v\n%s", err, out)
	}
}

// runShell runs one line as a person types it.
func runShell(t *testing.T, dir, line string) {
	t.Helper()
	cmd := exec.Command("sh", "-c", line)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

// lookPath returns where a program is.
func lookPath(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}
