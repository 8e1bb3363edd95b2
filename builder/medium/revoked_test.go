package medium

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// What the medium's statement revokes does not get onto it, whichever way it would
// come: as a file of a package or of a menu entry, or with the fallback.
func TestRevoked(t *testing.T) {
	day := time.Date(2026, 11, 20, 0, 0, 0, 0, time.UTC)
	kernel := []byte("a kernel with a hole")
	ref := object.OfBytes(kernel)
	sim := trusttest.NewSim(t, "demo", day)
	sim.Issue(func(st *trust.Statement) {
		st.Revoked.Objects = []trust.RevokedObject{{SHA256: ref.SHA256, Reason: "CVE-2026-1", Since: day}}
	})
	path := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(path, kernel, 0o644); err != nil {
		t.Fatal(err)
	}
	for version, want := range map[int64]error{1: nil, 2: errRevoked} {
		c := composerWith(t)
		c.clean, c.store = map[string]bool{}, sim.Store(version)
		if _, err := c.scanned("boot/vmlinuz", "vmlinuz", path, ref); !errors.Is(err, want) {
			t.Errorf("statement %d, a file: %v", version, err)
		}
		if err := c.carry(carried{ref, "file:vmlinuz", path}, "fallback[0]"); (err == nil) != (want == nil) {
			t.Errorf("statement %d, an object: %v", version, err)
		}
	}
}
