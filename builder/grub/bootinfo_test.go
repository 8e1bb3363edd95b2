package grub_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/farboot/farboot/builder/grub"
)

// TestBootInfo has xorriso put a core image on an ISO and patch it and the MBR
// there: ours must be the same bytes.
func TestBootInfo(t *testing.T) {
	src := grubFiles(t)
	core, err := grub.Core(src, grub.CoreConfig{Modules: []string{"biosdisk"}, Prefix: "/boot/grub"})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "tree", "eltorito.img")
	if err := os.Mkdir(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, core, 0o644); err != nil {
		t.Fatal(err)
	}
	iso := filepath.Join(dir, "test.iso")
	cmd := exec.Command(tool(t, "xorriso", "xorriso"), "-as", "mkisofs", "-quiet", "-o", iso, "-b", "eltorito.img",
		"-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info",
		"--grub2-mbr", filepath.Join(modulesDir, "boot_hybrid.img"), filepath.Dir(name))
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, msg)
	}
	image, err := os.ReadFile(iso)
	if err != nil {
		t.Fatal(err)
	}
	lba := catalogLBA(image)

	// Twice: an image that was patched for another place is as good.
	for _, place := range []uint32{lba + 7, lba} {
		if err := grub.PatchBootInfo(core, place); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(core, image[lba*2048:][:len(core)]) {
		t.Error("core image differs from the one that xorriso patched")
	}
	mbr, err := grub.HybridMBR(src, lba)
	if err != nil {
		t.Fatal(err)
	}
	if code := 440; !bytes.Equal(mbr[:code], image[:code]) {
		t.Error("MBR code differs from xorriso's")
	}
	if !bytes.Equal(mbr[440:446], make([]byte, 6)) || !bytes.Equal(mbr[446:510], make([]byte, 64)) {
		t.Error("MBR has a disk signature or partitions")
	}
}

// catalogLBA returns where the boot catalog of an ISO says the boot image is.
func catalogLBA(iso []byte) uint32 {
	catalog := binary.LittleEndian.Uint32(iso[17*2048+0x47:])
	return binary.LittleEndian.Uint32(iso[catalog*2048+32+8:])
}

func TestPatchBootInfoRefuses(t *testing.T) {
	for _, size := range []int{0, 2048, 2559, 2560 + grub.MaxCore + 1} {
		if err := grub.PatchBootInfo(make([]byte, size), 1); err == nil {
			t.Errorf("PatchBootInfo took %d bytes", size)
		}
	}
}

func TestHybridMBRRefuses(t *testing.T) {
	good, err := os.ReadFile(filepath.Join(modulesDir, "boot_hybrid.img"))
	if err != nil {
		t.Fatalf("this test needs the package grub-pc-bin: %v", err)
	}
	plain, err := os.ReadFile(filepath.Join(modulesDir, "boot.img"))
	if err != nil {
		t.Fatalf("this test needs the package grub-pc-bin: %v", err)
	}
	for name, data := range map[string][]byte{
		"short":        good[:511],
		"boot.img":     plain,
		"no signature": append(bytes.Clone(good[:511]), 0),
	} {
		if _, err := grub.HybridMBR(fstest.MapFS{"boot_hybrid.img": {Data: data}}, 1); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := grub.HybridMBR(fstest.MapFS{}, 1); err == nil {
		t.Error("missing file: taken")
	}
}
