package iso

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/farboot/farboot/builder/iso/initrd"
	"github.com/farboot/farboot/builder/iso/isofs"
	"github.com/farboot/farboot/builder/iso/unsquash"
	"github.com/farboot/farboot/builder/kernel"
)

// Limits of where modules are looked for.
const (
	maxFolders  = 1000 // of an ISO
	maxSquashes = 32   // Ubuntu's have 10
	maxDepth    = 16   // of folders below modules
)

// wanted are the modules that carry an image to the system: sets of package kernel,
// and single ones. The disks of "storage" and "usb" are for a cache.
func wanted() []string {
	return []string{
		"net", "storage", "usb",
		"fuse", "loop", "nbd", "isofs", "squashfs", "overlay", "erofs", "vfat", "nls_cp437", "nls_iso8859_1", "nls_ascii", "nls_utf8", "ext4",
	}
}

// Modules returns the modules of exactly this kernel that the machine may need: of a
// squashfs on the ISO, where one of them has modules of this kernel, and otherwise of
// its initrd.
func (s *System) Modules() (*kernel.Kernel, error) {
	dir, err := s.findModules()
	if err != nil {
		return nil, err
	}
	k, err := kernel.Any(func(visit func(*tar.Header, io.Reader) error) error {
		if err := s.visitKernel(visit); err != nil {
			return err
		}
		if dir != nil {
			return dir.visit("lib/modules/"+s.Release, dir.at, maxDepth, visit)
		}
		return s.visitInitrds(visit)
	}, wanted())
	if err != nil {
		return nil, fmt.Errorf("%w: modules of %s: %w", ErrCannot, s.Release, err)
	}
	return k, CheckDoors(k)
}

// CheckDoors tells whether a kernel can have a file on the web as a block device.
func CheckDoors(k *kernel.Kernel) error {
	if k.Has("fuse") && k.Has("loop") || k.Has("nbd") {
		return nil
	}
	return fmt.Errorf("%w: of kernel %s there is neither fuse with loop, nor nbd: \"modules: {deb: ...}\" names a package with all of its modules", ErrCannot, k.Release)
}

// visitKernel hands out the kernel as a package would have it.
func (s *System) visitKernel(visit func(*tar.Header, io.Reader) error) error {
	r, err := s.volume.Open(s.Kernel)
	if err != nil {
		return err
	}
	return visit(&tar.Header{Typeflag: tar.TypeReg, Name: "boot/vmlinuz-" + s.Release, Size: s.Kernel.Size}, r)
}

// visitInitrds hands out the modules of the initrds.
func (s *System) visitInitrds(visit func(*tar.Header, io.Reader) error) error {
	place := "lib/modules/" + s.Release + "/"
	for _, f := range s.Initrd {
		r, err := s.volume.Open(f)
		if err != nil {
			return err
		}
		_, err = initrd.Walk(r, func(e initrd.Entry, r io.Reader) error {
			name := strings.TrimPrefix(e.Path, "usr/")
			if !e.Mode.IsRegular() || !strings.HasPrefix(name, place) {
				return nil
			}
			return visit(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: e.Size}, r)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// squashed is a folder in a squashfs.
type squashed struct {
	fs *unsquash.FS
	at unsquash.File
}

// findModules looks for modules of the kernel in every squashfs of the ISO; nil is
// that there are none.
func (s *System) findModules() (*squashed, error) {
	for _, f := range s.squashes() {
		r, err := s.volume.Open(f)
		if err != nil {
			return nil, err
		}
		q, err := unsquash.Open(r, f.Size)
		if errors.Is(err, unsquash.ErrCompression) {
			continue // the initrd may have what is needed
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		// Alpine has no root around its modules.
		for _, name := range []string{"usr/lib/modules/", "lib/modules/", "modules/"} {
			at, err := find(q, name+s.Release)
			if err == nil && at.Mode.IsDir() {
				return &squashed{q, at}, nil
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("%s: %w", f.Path, err)
			}
		}
	}
	return nil, nil
}

// find follows a path, but no links.
func find(q *unsquash.FS, name string) (unsquash.File, error) {
	at, err := q.Root()
	for part := range strings.SplitSeq(name, "/") {
		if err == nil && !at.Mode.IsDir() {
			err = fs.ErrNotExist
		}
		if err == nil {
			at, err = q.Child(at, part)
		}
	}
	return at, err
}

// squashes lists the files of the ISO that begin as a squashfs does.
func (s *System) squashes() []isofs.File {
	var found []isofs.File
	dirs := []string{"/"}
	for i := 0; i < len(dirs) && i < maxFolders; i++ {
		files, err := s.volume.List(dirs[i])
		if err != nil {
			continue
		}
		slices.SortFunc(files, func(a, b isofs.File) int { return strings.Compare(a.Path, b.Path) })
		for _, f := range files {
			if f.Mode.IsDir() {
				dirs = append(dirs, f.Path)
			}
			head := make([]byte, 4)
			if r, err := s.volume.Open(f); err == nil && len(found) < maxSquashes {
				if _, err := r.ReadAt(head, 0); err == nil && unsquash.Is(head) {
					found = append(found, f)
				}
			}
		}
	}
	return found
}

// visit hands out the files of a folder, and of those in it.
func (d *squashed) visit(name string, at unsquash.File, depth int, visit func(*tar.Header, io.Reader) error) error {
	files, err := d.fs.List(at)
	if err != nil || depth == 0 {
		return err
	}
	for _, f := range files {
		name := path.Join(name, f.Name)
		switch {
		case f.Mode.IsDir():
			err = d.visit(name, f, depth-1, visit)
		case f.Mode.IsRegular():
			var r io.Reader
			if r, err = d.fs.Read(f); err == nil {
				err = visit(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: f.Size}, r)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// PackageModules returns what a package with a kernel has of the modules that an image
// may need.
func PackageModules(walk func(func(*tar.Header, io.Reader) error) error) (*kernel.Kernel, error) {
	k, err := kernel.Any(walk, wanted())
	if err != nil {
		return nil, err
	}
	return k, CheckDoors(k)
}
