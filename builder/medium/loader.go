package medium

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/medium/esp"
	"github.com/farboot/farboot/builder/tree"
)

// grubModuleDir is where grub-pc-bin keeps GRUB for BIOS machines.
const grubModuleDir = "usr/lib/grub/i386-pc"

// loaders makes what starts the image, under both firmwares at the same time.
func (c *composer) loaders() error {
	var g errgroup.Group
	g.Go(c.biosLoader)
	g.Go(c.efiLoader)
	return g.Wait()
}

// biosLoader builds GRUB's core image. The cache keeps it without the text that
// names the medium: to unpack the package and to compress the image would take
// longer than all the rest of a warm build.
func (c *composer) biosLoader() error {
	pkg, ok := c.Lock.Lookup("deb:" + grubPCPackage)
	if !ok {
		return fmt.Errorf("lock: %q is missing", grubPCPackage)
	}
	early, err := grub.EarlyConfig("/"+c.m.Build.marker(), "/"+path.Dir(configPath))
	if err != nil {
		return err
	}
	config := grub.CoreConfig{Modules: grub.MenuModules(), Prefix: "/" + path.Dir(configPath), Config: early}
	name, _, err := c.Cache.Layer(keyOf("grub core", pkg.Ref, len(early)), func(w io.Writer) error {
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
	prepared, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	core, err := grub.Finish(prepared, config)
	if err != nil {
		return fmt.Errorf("%s: %w", grubPCPackage, err)
	}
	c.m.core = tree.Bytes(corePath, core)
	code, _, err := c.Blobs.File(grubPCPackage, grubModuleDir+"/boot_hybrid.img")
	if err != nil {
		return fmt.Errorf("BIOS loader: %w", err)
	}
	c.m.bootCode, err = os.ReadFile(code)
	return err
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

// efiLoader takes shim and GRUB, both signed, from their packages, and makes
// the EFI system partition of them.
func (c *composer) efiLoader() error {
	for _, f := range []struct {
		to         *tree.File
		deb, file  string
		nameOnDisk string
	}{
		{&c.m.shim, shimPackage, "usr/lib/shim/shimx64.efi.signed", "EFI/BOOT/BOOTX64.EFI"},
		{&c.m.grubCD, grubEFIPackage, "usr/lib/grub/x86_64-efi-signed/gcdx64.efi.signed", "EFI/BOOT/grubx64.efi"},
		{&c.m.grubNet, grubEFIPackage, "usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed", "grubx64.efi"},
	} {
		blob, _, err := c.Blobs.File(f.deb, f.file)
		if err != nil {
			return fmt.Errorf("UEFI loader: %w", err)
		}
		if *f.to, err = fromCache(f.nameOnDisk, blob); err != nil {
			return err
		}
	}
	stub, err := grub.StubConfig("/"+c.m.Build.marker(), "/"+path.Dir(configPath))
	if err != nil {
		return err
	}
	var t tree.Tree
	if err := t.Add(c.m.shim, c.m.grubCD, tree.Bytes(configPath, []byte(stub))); err != nil {
		return err
	}
	image, err := esp.Image(&t)
	if err != nil {
		return fmt.Errorf("EFI system partition: %w", err)
	}
	return c.m.files.Add(tree.Bytes(espPath, image))
}
