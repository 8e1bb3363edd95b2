package keys

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// TestSignWithTogether: many documents are signed at the same time, and the
// passphrase is asked for once.
func TestSignWithTogether(t *testing.T) {
	init := options(t)
	init.Passphrase = func(string) ([]byte, error) { return []byte("secret"), nil }
	_, set := initialise(t, init)
	asked := 0
	sign := set.SignWith(SignOptions{Secrets: []string{filepath.Join(init.Secrets, "none"), init.Secrets}, Now: init.Now,
		Passphrase: func(string) ([]byte, error) { asked++; return []byte("secret"), nil }})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			data := fmt.Appendf(nil, "document %d", i)
			sig, err := sign(trust.PurposeManifest, data)
			if err != nil {
				t.Error(err)
			}
			if _, err := set.Store.Open(trust.PurposeManifest, data, sig, init.Now); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
}

// TestOverlap: while an old and a new manifest key are listed, both sign.
func TestOverlap(t *testing.T) {
	init := options(t)
	initialise(t, init)
	_, set := apply(t, ceremonies(init), Rotate{Role: RoleManifest, KeepOld: true})
	sig, err := set.Signer(init.Secrets, nil, init.Now)(trust.PurposeManifest, []byte("m"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := set.Store.Open(trust.PurposeManifest, []byte("m"), sig, init.Now)
	if err != nil || len(v.Signers()) != 2 {
		t.Errorf("signed by %v, %v", v.Signers(), err)
	}
}

// BenchmarkSign is what one of 10,000 documents for machines costs to sign.
func BenchmarkSign(b *testing.B) {
	init := InitOptions{Dir: filepath.Join(b.TempDir(), "keys"), Secrets: filepath.Join(b.TempDir(), "secret"), Product: "demo", Now: time.Now()}
	if _, err := Init(init); err != nil {
		b.Fatal(err)
	}
	set, err := Load(init.Dir)
	if err != nil {
		b.Fatal(err)
	}
	sign := set.Signer(init.Secrets, nil, init.Now)
	data := make([]byte, 2<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := sign(trust.PurposeManifest, data); err != nil {
			b.Fatal(err)
		}
	}
}
