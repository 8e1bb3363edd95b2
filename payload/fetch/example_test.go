package fetch_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"

	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// A machine boots from three sites: one that is late, one that gives wrong bytes
// and one whose manifest has a bad signature.
func ExampleMirrors() {
	kernel := []byte("the kernel")
	ref := object.OfBytes(kernel)
	content := evil.Content(kernel)
	late := httptest.NewServer(evil.New(content, evil.Late(50e6)))
	wrong := httptest.NewServer(evil.New(content, evil.On("/"+ref.Path(), evil.Flip(0))))
	unsigned := httptest.NewServer(evil.New(content, evil.Late(20e6)))
	defer late.Close()
	defer wrong.Close()
	defer unsigned.Close()

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // of what Probe has left behind
	client := fetch.New(fetch.DefaultLimits())
	defer client.Close()

	// One for the whole boot: what a round has learned, the next one knows.
	mirrors := fetch.NewMirrors(client, nil, late.URL, wrong.URL, unsigned.URL)

	// Once for each network.
	mirrors.Probe(ctx, "manifest.json")
	for _, site := range mirrors.Sites() {
		manifest, err := mirrors.Document(ctx, site, "manifest.json", 1<<20)
		if err != nil {
			continue
		}
		if err := verify(site == unsigned.URL, manifest); err != nil {
			mirrors.Condemn(site, err)
		}
	}

	// What a manifest lists, into memory of the right size.
	f, err := os.CreateTemp("", "kernel")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	err = mirrors.Objects(ctx, fetch.Want{Ref: ref, To: f})
	fmt.Println("error:", err)
	for _, h := range mirrors.Health() {
		fmt.Println(map[string]string{late.URL: "late", wrong.URL: "wrong", unsigned.URL: "unsigned"}[h.Site], h.Condemned)
	}
	// Unordered output:
	// error: <nil>
	// late false
	// wrong true
	// unsigned true
}

func verify(bad bool, manifest []byte) error {
	if bad || sha256.Sum256(manifest) == [32]byte{} {
		return errors.New("bad signature")
	}
	return nil
}
