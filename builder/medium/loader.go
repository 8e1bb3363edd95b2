package medium

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/medium/esp"
	"github.com/farboot/farboot/builder/netboot"
	"github.com/farboot/farboot/builder/tree"
)

const (
	// grubModuleDir is where grub-pc-bin keeps GRUB for BIOS machines.
	grubModuleDir = "usr/lib/grub/i386-pc"
	// grubEFIDir and shimFile are where the signed loaders for UEFI are.
	grubEFIDir = "usr/lib/grub/x86_64-efi-signed"
	shimFile   = "usr/lib/shim/shimx64.efi.signed"
)

// loaders makes what starts the image, now that the medium has its identity.
func (c *composer) loaders() error {
	config, err := c.coreConfig(c.m.Build)
	if err != nil {
		return err
	}
	core, err := grub.Finish(c.core, config)
	if err != nil {
		return fmt.Errorf("%s: %w", grubPCPackage, err)
	}
	c.m.core = tree.Bytes(corePath, core)
	text, err := stub(c.m.Build)
	if err != nil {
		return err
	}
	c.clean[espPath] = true // but for the text, which holds nothing but the build's name
	return c.m.files.Add(c.esp.with(text))
}

// biosLoader prepares GRUB's core image. The cache keeps it without the text
// that names the medium: to unpack the package and to compress the image would
// take longer than all the rest of a warm build.
func (c *composer) biosLoader() error {
	pkg, ok := c.Lock.Lookup("deb:" + grubPCPackage)
	if !ok {
		return fmt.Errorf("lock: %q is missing", grubPCPackage)
	}
	config, err := c.coreConfig(BuildID{})
	if err != nil {
		return err
	}
	name, _, err := c.Cache.Layer(keyOf("grub core", pkg.Ref, config.Modules, len(config.Config)), func(w io.Writer) error {
		modules, err := c.grubFiles()
		if err != nil {
			return err
		}
		prepared, err := grub.Prepare(modules, config)
		if err == nil {
			_, err = w.Write(prepared)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", grubPCPackage, err)
	}
	if c.core, err = os.ReadFile(name); err != nil {
		return err
	}
	code, _, err := c.Blobs.File(grubPCPackage, grubModuleDir+"/boot_hybrid.img")
	if err != nil {
		return fmt.Errorf("BIOS loader: %w", err)
	}
	c.m.bootCode, err = os.ReadFile(code)
	return err
}

// coreConfig is what the core image is made of for the medium called id.
func (c *composer) coreConfig(id BuildID) (grub.CoreConfig, error) {
	prefix := "/" + path.Dir(configPath)
	early, err := grub.EarlyConfig("/"+id.marker(), prefix)
	return grub.CoreConfig{Modules: grub.MenuModules(bootMenu(c.Recipe.Medium)), Prefix: prefix, Config: early}, err
}

// grubFiles returns GRUB's modules, some 3 MB, in memory.
func (c *composer) grubFiles() (fs.FS, error) {
	deb, err := c.Blobs.Deb(grubPCPackage)
	if err != nil {
		return nil, err
	}
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	err = deb.Walk(func(h *tar.Header, r io.Reader) error {
		name, in := strings.CutPrefix(h.Name, grubModuleDir+"/")
		if !in || h.Typeflag != tar.TypeReg {
			return nil
		}
		f, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err == nil {
			_, err = io.Copy(f, r)
		}
		return err
	})
	if err := errors.Join(err, z.Close()); err != nil {
		return nil, err
	}
	return zip.NewReader(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
}

// netLoaders takes what starts a machine from the network, both signed.
func (c *composer) netLoaders() (err error) {
	if c.m.shim, err = c.taken(netboot.Shim, shimPackage, shimFile); err == nil {
		c.m.grubNet, err = c.taken(netboot.GRUB, grubEFIPackage, grubEFIDir+"/grubnetx64.efi.signed")
	}
	if err != nil {
		return fmt.Errorf("UEFI loader: %w", err)
	}
	return nil
}

// efiLoader prepares the EFI system partition: shim and GRUB, both signed, and a
// stub that names the medium. The cache keeps it with the stub of no medium, and
// behind it, in 8 bytes, where that stands.
func (c *composer) efiLoader() error {
	text, err := stub(BuildID{})
	if err != nil {
		return err
	}
	key := []any{len(text)}
	for _, name := range []string{shimPackage, grubEFIPackage} {
		pkg, ok := c.Lock.Lookup("deb:" + name)
		if !ok {
			return fmt.Errorf("lock: %q is missing", name)
		}
		key = append(key, pkg.Ref)
	}
	path, ref, err := c.Cache.Layer(keyOf("esp", key...), func(w io.Writer) error {
		image, err := c.espImage(text)
		if err != nil {
			return err
		}
		if bytes.Count(image, text) != 1 {
			return errors.New("EFI system partition: the stub does not lie there once and in one piece")
		}
		_, err = w.Write(binary.BigEndian.AppendUint64(image, uint64(bytes.Index(image, text))))
		return err
	})
	if err != nil {
		return err
	}
	c.esp, err = openESP(path, ref.Size)
	return err
}

// espImage makes the EFI system partition.
func (c *composer) espImage(stub []byte) ([]byte, error) {
	shim, err := c.taken("EFI/BOOT/BOOTX64.EFI", shimPackage, shimFile)
	if err != nil {
		return nil, fmt.Errorf("UEFI loader: %w", err)
	}
	grubCD, err := c.taken("EFI/BOOT/grubx64.efi", grubEFIPackage, grubEFIDir+"/gcdx64.efi.signed")
	if err != nil {
		return nil, fmt.Errorf("UEFI loader: %w", err)
	}
	var t tree.Tree
	if err := t.Add(shim, grubCD, tree.Bytes(configPath, stub)); err != nil {
		return nil, err
	}
	image, err := esp.Image(&t)
	if err != nil {
		return nil, fmt.Errorf("EFI system partition: %w", err)
	}
	return image, nil
}

// stub is what GRUB reads first on the EFI system partition of the medium
// called id.
func stub(id BuildID) ([]byte, error) {
	text, err := grub.StubConfig("/"+id.marker(), "/"+path.Dir(configPath))
	return []byte(text), err
}

// espLayer is an EFI system partition whose stub is to be exchanged for another
// of the same length.
type espLayer struct {
	path     string
	size, at int64 // of the partition, of the stub
}

// openESP reads where the stub stands in a layer of size bytes.
func openESP(path string, size int64) (espLayer, error) {
	f, err := os.Open(path)
	if err != nil {
		return espLayer{}, err
	}
	defer f.Close()
	var at [8]byte
	_, err = f.ReadAt(at[:], size-int64(len(at)))
	return espLayer{path, size - int64(len(at)), int64(binary.BigEndian.Uint64(at[:]))}, err
}

// with returns the partition with the stub.
func (l espLayer) with(stub []byte) tree.File {
	return tree.Concat(espPath, tree.Section("before", l.path, 0, l.at), tree.Bytes("stub", stub), tree.Section("behind", l.path, l.at+int64(len(stub)), l.size))
}
