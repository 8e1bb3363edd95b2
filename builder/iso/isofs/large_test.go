//go:build long

package isofs

import (
	"os"
	"testing"

	"github.com/farboot/farboot/builder/internal/liveiso"
)

// TestLarge: of an image of more than 4 GiB, a file in two extents is one, and what
// lies behind it is what lay elsewhere before.
func TestLarge(t *testing.T) {
	var kernels [2][]byte
	for i, path := range []string{liveiso.Build(t), liveiso.Large(t)} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			t.Fatal(err)
		}
		v, err := Open(f, info.Size())
		if err != nil {
			t.Fatal(err)
		}
		if kernels[i], err = v.ReadFile("/live/vmlinuz", 64<<20); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue
		}
		if filler, err := v.Find("/filler/filler.bin"); err != nil || filler.Size != 4608<<20 {
			t.Errorf("filler of %d bytes, %v", filler.Size, err)
		}
		if kernel, err := v.Find("/live/vmlinuz"); err != nil || kernel.Offset < 4<<30 {
			t.Errorf("the kernel lies at %d, %v", kernel.Offset, err)
		}
	}
	if len(kernels[0]) == 0 || string(kernels[0]) != string(kernels[1]) {
		t.Errorf("kernels of %d and %d bytes differ", len(kernels[0]), len(kernels[1]))
	}
}
