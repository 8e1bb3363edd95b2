//go:build boot

package boottest

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/kernel"
	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/fetch"
)

// packages are Debian packages of the suite that media are made from.
type packages struct {
	blobs *source.Blobs
	names []string
}

// fetchPackages gets packages by name, without what they depend on.
func fetchPackages(t *testing.T, names ...string) packages {
	t.Helper()
	r, err := recipe.Parse(filepath.Join(t.TempDir(), "medium.yaml"), fmt.Appendf(nil, mediumRecipe, "http://10.0.2.2/"))
	if err != nil {
		t.Fatal(err)
	}
	var inputs []recipe.Input
	for _, name := range names {
		inputs = append(inputs, recipe.Input{Deb: name})
	}
	dir, err := cache.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	store, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	options := source.Options{Cache: store, Client: fetch.New(fetch.DefaultLimits(), fetch.Proxy())}
	var l *lock.Lock
	if l, err = source.Resolve(t.Context(), r, inputs, options); err != nil {
		t.Fatal(err)
	}
	blobs, err := source.Fetch(t.Context(), r, l, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { blobs.Close() })
	return packages{blobs, names}
}

// kernel returns Debian's kernel with some modules, with what they depend on and
// with what every guest needs.
func (p packages) kernel(t *testing.T, modules ...string) *kernel.Kernel {
	t.Helper()
	name, err := p.blobs.Kernel("linux-image-amd64")
	if err != nil {
		t.Fatal(err)
	}
	pkg, err := p.blobs.Deb(name)
	if err != nil {
		t.Fatal(err)
	}
	k, err := kernel.Build(pkg.Walk, append(modules, "virtio_pci", "crc32c_generic"))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// unpack unpacks all packages but the kernel's into a folder, as dpkg would, and
// runs none of their scripts.
func (p packages) unpack(t *testing.T, dir string) {
	t.Helper()
	for _, name := range p.names {
		if name == "linux-image-amd64" {
			continue
		}
		path, _, err := p.blobs.Path(recipe.Input{Deb: name})
		if err != nil {
			t.Fatal(err)
		}
		command(t, "dpkg", "dpkg-deb", "--extract", path, dir)
	}
}

// command runs a program of the given Debian package and returns what it prints.
func command(t *testing.T, pkg, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	// File systems' tools are in sbin, which is not on everybody's PATH.
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q (Debian package %s): %v\n%s", name, args, pkg, err, out)
	}
	return string(out)
}

// ramdisk packs an initramfs: busybox, the kernel's modules, a script as /init
// and further files.
func (p packages) ramdisk(t *testing.T, k *kernel.Kernel, script string, more ...tree.File) []byte {
	t.Helper()
	path, ref, err := p.blobs.File("busybox-static", "bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	files := append(initramfs.FromTree(k.Modules...), initramfs.FromTree(more...)...)
	files = append(files, initramfs.FromTree(
		tree.File{Path: "bin/busybox", Mode: 0o755, Size: ref.Size, Open: opener(path)},
		executable("init", []byte(script)))...)
	for _, dir := range []string{"proc", "sys", "dev", "tmp", "root", "sbin"} {
		files = append(files, initramfs.Dir(dir, 0o755))
	}
	files = append(files, initramfs.Symlink("bin/sh", "busybox"))
	var out bytes.Buffer
	if err := initramfs.Pack(&out, initramfs.Layer{Files: files}, initramfs.Zstd); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// executable returns a program.
func executable(name string, data []byte) tree.File {
	f := tree.Bytes(name, data)
	f.Mode = 0o755
	return f
}

// save writes a file of the test and returns its path.
func save(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// opener returns what opens a file of this computer.
func opener(path string) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return os.Open(path) }
}

// guestInit is how the script of a ramdisk begins: it mounts what programs
// expect and loads modules. File systems ask for their checksum by a name that no
// dependency tells.
func guestInit(modules string) string {
	return `#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
modprobe -a virtio_pci crc32c_generic
modprobe -a ` + modules + `
`
}
