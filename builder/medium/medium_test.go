package medium

import (
	"bytes"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/tree"
)

// TestConcatPads: the kernel takes a plain archive at multiples of 4 only, and
// the settings, which are one, follow layers of any length.
func TestConcatPads(t *testing.T) {
	for n := range 5 {
		first := tree.Bytes("a", bytes.Repeat([]byte("x"), n))
		var plain strings.Builder
		if err := initramfs.Pack(&plain, initramfs.Layer{}, initramfs.None); err != nil {
			t.Fatal(err)
		}
		f := initrdOf("initrd", first, tree.Bytes("b", []byte(plain.String())), tree.Bytes("c", nil))
		data, err := f.Read() // compares the size announced
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(data, []byte("070701")); at%4 != 0 || at < n || at > n+3 {
			t.Errorf("behind %d bytes the archive starts at %d", n, at)
		}
		if len(data)%4 != 0 {
			t.Errorf("the whole has %d bytes", len(data))
		}
	}
}
