package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/leak"
)

// farboot runs the command in this process.
func farboot(t *testing.T, args ...string) error {
	t.Helper()
	return run(t.Context(), args, strings.NewReader(""), io.Discard, io.Discard)
}

// TestSecretInRecipe: a key in a recipe, here in a comment, stops every verb before
// it does anything.
func TestSecretInRecipe(t *testing.T) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	path := filepath.Join(t.TempDir(), "site.yaml")
	text := "kind: site\nentries:\n  e:\n    title: E\n    linux: {kernel: {file: k}}\ndefault: [e]\n# " +
		strings.ReplaceAll(strings.TrimSpace(block), "\n", "\n# ") + "\n"
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := farboot(t, "lock", path); !errors.Is(err, leak.ErrSecret) {
		t.Errorf("got %v, want ErrSecret", err)
	}
}

// TestKeysBesideSecrets: a project below the home folder, named from there, and
// the secret keys at their usual place in it.
func TestKeysBesideSecrets(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", "")
	t.Chdir(home)
	if err := farboot(t, "keys", "init", "--dir", "project/keys"); err != nil {
		t.Error(err)
	}
	if err := farboot(t, "keys", "init", "--dir", "other/keys", "--secrets", "other/secret"); err == nil {
		t.Error("secret keys went into the project")
	}
}
