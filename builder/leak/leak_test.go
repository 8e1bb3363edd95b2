package leak_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"

	"github.com/farboot/farboot/builder/leak"
)

// pemKey returns a fresh private key as openssl would write it.
func pemKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// pgpKey returns a fresh OpenPGP key, secret and public part.
func pgpKey(t *testing.T) (secret, public []byte) {
	t.Helper()
	e, err := openpgp.NewEntity("Test", "", "test@example.org", nil)
	if err != nil {
		t.Fatal(err)
	}
	var s, p bytes.Buffer
	if err := errors.Join(e.SerializePrivate(&s, nil), e.Serialize(&p)); err != nil {
		t.Fatal(err)
	}
	return s.Bytes(), p.Bytes()
}

// armored wraps data as gpg --armor does.
func armored(t *testing.T, kind string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := armor.Encode(&b, kind, map[string]string{"Comment": "made by a test"})
	if err != nil {
		t.Fatal(err)
	}
	w.Write(data)
	w.Close()
	return b.Bytes()
}

// inJSON returns text as a JSON document holds it.
func inJSON(t *testing.T, text []byte) []byte {
	t.Helper()
	data, err := json.Marshal(map[string]string{"key": string(text)})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestScan(t *testing.T) {
	secret, public := pgpKey(t)
	pemBlock := pemKey(t)
	encrypted := pem.EncodeToMemory(&pem.Block{
		Type: "RSA PRIVATE KEY", Bytes: bytes.Repeat([]byte{7}, 300),
		Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-256-CBC,00"},
	})
	openssh := pem.EncodeToMemory(&pem.Block{Type: "OPENSSH PRIVATE KEY", Bytes: bytes.Repeat([]byte{7}, 300)})
	noise := make([]byte, 200<<10)
	rand.Read(noise)
	for _, test := range []struct {
		name   string
		data   []byte
		secret bool
	}{
		{"empty", nil, false},
		{"noise", noise, false},
		{"public key", public, false},
		{"armored public key", armored(t, "PGP PUBLIC KEY BLOCK", public), false},
		{"program with the words", []byte("\x00-----BEGIN OPENSSH PRIVATE KEY-----\n\x00-----END"), false},
		{"secret key", secret, true},
		{"public then secret key", append(bytes.Clone(public), secret...), true},
		{"armored secret key", armored(t, "PGP PRIVATE KEY BLOCK", secret), true},
		{"pem", pemBlock, true},
		{"pem, CRLF", bytes.ReplaceAll(pemBlock, []byte("\n"), []byte("\r\n")), true},
		{"pem, indented", bytes.ReplaceAll(pemBlock, []byte("\n"), []byte("\n      ")), true},
		{"pem, indented by tabs, CRLF", bytes.ReplaceAll(pemBlock, []byte("\n"), []byte("\r\n\t")), true},
		{"pem, commented out", bytes.ReplaceAll(pemBlock, []byte("\n"), []byte("\n# ")), true},
		{"pem in JSON", inJSON(t, pemBlock), true},
		{"pem with CRLF in JSON", inJSON(t, bytes.ReplaceAll(pemBlock, []byte("\n"), []byte("\r\n"))), true},
		{"pem in JSON in JSON", inJSON(t, inJSON(t, pemBlock)), true},
		{"encrypted pem in JSON", inJSON(t, encrypted), true},
		{"armored secret key, indented", bytes.ReplaceAll(armored(t, "PGP PRIVATE KEY BLOCK", secret), []byte("\n"), []byte("\n  ")), true},
		{"encrypted pem", encrypted, true},
		{"openssh", openssh, true},
		{"pem deep in noise", bytes.Join([][]byte{noise, pemBlock, noise}, nil), true},
		{"pem across a window", append(bytes.Repeat([]byte("x"), 64<<10-30), pemBlock...), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, r := range []io.Reader{bytes.NewReader(test.data), iotest.HalfReader(bytes.NewReader(test.data))} {
				if err := leak.Scan("input", r); errors.Is(err, leak.ErrSecret) != test.secret {
					t.Errorf("Scan = %v; want secret: %v", err, test.secret)
				}
			}
		})
	}
}

