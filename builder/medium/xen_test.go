package medium

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/farboot/farboot/payload/xen"
)

// TestHypervisor: what GRUB could not start as Xen does not get onto a medium. That
// Debian's Xen does is shown by mediumtest.TestMenu.
func TestHypervisor(t *testing.T) {
	for text, want := range map[string]error{"": xen.ErrELF, "MZ, for UEFI": xen.ErrHeader, "\x1f\x8b, cut": xen.ErrELF} {
		path := filepath.Join(t.TempDir(), "xen.gz")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := checkHypervisor(path); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}
