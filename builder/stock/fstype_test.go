package stock

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/farboot/farboot/builder/internal/oracle"
)

// TestFstype: file systems are told apart as their tools make them.
func TestFstype(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, size int64) string {
		at := filepath.Join(dir, name)
		if err := os.WriteFile(at, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(at, size); err != nil {
			t.Fatal(err)
		}
		return at
	}
	empty := filepath.Join(dir, "root")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	squash, ext4 := filepath.Join(dir, "squash"), file("ext4", 4<<20)
	oracle.Output(t, oracle.Tool(t, "mksquashfs", "squashfs-tools"), empty, squash, "-quiet", "-no-progress")
	oracle.Output(t, oracle.Tool(t, "mkfs.ext4", "e2fsprogs"), "-q", ext4)
	erofs := file("erofs", 4<<10) // Debian's erofs-utils is no part of the tests: the magic of erofs_fs.h
	f, err := os.OpenFile(erofs, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("\xe2\xe1\xf5\xe0"), 1024); err != nil {
		t.Fatal(err)
	}
	f.Close()
	for name, want := range map[string]string{squash: "squashfs", ext4: "ext4", erofs: "erofs", file("zeros", 1<<20): "", file("empty", 0): ""} {
		if got, err := fstypeOf(name); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", filepath.Base(name), got, err)
		}
	}
}