// TestScanOtherForms takes keys as gpg 2.2 and 2.4, PuTTY and age write them, and
// programs that know how to.
func TestScanOtherForms(t *testing.T) {
	hex := strings.Repeat("5A", 32)
	for name, test := range map[string]struct {
		data   string
		secret bool
	}{
		"canonical":            {"(11:private-key(3:ecc(5:curve7:Ed25519)(1:d32:xxxx)))", true},
		"canonical, locked":    {"(21:protected-private-key(3:rsa(1:n3:xxx)", true},
		"canonical, on card":   {"(20:shadowed-private-key(3:ecc(5:curve7:Ed25519)", true},
		"lines":                {"Created: 20261122T000000\nKey: (private-key (ecc (curve Ed25519)(flags eddsa)(d #" + hex + "#)))\n", true},
		"lines, locked":        {"Key: (protected-private-key\n (ecc (curve Ed25519)))\n", true},
		"putty":                {"PuTTY-User-Key-File-3: ssh-ed25519\r\nEncryption: none\r\nComment: x\r\n", true},
		"age":                  {"# created: 2026\nAGE-SECRET-KEY-1" + strings.Repeat("Q", 58) + "\n", true},
		"gpg's agent":          {"\x00(21:protected-private-key\x00(11:private-key\x00%s: private-key\n", false},
		"libgcrypt's test":     {"\x00(private-key (rsa (n #00" + hex + "#)))\x00", false},
		"puttygen":             {"\x00PuTTY-User-Key-File-%u: %s\n\x00Encryption: \x00", false},
		"age itself":           {"\x00AGE-SECRET-KEY-\x00AGE-SECRET-KEY-1...\x00", false},
		"gpg's card, in lines": {"Key: (shadowed-private-key (ecc (curve Ed25519)))\n", true},
	} {
		data := []byte(test.data)
		if err := leak.Bytes(name, data); errors.Is(err, leak.ErrSecret) != test.secret {
			t.Errorf("%s: %v; want secret: %v", name, err, test.secret)
		}
		if err := leak.Bytes(name, append(make([]byte, 64<<10-20), data...)); test.secret && !strings.HasPrefix(test.data, "Key:") && !errors.Is(err, leak.ErrSecret) {
			t.Errorf("%s across a window: %v", name, err)
		}
	}
}

// TestScanAgentKeys has gpg make a key, and scans what its agent keeps, and the
// programs that keep it.
func TestScanAgentKeys(t *testing.T) {
	home, err := os.MkdirTemp("", "gpg") // short, for the agent's socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		exec.Command("gpgconf", "--homedir", home, "--kill", "gpg-agent").Run() //nolint:errcheck // none may run
		os.RemoveAll(home)
	})
	for _, phrase := range []string{"", "red sky at night"} {
		out, err := exec.Command("gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", phrase,
			"--quick-generate-key", "test "+phrase, "ed25519", "sign", "never").CombinedOutput()
		if err != nil {
			t.Fatalf("gpg (apt-get install gnupg): %v\n%s", err, out)
		}
	}
	names, err := filepath.Glob(filepath.Join(home, "private-keys-v1.d", "*.key"))
	if err != nil || len(names) != 2 {
		t.Fatalf("keys %q, %v", names, err)
	}
	for _, name := range names {
		if err := leak.File("key", name); !errors.Is(err, leak.ErrSecret) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, tool := range []string{"gpg", "gpg-agent"} {
		name, err := exec.LookPath(tool)
		if err != nil {
			t.Fatalf("apt-get install gnupg: %v", err)
		}
		if err := leak.File(tool, name); err != nil {
			t.Error(err)
		}
	}
}

func TestScanPassesReadErrors(t *testing.T) {
	broken := errors.New("disk on fire")
	if err := leak.Scan("input", iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("Scan = %v; want %v", err, broken)
	}
}
