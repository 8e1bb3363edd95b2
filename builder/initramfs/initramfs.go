// Package initramfs writes the layers that a kernel unpacks into its first
// root file system.
//
// A [Layer] is a list of files; [Pack] turns one into a compressed "newc" cpio
// archive, and [Join] joins packed layers into one initrd. The format is that
// of the kernel's Documentation/driver-api/early-userspace/buffer-format.rst,
// and the limits are those of init/initramfs.c.
//
// The same layer and compression give the same bytes on any machine: files are
// sorted, times are the layer's epoch, owners are 0, inodes are counted. A
// layer holds every folder above its files, so that each unpacks on its own.
//
// The package does not read trees from a disk, does not write hard links, and
// does not check that what it packs would boot.
package initramfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/builder/tree"
)

// ErrInvalid is wrapped by every error that says that a layer cannot be packed
// so that a kernel would unpack it.
var ErrInvalid = errors.New("layer cannot be packed")

// Limits of the format and of init/initramfs.c. What passes them the kernel
// would skip in silence, or the archive could not express.
const (
	// maxPath is PATH_MAX less the closing NUL; do_header skips longer names.
	maxPath = 4095
	// maxSize bounds a file in bytes: it is in memory here and on the machine.
	// The format ends at 4 GiB, the encoders count in 31 bits.
	maxSize = 1 << 30
	// maxFiles bounds the entries of one layer. All modules of a Debian kernel
	// are 4023.
	maxFiles = 1 << 20
	// A device number has 12 bits of major and 20 bits of minor.
	maxMajor, maxMinor = 1<<12 - 1, 1<<20 - 1
)

// typeDevice is a character device in fs.FileMode's terms.
const typeDevice = fs.ModeDevice | fs.ModeCharDevice

// Layer is the content of one archive.
type Layer struct {
	// Epoch is the time of every file, in whole seconds from 1970 to 2106. The
	// zero time stands for 1970.
	Epoch time.Time
	// Files may be in any order and need not name the folders above them,
	// which have mode 0755 unless listed.
	Files []File
}

// File is one entry of a layer. Make it with [FromTree], [Dir], [Symlink] or
// [CharDevice].
type File struct {
	// Path is slash-separated and relative to the root: "dev/console".
	Path string
	// Mode is the type (regular file, folder, symlink or character device) and
	// the permission bits.
	Mode fs.FileMode
	// Size is the length of what Open delivers, for a regular file.
	Size int64
	Open func() (io.ReadCloser, error)
	// Target is what a symlink holds.
	Target string
	// Major and Minor number a device.
	Major, Minor uint32
}

// FromTree returns the entries for files.
func FromTree(files ...tree.File) []File {
	entries := make([]File, len(files))
	for i, f := range files {
		entries[i] = File{Path: f.Path, Mode: f.Mode.Perm(), Size: f.Size, Open: f.Open}
	}
	return entries
}

// Dir returns an entry for a folder.
func Dir(name string, perm fs.FileMode) File {
	return File{Path: name, Mode: fs.ModeDir | perm.Perm()}
}

// Symlink returns an entry for a symbolic link to target.
func Symlink(name, target string) File {
	return File{Path: name, Mode: fs.ModeSymlink | 0o777, Target: target}
}

// CharDevice returns an entry for a character device, as the kernel's
// Documentation/admin-guide/devices.txt numbers them: dev/console is 5:1.
func CharDevice(name string, perm fs.FileMode, major, minor uint32) File {
	return File{Path: name, Mode: typeDevice | perm.Perm(), Major: major, Minor: minor}
}

// entries returns the layer's files with every folder above them, sorted so
// that a folder comes before what it holds.
func (l Layer) entries() ([]File, error) {
	if len(l.Files) > maxFiles {
		return nil, fmt.Errorf("%w: %d files, at most %d", ErrInvalid, len(l.Files), maxFiles)
	}
	all := make(map[string]File, 2*len(l.Files))
	for _, f := range l.Files {
		if err := f.check(); err != nil {
			return nil, fmt.Errorf("%w: %q: %w", ErrInvalid, f.Path, err)
		}
		if _, taken := all[f.Path]; taken {
			return nil, fmt.Errorf("%w: %q is listed twice", ErrInvalid, f.Path)
		}
		all[f.Path] = f
	}
	for _, f := range l.Files {
		for dir := path.Dir(f.Path); dir != "."; dir = path.Dir(dir) {
			above, listed := all[dir]
			if listed && !above.Mode.IsDir() {
				return nil, fmt.Errorf("%w: %q is in the way of %q", ErrInvalid, dir, f.Path)
			}
			if listed {
				continue
			}
			all[dir] = Dir(dir, 0o755)
		}
	}
	sorted := make([]File, 0, len(all))
	for _, f := range all {
		sorted = append(sorted, f)
	}
	slices.SortFunc(sorted, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return sorted, nil
}

// check refuses an entry that the format or the kernel cannot express.
func (f File) check() error {
	switch {
	case !fs.ValidPath(f.Path) || f.Path == "." || strings.ContainsRune(f.Path, 0):
		return errors.New("not a clean relative path")
	case len(f.Path) > maxPath:
		return fmt.Errorf("path has %d bytes, at most %d", len(f.Path), maxPath)
	case f.Path == trailer:
		return errors.New("the name ends an archive")
	}
	switch f.Mode.Type() {
	case 0:
		if f.Open == nil || f.Size < 0 || f.Size > maxSize {
			return fmt.Errorf("content of %d bytes, want one of at most %d", f.Size, maxSize)
		}
	case fs.ModeDir:
	case fs.ModeSymlink:
		if f.Target == "" || len(f.Target) > maxPath || strings.ContainsRune(f.Target, 0) {
			return fmt.Errorf("target of %d bytes, want 1 to %d without NUL", len(f.Target), maxPath)
		}
	case typeDevice:
		if f.Major > maxMajor || f.Minor > maxMinor {
			return fmt.Errorf("device %d:%d out of range", f.Major, f.Minor)
		}
	default:
		return fmt.Errorf("type %v is not supported", f.Mode.Type())
	}
	if f.Mode&^(fs.ModeType|fs.ModePerm) != 0 {
		return fmt.Errorf("mode %v: only permission bits are supported", f.Mode)
	}
	return nil
}
