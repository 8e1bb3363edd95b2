package toolbox_test

import (
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/builder/source/deb"
	"github.com/farboot/farboot/builder/toolbox"
	"github.com/farboot/farboot/payload/object"
)

// tool finds a program, or says which Debian package has it.
func tool(t testing.TB, name, pkg string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing (Debian package %s)", name, pkg)
	}
	return path
}

// packages are what a toolbox of a test is made of.
type packages struct {
	t     testing.TB
	files map[string]string // where the package of a name lies
	c     toolbox.Config
}

// newPackages has busybox-static, made from the program of this machine, and a
// dash that is none.
func newPackages(t testing.TB) *packages {
	t.Helper()
	c, err := cache.Open(filepath.Join(t.TempDir(), "cache"))
	if err != nil {
		t.Fatal(err)
	}
	p := &packages{t: t, files: map[string]string{}}
	p.c = toolbox.Config{Open: p.open, Epoch: time.Date(2026, 11, 20, 0, 12, 41, 0, time.UTC), Cache: c}
	busybox, err := os.ReadFile(tool(t, "busybox", "busybox-static"))
	if err != nil {
		t.Fatal(err)
	}
	p.add(toolbox.Applets, "", "bin/busybox", string(busybox))
	p.add(toolbox.Shell, "", "bin/dash", "\x00", "bin/sh", "-> dash")
	return p
}

// add makes a package with dpkg-deb. fields are further lines of its control
// file; files are pairs of a path and the content, or "-> target" for a symbolic
// link, "= path" for a hard link, and "/" for a folder.
func (p *packages) add(name, fields string, files ...string) {
	p.t.Helper()
	dir := p.t.TempDir()
	root := filepath.Join(dir, "root")
	write := func(name, data string, mode os.FileMode) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			p.t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(data, "-> "); ok {
			err = os.Symlink(target, path)
		} else if target, ok := strings.CutPrefix(data, "= "); ok {
			err = os.Link(filepath.Join(root, target), path)
		} else if data == "/" {
			err = os.MkdirAll(path, 0o755)
		} else {
			err = os.WriteFile(path, []byte(data), mode)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
	write("DEBIAN/control", fmt.Sprintf("Package: %s\nVersion: 1.0\nArchitecture: amd64\nMaintainer: M <m@example.org>\nDescription: made up\n%s", name, fields), 0o644)
	for i := 0; i < len(files); i += 2 {
		write(files[i], files[i+1], 0o755)
	}
	path := filepath.Join(dir, name+".deb")
	if out, err := exec.Command(tool(p.t, "dpkg-deb", "dpkg"), "-Znone", "--root-owner-group", "--build", root, path).CombinedOutput(); err != nil {
		p.t.Fatalf("dpkg-deb: %v\n%s", err, out)
	}
	p.files[name] = path
	data, err := os.ReadFile(path)
	if err != nil {
		p.t.Fatal(err)
	}
	p.c.Packages = append(p.c.Packages, lock.Input{Name: "deb:" + name, Version: "1.0", Arch: "amd64", Ref: object.OfBytes(data)})
	slices.SortFunc(p.c.Packages, func(a, b lock.Input) int { return strings.Compare(a.Name, b.Name) })
}

// open implements [toolbox.Config.Open].
func (p *packages) open(name string) (*deb.Package, error) {
	f, err := os.Open(p.files[name])
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return deb.Open(f, info.Size())
}

// file adds one of the recipe's own files.
func (p *packages) file(path, content string) {
	p.t.Helper()
	source := filepath.Join(p.t.TempDir(), rand.Text())
	if err := os.WriteFile(source, []byte(content), 0o644); err != nil {
		p.t.Fatal(err)
	}
	p.c.Files = append(p.c.Files, toolbox.File{Path: path, Mode: 0o640, Name: "file:overlay/" + filepath.Base(path), Source: source, Ref: object.OfBytes([]byte(content))})
}

// build builds the toolbox and extracts it with unsquashfs.
func (p *packages) build() string {
	p.t.Helper()
	path, _, err := toolbox.Build(p.t.Context(), p.c)
	if err != nil {
		p.t.Fatal(err)
	}
	return unsquash(p.t, path)
}

// unsquash extracts a squashfs and returns the folder.
func unsquash(t testing.TB, path string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "root")
	if out, err := exec.Command(tool(t, "unsquashfs", "squashfs-tools"), "-no-progress", "-d", dir, path).CombinedOutput(); err != nil {
		t.Fatalf("unsquashfs: %v\n%s", err, out)
	}
	return dir
}
