// Package toolbox makes the root file system in which scripts run and people
// repair machines: Debian packages, unpacked without running any of their
// scripts, in one file that the kernel mounts. The main call is [Build].
//
// # What is in it
//
// The packages of the list with all that they depend on (apt.Index.Closure),
// as the lock has them, and always [Shell] and [Applets]. Essential packages are there only
// where something depends on them, as in an empty root with apt; busybox has
// what scripts expect of them, for every command that no package has. What
// maintainer scripts would have made is made here where it matters: links for
// the merged usr, passwd and group with root alone, nsswitch.conf, the bundle of
// certificate authorities, the recipe's alternatives. There is no ld.so.cache:
// the loader finds what lies in its standard folders, and [Build] makes sure that
// all lies there. Manual pages, translations and what belongs to desktops and
// package managers are left out. Everything belongs to root, nothing is setuid,
// and there are no devices.
//
// # Why squashfs
//
// One file serves from memory, from a medium and from a site. Of Debian 12's
// kernels (6.1) only squashfs reads zstd; EROFS reads LZ4 alone there, and a cpio
// layer has to be unpacked into memory whole. Figures for recipes/rescue.yaml
// stand in TESTING.md.
//
// # Promises
//
// The same lock, files and program give the same bytes. Two packages with
// different files of one name are refused (Replaces is honoured), and so is a
// program whose interpreter or library is not there, each by name; and so is a
// secret key among the recipe's own files.
//
// It does not run anything, does not make users for services, does not divert
// files (dpkg-divert), and does not know what a program looks for while it runs.
package toolbox

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/builder/source/deb"
	"github.com/farboot/farboot/builder/toolbox/squashfs"
	"github.com/farboot/farboot/payload/object"
)

// Classes of error, for errors.Is.
var (
	// ErrFiles says that files do not fit together.
	ErrFiles = errors.New("toolbox: files")
	// ErrLibrary says that programs would not start for want of a library.
	ErrLibrary = errors.New("toolbox: missing libraries")
)

// block is how much is compressed together, in bytes. Of 304 packages, 349 MB
// unpacked, come 124.0, 120.4, 117.5 and 113.6 MB with 128, 256, 512 and 1024 KiB,
// and two dozen of their tools start one after the other in 0.3 s with each.
const block = squashfs.MaxBlock

// Config is what a toolbox is made of.
type Config struct {
	// Packages are all, with what they depend on, by name: from the lock.
	Packages []lock.Input
	// Open returns the package of a name, without the "deb:" of the lock.
	Open func(name string) (*deb.Package, error)
	// Files are the recipe's own. They take the place of any other.
	Files []File
	// Alternatives are commands by another name: "editor" -> "/usr/bin/nano".
	// update-alternatives(1) is a script's matter, and no script is run.
	Alternatives map[string]string
	// Drop lists files and folders to leave out: "usr/share/perl".
	Drop []string
	// Epoch is the time of all files.
	Epoch time.Time
	// Cache keeps what was built.
	Cache *cache.Cache
	// Warn, where not nil, is told of scripts whose interpreter is not there.
	// It is not told again where the toolbox comes from the cache.
	Warn func(message string)
}

// File is one of the recipe's own files.
type File struct {
	// Path is where it lies in the toolbox, without a leading slash.
	Path string
	// Mode holds the permission bits.
	Mode fs.FileMode
	// Name is what the recipe calls its source, for messages; Source is where
	// its bytes are, and Ref what they are.
	Name, Source string
	Ref          object.Ref
}

// Packages returns a recipe's list with what every toolbox has.
func Packages(list []string) []string {
	return slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(list), Shell, Applets))))
}

// Build returns where the toolbox lies and what it is: a squashfs. It is made
// unless the cache has it.
func Build(ctx context.Context, c Config) (string, object.Ref, error) {
	return c.Cache.Layer(c.key(), func(w io.Writer) error {
		t, err := newRoot()
		if err != nil {
			return err
		}
		defer t.spool.Close()
		if err := t.assemble(ctx, c); err != nil {
			return err
		}
		return squashfs.Write(interruptible{ctx, w}, t.entries(), squashfs.Options{Epoch: c.Epoch, Block: block})
	})
}

// assemble fills the root.
func (t *root) assemble(ctx context.Context, c Config) error {
	if err := t.extract(ctx, c); err != nil {
		return err
	}
	if err := t.overlay(c.Files); err != nil {
		return err
	}
	if err := t.furnish(c); err != nil {
		return err
	}
	if err := t.choose(c.Alternatives); err != nil {
		return err
	}
	if err := t.addApplets(); err != nil {
		return err
	}
	scripts, err := t.checkPrograms()
	if c.Warn != nil {
		for _, s := range scripts {
			c.Warn(s)
		}
	}
	return err
}

// key is the hash of all that the toolbox depends on, but for this program.
func (c Config) key() object.ID {
	h := sha256.New()
	fmt.Fprintf(h, "toolbox %d %d\n", c.Epoch.Unix(), block)
	for _, p := range c.Packages {
		fmt.Fprintf(h, "package %s %s\n", p.Name, p.SHA256)
	}
	for _, f := range c.Files {
		fmt.Fprintf(h, "file %q %o %s\n", f.Path, f.Mode, f.Ref.SHA256)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Alternatives)) {
		fmt.Fprintf(h, "alternative %q %q\n", name, c.Alternatives[name])
	}
	fmt.Fprintf(h, "drop %q\n", c.Drop)
	return object.ID(h.Sum(nil))
}

// overlay puts the recipe's own files over those of the packages.
func (t *root) overlay(files []File) error {
	for _, f := range files {
		name := merged(f.Path)
		if !fs.ValidPath(name) || name == "." {
			return fmt.Errorf("%w: %q is not a clean path without a leading slash", ErrFiles, f.Path)
		}
		if err := leak.File(f.Name, f.Source); err != nil {
			return fmt.Errorf("toolbox file %q: %w", f.Path, err)
		}
		if have := t.files[name]; have != nil && have.mode.IsDir() {
			return fmt.Errorf("%w: %q is a folder of %s", ErrFiles, f.Path, have.from.name)
		}
		delete(t.files, name)
		r, err := os.Open(f.Source)
		if err != nil {
			return fmt.Errorf("toolbox: %w", err)
		}
		offset, err := t.keep(object.NewReader(r, f.Ref), f.Ref.Size)
		r.Close()
		if err != nil {
			return fmt.Errorf("toolbox file %q: %w", f.Path, err)
		}
		if err := t.add(&file{path: name, mode: f.Mode.Perm(), offset: offset, size: f.Ref.Size, from: &origin{name: "the recipe"}}); err != nil {
			return err
		}
	}
	return nil
}

// choose makes the recipe's alternatives.
func (t *root) choose(alternatives map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(alternatives)) {
		target := alternatives[name]
		if t.lookup(target) == nil {
			return fmt.Errorf("%w: alternative %q: no package has %q", ErrFiles, name, target)
		}
		at := path.Join("usr/bin", name)
		delete(t.files, at)
		t.link(at, target)
	}
	return nil
}

// nameOf returns a package's name.
func nameOf(in lock.Input) string { return strings.TrimPrefix(in.Name, "deb:") }

// interruptible is a writer that fails once its context has ended.
type interruptible struct {
	ctx context.Context
	io.Writer
}

// Write implements io.Writer.
func (w interruptible) Write(p []byte) (int, error) {
	if w.ctx.Err() != nil {
		return 0, context.Cause(w.ctx)
	}
	return w.Writer.Write(p)
}
