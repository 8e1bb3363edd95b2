package authkey

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// generate makes a key with ssh-keygen and returns its line.
func generate(t testing.TB, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Fatal("ssh-keygen is missing: it is in Debian's openssh-client")
	}
	name := filepath.Join(t.TempDir(), "key")
	args = append(args, "-q", "-N", "", "-C", "anna@desk at home", "-f", name)
	if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen %q: %v: %s", args, err, out)
	}
	line, err := os.ReadFile(name + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return string(line)
}

// lines are one key of each kind. Those on security keys are made of others,
// since ssh-keygen wants the card for them.
func lines(t testing.TB) map[string]string {
	ed, ec := generate(t, "-t", "ed25519"), generate(t, "-t", "ecdsa", "-b", "256")
	return map[string]string{
		"ed25519": ed, "p256": ec,
		"p384":     generate(t, "-t", "ecdsa", "-b", "384"),
		"p521":     generate(t, "-t", "ecdsa", "-b", "521"),
		"rsa":      generate(t, "-t", "rsa", "-b", "3072"),
		"sk":       onACard(t, ed, "sk-ssh-ed25519@openssh.com"),
		"sk ecdsa": onACard(t, ec, "sk-ecdsa-sha2-nistp256@openssh.com"),
	}
}

// onACard turns a key into one that claims to live in a security key.
func onACard(t testing.TB, line, kind string) string {
	t.Helper()
	k, err := Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	rest := k.Blob[4+len(k.Type):]
	blob := append(append(field(kind), rest...), field("ssh:")...)
	return kind + " " + base64.StdEncoding.EncodeToString(blob) + " anna@desk at home"
}

// field is text as SSH spells it.
func field(s string) []byte { return append([]byte{0, 0, 0, byte(len(s))}, s...) }

// Each kind is read as OpenSSH's own tool and x/crypto/ssh read it.
func TestKinds(t *testing.T) {
	for name, line := range lines(t) {
		k, err := Parse(line)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		other, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil || !bytes.Equal(other.Marshal(), k.Blob) || comment != k.Comment || ssh.FingerprintSHA256(other) != k.Fingerprint() {
			t.Errorf("%s: %+v, x/crypto/ssh has %v %q, %v", name, k, other, comment, err)
		}
		if k.String() != strings.TrimSpace(line) {
			t.Errorf("%s: written as %q", name, k.String())
		}
		file := filepath.Join(t.TempDir(), "key.pub")
		if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("ssh-keygen", "-l", "-f", file).CombinedOutput()
		if err != nil || !strings.Contains(string(out), " "+k.Fingerprint()+" ") {
			t.Errorf("%s: ssh-keygen says %s, %v", name, out, err)
		}
	}
}

// What must not let anybody in, and what the person who wrote it is told.
func TestRefused(t *testing.T) {
	ed := strings.TrimSpace(generate(t, "-t", "ed25519"))
	rsa := generate(t, "-t", "rsa", "-b", "2048")
	words := strings.Fields(ed)
	blob, _ := base64.StdEncoding.DecodeString(words[1])
	other := base64.StdEncoding.EncodeToString
	p256 := field("ecdsa-sha2-nistp256")
	for name, test := range map[string]struct{ line, want string }{
		"nothing":        {"", "empty or a comment"},
		"comment":        {"# anna", "empty or a comment"},
		"option":         {`command="reboot" ` + ed, "no options"},
		"cert authority": {"cert-authority " + ed, "no options"},
		"no touch":       {"no-touch-required " + ed, "no options"},
		"certificate":    {"ssh-ed25519-cert-v01@openssh.com AAAA", "certificates are not taken"},
		"DSA":            {"ssh-dss AAAAB3NzaC1kc3M=", "DSA is broken"},
		"short RSA":      {rsa, "2048 bits, want 3072"},
		"private key":    {"-----BEGIN OPENSSH PRIVATE KEY-----", "the file beside it that ends in .pub"},
		"other kind":     {"ssh-rsa " + words[1], `the key inside is of the kind "ssh-ed25519"`},
		"cut":            {words[0] + " " + other(blob[:len(blob)-1]), "damaged"},
		"more":           {words[0] + " " + other(append(bytes.Clone(blob), 0)), "damaged"},
		"no base64":      {words[0] + " anna@desk", "damaged"},
		"no key":         {words[0], "damaged"},
		"off the curve":  {"ecdsa-sha2-nistp256 " + other(bytes.Join([][]byte{p256, field("nistp256"), field("\x04" + strings.Repeat("a", 64))}, nil)), "damaged"},
		"other curve":    {"ecdsa-sha2-nistp256 " + other(bytes.Join([][]byte{p256, field("nistp384"), field("x")}, nil)), "curve"},
		"escape code":    {ed + " \x1b[2J", "control characters"},
		"long comment":   {ed + strings.Repeat("x", maxComment), "comment"},
		"long":           {strings.Repeat("x", MaxLine+1), "at most"},
		"two lines":      {ed + "\n" + ed, "control characters"},
	} {
		k, err := Parse(test.line)
		if !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, %v; want %q", name, k, err, test.want)
		}
	}
}

// What is taken, x/crypto/ssh takes as the same key, and it is written as it was
// read: the server compares bytes.
func FuzzParse(f *testing.F) {
	for _, line := range lines(f) {
		f.Add(line)
	}
	f.Add("ssh-rsa AAAA")
	f.Fuzz(func(t *testing.T, line string) {
		k, err := Parse(line)
		if err != nil {
			if !errors.Is(err, ErrKey) {
				t.Errorf("%v is no ErrKey", err)
			}
			return
		}
		other, err := ssh.ParsePublicKey(k.Blob)
		if err != nil || other.Type() != k.Type || !bytes.Equal(other.Marshal(), k.Blob) {
			t.Errorf("x/crypto/ssh: %v, %v", other, err)
		}
		if again, err := Parse(k.String()); err != nil || again.String() != k.String() {
			t.Errorf("read again: %v, %v", again, err)
		}
	})
}
