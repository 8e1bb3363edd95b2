package medium

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/tree"
)

// secret returns a fresh private key.
func secret(t *testing.T) []byte {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// TestPlantedSecrets: a secret key is found in everything that a medium is
// packed of, and the error says where.
func TestPlantedSecrets(t *testing.T) {
	planted := append([]byte("harmless\n"), secret(t)...)
	// What holds nothing but c's parts becomes a medium's initrd and files.
	pack := func(c *composer) error {
		if _, err := c.settingsLayer(); err != nil {
			return err
		}
		if err := c.records(); err != nil {
			return err
		}
		return c.scan()
	}
	for name, plant := range map[string]func(*composer){
		"etc/farboot/settings.json":            func(c *composer) { c.settings = planted },
		"etc/farboot/trust/statement.json":     func(c *composer) { c.Statement = planted },
		"etc/farboot/trust/statement.json.sig": func(c *composer) { c.Signatures = planted },
		"boot/menu/0/kernel":                   func(c *composer) { c.m.files.Add(tree.Bytes("boot/menu/0/kernel", planted)) },
		"boot/vmlinuz":                         func(c *composer) { c.m.files.Add(tree.Bytes("boot/vmlinuz", planted)) },
		"boot/grub/grub.cfg":                   func(c *composer) { c.m.files.Add(tree.Bytes("boot/grub/grub.cfg", planted)) },
		"boot/efi.img":                         func(c *composer) { c.m.files.Add(tree.Bytes("boot/efi.img", planted)) },
		"core":                                 func(c *composer) { c.m.core = tree.Bytes("core", planted) },
		"bootx64.efi":                          func(c *composer) { c.m.shim = tree.Bytes("bootx64.efi", planted) },
		"grubx64.efi":                          func(c *composer) { c.m.grubNet = tree.Bytes("grubx64.efi", planted) },
		"boot_hybrid.img":                      func(c *composer) { c.m.bootCode = planted },
		"nowhere":                              func(*composer) {},
	} {
		harmless := tree.Bytes("loader", nil)
		c := &composer{
			ctx: context.Background(), Parts: Parts{Recipe: &recipe.Recipe{Medium: &recipe.Medium{}}},
			m: &Medium{core: harmless, shim: harmless, grubNet: harmless},
		}
		plant(c)
		err := pack(c)
		switch {
		case name == "nowhere" && err != nil:
			t.Errorf("a medium without a secret: %v", err)
		case name != "nowhere" && (!errors.Is(err, leak.ErrSecret) || !strings.HasPrefix(err.Error(), name+": holds a block PRIVATE KEY")):
			t.Errorf("%s: %v", name, err)
		}
	}
	module := tree.Bytes("lib/modules/6.1.0/kernel/x.ko", planted)
	if err := scanLayer(initramfs.FromTree(module)); !errors.Is(err, leak.ErrSecret) || !strings.Contains(err.Error(), module.Path) {
		t.Errorf("in a kernel module: %v", err)
	}
}
