package leak_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/farboot/farboot/builder/leak"
)

// TestImage: in an image a key is one where a file could begin, wherever that is,
// and not in the middle of a program.
func TestImage(t *testing.T) {
	key := pemKey(t)
	const size = 300_000
	for _, at := range []int{0, 512, 63 << 10, 64 << 10, 65024, 127<<10 + 512, 128 << 10, 512 * 500} {
		for shift, want := range map[int]bool{0: true, 1: false, 256: false} {
			image := make([]byte, size)
			copy(image[at+shift:], key)
			err := leak.Image("image", bytes.NewReader(image))
			if errors.Is(err, leak.ErrSecret) != want {
				t.Errorf("a key at %d: %v", at+shift, err)
			}
			// What is there already hides nothing behind it.
			both := bytes.Clone(image)
			copy(both[1:], key)
			copy(both[512*580:], key)
			if err := leak.Image("image", bytes.NewReader(both)); !errors.Is(err, leak.ErrSecret) {
				t.Errorf("keys at 1, %d and %d: %v", at+shift, 512*580, err)
			}
		}
	}
}

// TestImageOfFileSystem: a key in a real file system is found, and one in the
// middle of a program there is not.
func TestImageOfFileSystem(t *testing.T) {
	mke2fs, err := exec.LookPath("mke2fs")
	if err != nil {
		t.Fatal("mke2fs is missing: apt install e2fsprogs")
	}
	for name, want := range map[string]bool{"key": true, "program": false} {
		dir := t.TempDir()
		content := pemKey(t)
		if !want {
			content = append(bytes.Repeat([]byte("\x7fELF"), 25), content...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
		image := filepath.Join(t.TempDir(), "image")
		if out, err := exec.Command(mke2fs, "-q", "-t", "ext4", "-d", dir, image, "4M").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		f, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		if err := leak.Image(name, f); errors.Is(err, leak.ErrSecret) != want {
			t.Errorf("%s: %v", name, err)
		}
		f.Close()
	}
}
