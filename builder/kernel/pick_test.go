package kernel

import (
	"strings"
	"testing"
)

// TestPick: a machine that is no medium's gets what is asked for, with what that
// needs, and none of what every medium has.
func TestPick(t *testing.T) {
	k, err := Pick(walk(members(t, machine...)...), []string{"ext4"})
	if err != nil {
		t.Fatal(err)
	}
	if names, _ := chosen(t, k); strings.Join(names, " ") != "crc32c_generic crc32c_intel ext4 mbcache" {
		t.Errorf("picked %q", names)
	}
}

// TestAny: what somebody else's kernel lacks is passed over; what is built into it needs
// no module, and is listed.
func TestAny(t *testing.T) {
	files := append(members(t, machine...),
		member{"./lib/modules/" + release + "/modules.builtin", []byte("kernel/drivers/block/nbd.ko\nkernel/net/unix/unix.ko\n")})
	k, err := Any(walk(files...), []string{"ext4", "nbd", "fuse", "watchdog"})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"ext4": true, "mbcache": true, "virtio_pci": true, "nbd": true, "fuse": false, "r8169": false} {
		if k.Has(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	for _, f := range k.Modules {
		if f.Path != "lib/modules/"+release+"/modules.builtin" {
			continue
		}
		if text, err := f.Read(); err != nil || string(text) != "kernel/nbd.ko\nkernel/unix.ko\n" {
			t.Errorf("built in: %q, %v", text, err)
		}
		return
	}
	t.Error("what is built in is not listed")
}
