package aptsim

import (
	"bytes"
	"crypto"
	"io"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
	openpgp "github.com/ProtonMail/go-crypto/openpgp/v2"
)

// Key signs releases.
type Key struct {
	// Public is the armored public key.
	Public []byte
	// Sign clear-signs text.
	Sign func(text []byte) []byte
}

// NewKey makes an Ed25519 key for the user called name.
func NewKey(t testing.TB, name string) *Key {
	t.Helper()
	return NewKeyWith(t, name, time.Now().AddDate(-1, 0, 0), 0)
}

// NewKeyWith makes a key that was made at a certain time and lives for so
// long, 0 meaning for ever.
func NewKeyWith(t testing.TB, name string, created time.Time, life time.Duration) *Key {
	t.Helper()
	entity, err := openpgp.NewEntity(name, "", name+"@example.org", &packet.Config{
		Algorithm:       packet.PubKeyAlgoEdDSA, // as gpg writes it
		DefaultHash:     crypto.SHA512,
		Time:            func() time.Time { return created },
		KeyLifetimeSecs: uint32(life / time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	return &Key{
		Public: Armor(t, openpgp.PublicKeyType, entity.Serialize),
		Sign:   func(text []byte) []byte { return SignAt(t, text, time.Now(), entity) },
	}
}

// SignAt clear-signs text with all signers, as of a moment.
func SignAt(t testing.TB, text []byte, at time.Time, signers ...*openpgp.Entity) []byte {
	var keys []*packet.PrivateKey
	for _, e := range signers {
		keys = append(keys, e.PrivateKey)
	}
	var out bytes.Buffer
	w, err := clearsign.EncodeMulti(&out, keys, &packet.Config{Time: func() time.Time { return at }})
	if err == nil {
		_, err = w.Write(text)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Error(err)
	}
	return append(out.Bytes(), '\n')
}

// Armor returns in armor what write writes.
func Armor(t testing.TB, kind string, write func(io.Writer) error) []byte {
	var out bytes.Buffer
	w, err := armor.Encode(&out, kind, nil)
	if err == nil {
		err = write(w)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Error(err)
	}
	return append(out.Bytes(), '\n')
}
