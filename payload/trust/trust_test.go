package trust_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

var issued = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

func TestOpen(t *testing.T) {
	site := trusttest.New(t, "demo", issued)
	data := []byte("any bytes\r\n")
	made := issued.Add(time.Hour)
	v, err := site.Store.Open(trust.PurposeManifest, data, site.Sign(t, data, made), made)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(v.Bytes(), data) {
		t.Errorf("Bytes() = %q, want %q", v.Bytes(), data)
	}
	if want := []trust.Fingerprint{site.Manifest.Fingerprint()}; !slices.Equal(v.Signers(), want) {
		t.Errorf("Signers() = %v, want %v", v.Signers(), want)
	}
	if !v.SignedAt().Equal(made) {
		t.Errorf("SignedAt() = %v, want %v", v.SignedAt(), made)
	}
	if v.Purpose() != trust.PurposeManifest || len(v.Doubts()) != 0 {
		t.Errorf("Purpose() = %q, Doubts() = %q", v.Purpose(), v.Doubts())
	}
}
