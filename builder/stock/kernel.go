package stock

import (
	"fmt"
	"io"
	"strings"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/kernel"
	"github.com/farboot/farboot/payload/object"
)

// Kernel implements [recipe.Maker].
func (s *Stock) Kernel() (object.Ref, error) {
	pkg, err := s.kernelPackage()
	if err != nil {
		return object.Ref{}, err
	}
	path, ref, err := s.Blobs.File(pkg, "boot/vmlinuz-"+strings.TrimPrefix(pkg, "linux-image-"))
	if err != nil {
		return object.Ref{}, err
	}
	s.files[ref] = File{"the medium's kernel", path}
	return ref, nil
}

// kernelPackage names the package with the medium's kernel.
func (s *Stock) kernelPackage() (string, error) {
	if s.Recipe.Medium == nil {
		return "", fmt.Errorf("%s: a site has no kernel of its own", s.Recipe.Path)
	}
	return s.Blobs.Kernel(s.Recipe.Medium.Kernel.Deb)
}

// Modules implements [recipe.Maker].
func (s *Stock) Modules(names []string) (object.Ref, error) {
	pkg, err := s.kernelPackage()
	if err != nil {
		return object.Ref{}, err
	}
	locked, ok := s.Lock.Lookup("deb:" + pkg)
	if !ok {
		return object.Ref{}, fmt.Errorf("lock: %q is missing", pkg)
	}
	path, ref, err := s.Cache.Layer(key("modules", fmt.Appendf(nil, "%s %q", locked.SHA256, names)), func(w io.Writer) error {
		p, err := s.Blobs.Deb(pkg)
		if err != nil {
			return err
		}
		k, err := kernel.Pick(p.Walk, names)
		if err != nil {
			return err
		}
		return initramfs.Pack(w, initramfs.Layer{Files: initramfs.FromTree(k.Modules...)}, initramfs.None)
	})
	if err != nil {
		return object.Ref{}, fmt.Errorf("%s: %w", s.Recipe.Path, err)
	}
	s.files[ref] = File{"modules of the medium's kernel", path}
	return ref, nil
}
