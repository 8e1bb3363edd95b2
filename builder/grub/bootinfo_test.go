package grub_test

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/farboot/farboot/builder/grub"
)

// TestBootInfo has xorriso put a core image on an ISO and patch it and the MBR
// there: ours must be the same bytes. The lengths end in each part of a word,
// for the checksum's sake.
func TestBootInfo(t *testing.T) {
	core, err := grub.Core(grubFiles(t), grub.CoreConfig{Modules: []string{"biosdisk"}, Prefix: "/boot/grub"})
	if err != nil {
		t.Fatal(err)
	}
	for range 4 {
		core = append(core, 0xa5)
		iso := xorrisoISO(t, core)
		lba := catalogLBA(iso)

		// Twice: an image that was patched for another place is as good.
		ours := bytes.Clone(core)
		for _, place := range []uint32{lba + 7, lba} {
			if err := grub.PatchBootInfo(ours, place); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(ours, iso[lba*2048:][:len(ours)]) {
			t.Errorf("core image of %d bytes differs from the one that xorriso patched", len(ours))
		}
		mbr, err := grub.HybridMBR(bootImage(t, "boot_hybrid.img"), lba)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(mbr[:440], iso[:440]) {
			t.Error("MBR code differs from xorriso's")
		}
		if !bytes.Equal(mbr[440:510], make([]byte, 70)) {
			t.Error("MBR has a disk signature or partitions")
		}
	}
}

// xorrisoISO returns a hybrid ISO with the core image as its only file.
func xorrisoISO(t *testing.T, core []byte) []byte {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "eltorito.img"), core, 0o644); err != nil {
		t.Fatal(err)
	}
	iso := filepath.Join(t.TempDir(), "test.iso")
	cmd := exec.Command(tool(t, "xorriso", "xorriso"), "-as", "mkisofs", "-quiet", "-o", iso, "-b", "eltorito.img",
		"-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", "--grub2-boot-info",
		"--grub2-mbr", filepath.Join(modulesDir, "boot_hybrid.img"), dir)
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, msg)
	}
	image, err := os.ReadFile(iso)
	if err != nil {
		t.Fatal(err)
	}
	return image
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
	good := bootImage(t, "boot_hybrid.img")
	for name, data := range map[string][]byte{
		"empty":        nil,
		"short":        good[:511],
		"long":         append(bytes.Clone(good), 0),
		"boot.img":     bootImage(t, "boot.img"), // starts from a disk, not from an ISO on one
		"no signature": append(bytes.Clone(good[:511]), 0),
	} {
		if _, err := grub.HybridMBR(data, 1); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// bootImage returns one of grub-pc-bin's boot sectors.
func bootImage(t *testing.T, name string) []byte {
	t.Helper()
	data, err := fs.ReadFile(grubFiles(t), name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
