//go:build boot || long

package iso

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/internal/liveiso"
	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/iso/isofs"
)

// open opens an ISO of a test.
func open(t testing.TB, path string) (*os.File, int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return f, info.Size()
}

// save writes a file of an ISO to a folder.
func save(t testing.TB, s *System, f isofs.File, dir string) string {
	t.Helper()
	r, err := s.volume.Open(f)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(dir, filepath.Base(f.Path))
	if err := os.WriteFile(out, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestDebian reads a live ISO of Debian's packages. What is found in it other people's
// programs find as well: xorriso, bsdtar and unsquashfs.
func TestDebian(t *testing.T) {
	path := liveiso.Build(t)
	f, size := open(t, path)
	s, err := Examine(f, size, Options{Append: "console=ttyS0,115200", Live: Live{Lang: "de_DE.UTF-8", Hostname: "reading-room"}})
	if err != nil {
		t.Fatal(err)
	}
	const line = "boot=live live-media={device} components quiet splash locales=de_DE.UTF-8 hostname=reading-room console=ttyS0,115200"
	if s.Family != "live-boot" || s.Cmdline != line || len(s.Initrd) != 1 || s.Memory < 300 || s.Memory > 700 {
		t.Errorf("family %s, %d initrds, %d MiB, command line %q\nwant %q", s.Family, len(s.Initrd), s.Memory, s.Cmdline, line)
	}
	dir := t.TempDir()
	oracle.Output(t, oracle.Tool(t, "xorriso", "xorriso"), "-indev", path, "-osirrox", "on", "-extract", "/live", filepath.Join(dir, "live"))
	for _, f := range []isofs.File{s.Kernel, s.Initrd[0]} {
		oracle.Output(t, "cmp", save(t, s, f, dir), filepath.Join(dir, f.Path))
	}
	init, err := exec.Command(oracle.Tool(t, "bsdtar", "libarchive-tools"), "-xOf", filepath.Join(dir, "live/initrd.img"), "init").Output()
	if err != nil || string(init) != string(s.Init) {
		t.Errorf("/init of %d bytes, bsdtar has %d, %v", len(s.Init), len(init), err)
	}
	modulesOf(t, s, filepath.Join(dir, "live/filesystem.squashfs"))
}

// modulesOf compares the modules of a system with those in its squashfs.
func modulesOf(t *testing.T, s *System, squash string) {
	k, err := s.Modules()
	if err != nil {
		t.Fatal(err)
	}
	if k.Release != s.Release {
		t.Errorf("modules of %s, the kernel is %s", k.Release, s.Release)
	}
	for _, name := range []string{"fuse", "loop", "nbd", "isofs", "squashfs", "overlay", "vfat", "ext4", "e1000e", "virtio_net", "virtio_pci", "r8169"} {
		if !k.Has(name) {
			t.Errorf("%s is missing", name)
		}
	}
	seen := 0
	for _, f := range k.Modules {
		switch filepath.Base(f.Path) {
		case "nbd.ko", "e1000e.ko":
			data, err := f.Read()
			if err != nil {
				t.Fatal(err)
			}
			want, err := exec.Command(oracle.Tool(t, "unsquashfs", "squashfs-tools"), "-cat", squash, "usr/"+f.Path).Output()
			if err != nil || string(want) != string(data) {
				t.Errorf("%s: %d bytes, unsquashfs has %d, %v", f.Path, len(data), len(want), err)
			}
			seen++
		case "modules.builtin":
			text, err := f.Read()
			if err != nil || !strings.Contains(string(text), "kernel/unix.ko\n") {
				t.Errorf("%s: %v", f.Path, err)
			}
			seen++
		}
	}
	if seen != 3 {
		t.Errorf("%d of 3 files are there", seen)
	}
}
