package medium

import (
	"archive/tar"
	"archive/zip"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/lock"
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

// biosLoader builds GRUB's core image. The cache keeps it, since to compress it
// takes a quarter of a warm build's work.
func (c *composer) biosLoader() error {
	pkg, ok := c.Lock.Lookup("deb:" + grubPCPackage)
	if !ok {
		return fmt.Errorf("lock: %q is missing", grubPCPackage)
	}
	modules, err := c.grubFiles(pkg)
	if err != nil {
		return err
	}
	defer modules.Close()
	early, err := grub.EarlyConfig("/"+c.m.Build.marker(), "/"+path.Dir(configPath))
	if err != nil {
		return err
	}
	core, _, err := c.Cache.Layer(keyOf("grub core", pkg.Ref, early), func(w io.Writer) error {
		core, err := grub.Core(modules, grub.CoreConfig{Modules: grub.MenuModules(), Prefix: "/" + path.Dir(configPath), Config: early})
		if err == nil {
			_, err = w.Write(core)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", grubPCPackage, err)
	}
	if c.m.core, err = fromCache(corePath, core); err != nil {
		return err
	}
	c.m.bootCode, err = fs.ReadFile(modules, "boot_hybrid.img")
	return err
}

// grubFiles returns GRUB's modules. They are kept in the cache as an archive
// that is quick to open: a new core image is due with every build, and
// unpacking the package takes longer than all the rest of a warm one.
func (c *composer) grubFiles(pkg lock.Input) (*zip.ReadCloser, error) {
	archive, _, err := c.Cache.Layer(keyOf("grub modules", pkg.Ref), func(w io.Writer) error {
		deb, err := c.Blobs.Deb(grubPCPackage)
		if err != nil {
			return err
		}
		z := zip.NewWriter(w)
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
		if err != nil {
			return err
		}
		return z.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", grubPCPackage, err)
	}
	return zip.OpenReader(archive)
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
