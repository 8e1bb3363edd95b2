package persist

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/state"
)

// secret asks for the secret of a machine, which is to be had.
func (m *machine) secret(machine string) []byte {
	m.t.Helper()
	secret, from, err := m.open().Secret(machine)
	if err != nil || len(secret) != SecretSize || !strings.HasPrefix(from, "partition ") {
		m.t.Fatalf("%d bytes from %q, %v", len(secret), from, err)
	}
	if said := strings.Join(m.said, "\n"); strings.Contains(said, hex.EncodeToString(secret)) || strings.Contains(said, string(secret)) {
		m.t.Error("the secret is in the log")
	}
	return secret
}

// A secret stays from boot to boot, beside the state, and is one stick's and one
// machine's.
func TestSecret(t *testing.T) {
	m := newMachine(t)
	m.efi()
	if _, _, err := m.open().Secret("uuid-1"); !errors.Is(err, ErrNoPlace) {
		t.Errorf("without a stick: %v", err)
	}
	node := m.plug("sdb2")
	m.save(at(1))
	first := m.secret("uuid-1")
	m.save(at(2))
	m.save(at(3))
	if again := m.secret("uuid-1"); !bytes.Equal(first, again) {
		t.Error("another secret in the second boot")
	}
	if len(m.said) != 0 {
		t.Errorf("said %q", m.said)
	}
	m.want(3)
	if other := m.secret("uuid-2"); bytes.Equal(first, other) || !bytes.Equal(other, m.secret("uuid-2")) {
		t.Error("two machines have one secret, or the second none that stays")
	}
	m.wantSaid("another machine's")
	m.want(3)

	data, err := os.ReadFile(node)
	if err != nil {
		t.Fatal(err)
	}
	kept := m.secret("uuid-2")
	data[secretOffset+20] ^= 1
	m.write(node, string(data))
	if bytes.Equal(kept, m.secret("uuid-2")) {
		t.Error("a damaged secret was taken")
	}
	m.wantSaid("damaged")
	m.want(3)
}

// A stick that cannot be read is an error, and is not written over.
func TestSecretGone(t *testing.T) {
	m := newMachine(t)
	node := m.plug("sdb2")
	if err := os.Remove(node); err != nil {
		t.Fatal(err)
	}
	if secret, _, err := m.open().Secret("uuid-1"); err == nil || secret != nil || errors.Is(err, ErrNoPlace) {
		t.Errorf("%d bytes, %v", len(secret), err)
	}
}

// What one of another format left there is none, whatever it is.
func TestSecretForeign(t *testing.T) {
	for _, fill := range []string{"x", "farboot\x01", "farboot\x02", "\xff"} {
		m := newMachine(t)
		node := m.plug("sdb2")
		m.write(node, strings.Repeat(fill, state.DeviceSize/len(fill)))
		m.secret("uuid-1")
	}
}
