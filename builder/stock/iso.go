package stock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/iso"
	"github.com/farboot/farboot/builder/iso/isofs"
	"github.com/farboot/farboot/builder/kernel"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// ISO implements [recipe.Maker]. What has to be read of the ISO is read here: the
// machine is told where kernel and initrds lie in it.
func (s *Stock) ISO(e *recipe.IsoEntry) (*manifest.Iso, error) {
	img := s.Recipe.Site.Images[e.Image]
	fail := func(err error) (*manifest.Iso, error) { return nil, fmt.Errorf("image %q: %w", e.Image, err) }
	base, file, err := s.carried(img, e.Carried)
	if err != nil {
		return fail(err)
	}
	f, err := os.Open(file.Path)
	if err != nil {
		return fail(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	options, err := s.isoOptions(e)
	if err != nil {
		return fail(err)
	}
	system, err := iso.Examine(f, info.Size(), options)
	if err != nil {
		return fail(err)
	}
	out := &manifest.Iso{Carried: base, Kernel: part(system.Kernel), Family: system.Family}
	out.Release, out.Cmdline = system.Release, system.Cmdline
	if out.Memory == 0 {
		out.Memory = system.Memory
	}
	if err := s.isoObjects(out, e, system, file); err != nil {
		return fail(err)
	}
	return out, nil
}

// isoObjects makes what of the live system is no part of the ISO.
func (s *Stock) isoObjects(out *manifest.Iso, e *recipe.IsoEntry, system *iso.System, file File) error {
	for _, f := range system.Initrd {
		out.Initrd = append(out.Initrd, part(f))
	}
	if len(system.Layer) > 0 {
		ref, err := s.packed("keys for "+file.Name, initramfs.Layer{Files: system.Layer})
		if err != nil {
			return err
		}
		out.Initrd = append(out.Initrd, manifest.Part{Object: &ref})
	}
	out.Init.Link = system.InitLink
	if system.Init != nil {
		ref, err := s.made("the /init of "+file.Name, system.Init)
		if err != nil {
			return err
		}
		out.Init.File = &ref
	}
	ref, err := s.isoModules(e, system, out.Image.Index)
	out.Modules = &ref
	return err
}

// carried makes what entries of images have in common, and tells where the image is.
func (s *Stock) carried(img recipe.SiteImage, c recipe.Carried) (manifest.Carried, File, error) {
	out := manifest.Carried{Memory: c.Memory, Cache: (*manifest.Cache)(c.Cache), Network: c.Network, Watchdog: c.Watchdog}
	source, err := s.siteImage(img)
	if err != nil {
		return out, File{}, err
	}
	if source.Format != "" {
		return out, File{}, fmt.Errorf("it is compressed by %s: an image that is started has to be unpacked first", source.Format)
	}
	if out.Image, err = s.Chunked(img); err != nil {
		return out, File{}, err
	}
	out.Profile, err = s.Profile(img, out.Image.Index)
	return out, s.files[source.Ref], err
}

// isoOptions returns what the recipe says to package iso.
func (s *Stock) isoOptions(e *recipe.IsoEntry) (iso.Options, error) {
	o := e.Options
	keys, err := recipe.ReadKeys(s, o.SSHKeys, o.SSHKeyFiles)
	return iso.Options{
		Kernel: e.Kernel, Initrd: e.Initrd, Cmdline: e.Cmdline, Append: e.Append,
		Live: iso.Live{Lang: o.Lang, Keyboard: o.Keyboard, Timezone: o.Timezone, Hostname: o.Hostname, Username: o.Username, SSHKeys: keys},
	}, err
}

// part is a file of an ISO.
func part(f isofs.File) manifest.Part {
	return manifest.Part{Path: f.Path, Offset: f.Offset, Size: f.Size}
}

// isoModules makes the modules of an ISO's kernel, of the ISO itself or of a package.
func (s *Stock) isoModules(e *recipe.IsoEntry, system *iso.System, index object.Ref) (object.Ref, error) {
	if e.Modules != nil {
		ref, release, err := s.kernelModules(e.Modules.Deb)
		if err == nil && release != system.Release {
			err = s.Recipe.Mistake("entries", fmt.Sprintf("the package is called linux-image-%s, as a rule", system.Release),
				"package %q has modules of kernel %s, the ISO's kernel is %s", e.Modules.Deb, release, system.Release)
		}
		return ref, err
	}
	path, ref, err := s.Cache.Layer(key("modules of an iso", fmt.Appendf(nil, "%s %s", index.SHA256, system.Kernel.Path)), func(w io.Writer) error {
		k, err := system.Modules()
		if err != nil {
			return err
		}
		return packModules(w, k)
	})
	if err != nil {
		return ref, err
	}
	s.files[ref] = File{"modules of " + e.Image, path}
	return ref, nil
}

// packModules writes modules as media have them.
func packModules(w io.Writer, k *kernel.Kernel) error {
	return initramfs.Pack(w, initramfs.Layer{Files: initramfs.FromTree(k.Modules...)}, initramfs.Zstd)
}

// kernelModules makes the modules that an image needs, of a package.
func (s *Stock) kernelModules(name string) (ref object.Ref, release string, err error) {
	pkg, err := s.Blobs.Kernel(name)
	if err != nil {
		return ref, "", err
	}
	locked, ok := s.Lock.Lookup("deb:" + pkg)
	if !ok {
		return ref, "", fmt.Errorf("lock: %q is missing", pkg)
	}
	path, ref, err := s.Cache.Layer(key("modules for images", locked.SHA256[:]), func(w io.Writer) error {
		p, err := s.Blobs.Deb(pkg)
		if err != nil {
			return err
		}
		k, err := iso.PackageModules(p.Walk)
		if err != nil {
			return err
		}
		return packModules(w, k)
	})
	if err != nil {
		return ref, "", err
	}
	s.files[ref] = File{"modules of " + pkg, path}
	return ref, strings.TrimPrefix(pkg, "linux-image-"), nil
}

// Root implements [recipe.Maker].
func (s *Stock) Root(e *recipe.ImageEntry) (*manifest.Image, error) {
	fail := func(err error) (*manifest.Image, error) { return nil, fmt.Errorf("image %q: %w", e.Image, err) }
	base, file, err := s.carried(s.Recipe.Site.Images[e.Image], e.Carried)
	if err != nil {
		return fail(err)
	}
	out := &manifest.Image{Carried: base, Init: e.Init, Overlay: (*manifest.Overlay)(e.Overlay), Copy: e.Copy}
	out.Cmdline = e.Cmdline
	if out.Fstype, err = fstypeOf(file.Path); err != nil {
		return fail(err)
	}
	ref, release, err := s.kernelModules(e.Kernel.Deb)
	if err != nil {
		return fail(err)
	}
	out.Modules, out.Release = &ref, release
	path, kernel, err := s.Blobs.File("linux-image-"+release, "boot/vmlinuz-"+release)
	if err != nil {
		return fail(err)
	}
	s.files[kernel] = File{"kernel " + release, path}
	out.Kernel = kernel
	return out, nil
}

// fstypes are what file systems have at which place: squashfs_fs.h, erofs_fs.h and
// ext4.h of the kernel.
var fstypes = []struct {
	name, magic string
	at          int64
}{{"squashfs", "hsqs", 0}, {"erofs", "\xe2\xe1\xf5\xe0", 1024}, {"ext4", "\x53\xef", 1024 + 56}}

// fstypeOf tells which file system an image is.
func fstypeOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	for _, t := range fstypes {
		b := make([]byte, len(t.magic))
		if _, err := f.ReadAt(b, t.at); err == nil && string(b) == t.magic {
			return t.name, nil
		} else if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
	}
	return "", errors.New("it is no file system of the kinds that can be a root here: squashfs, erofs, ext4")
}

// packed makes an initrd of a layer.
func (s *Stock) packed(name string, l initramfs.Layer) (object.Ref, error) {
	var b bytes.Buffer
	if err := initramfs.Pack(&b, l, initramfs.None); err != nil {
		return object.Ref{}, err
	}
	return s.made(name, b.Bytes())
}

// made makes an object of bytes.
func (s *Stock) made(name string, data []byte) (object.Ref, error) {
	path, ref, err := s.Cache.Layer(key("made", data), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err == nil {
		err = leak.File(name, path)
	}
	if err != nil {
		return object.Ref{}, err
	}
	s.files[ref] = File{name, path}
	return ref, nil
}
