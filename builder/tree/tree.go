// Package tree is the shape in which content travels between the stages of a
// build: a list of files with a place, a mode and a way to read them. Composing
// a medium yields one [Tree]; packing turns the same Tree into a hybrid image
// or into a netboot folder.
//
// A Tree holds no times, owners or inode numbers: whatever is not content must
// not get into a result. It holds no devices either.
package tree

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// File is one file of a tree.
type File struct {
	// Path is slash-separated and relative: "boot/grub/grub.cfg".
	Path string
	// Mode holds permission bits only: 0o644 or 0o755.
	Mode fs.FileMode
	// Size is the length of what Open delivers, in bytes.
	Size int64
	// Open starts a read of the content. It may be called more than once.
	Open func() (io.ReadCloser, error)
}

// Bytes returns a File with mode 0644 that holds data.
func Bytes(name string, data []byte) File {
	return File{Path: name, Mode: 0o644, Size: int64(len(data)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(data)), nil
	}}
}

// OnDisk returns a File with mode 0644 whose content is the file at source.
func OnDisk(name, source string) (File, error) {
	info, err := os.Stat(source)
	if err != nil {
		return File{}, err
	}
	if !info.Mode().IsRegular() {
		return File{}, fmt.Errorf("%s: not a regular file", source)
	}
	return File{Path: name, Mode: 0o644, Size: info.Size(), Open: func() (io.ReadCloser, error) {
		return os.Open(source)
	}}, nil
}

// Read returns the whole content of f.
func (f File) Read() ([]byte, error) {
	r, err := f.Open()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err == nil && int64(len(data)) != f.Size {
		err = fmt.Errorf("%s: %d bytes read, %d announced", f.Path, len(data), f.Size)
	}
	return data, err
}

// Tree is a set of files, sorted by path. The zero Tree is empty and ready.
type Tree struct {
	files []File
}

// Add puts files into the tree. It refuses paths that are absolute, unclean or
// taken, also where one path would have to be file and folder at once.
func (t *Tree) Add(files ...File) error {
	for _, f := range files {
		if !fs.ValidPath(f.Path) || f.Path == "." || strings.Contains(f.Path, "\\") {
			return fmt.Errorf("tree: path %q is not a clean relative path", f.Path)
		}
		for _, have := range t.files {
			if have.Path == f.Path || under(have.Path, f.Path) || under(f.Path, have.Path) {
				return fmt.Errorf("tree: %q is in the way of %q", have.Path, f.Path)
			}
		}
		t.files = append(t.files, f)
	}
	slices.SortFunc(t.files, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return nil
}

// Clone returns a tree with the same files, to which others may be added.
func (t *Tree) Clone() *Tree { return &Tree{files: slices.Clone(t.files)} }

// Files returns the files in the order of their paths.
func (t *Tree) Files() []File { return slices.Clone(t.files) }

// Lookup returns the file at name.
func (t *Tree) Lookup(name string) (File, bool) {
	for _, f := range t.files {
		if f.Path == name {
			return f, true
		}
	}
	return File{}, false
}

// Dirs returns every folder that the files imply, without the root, sorted.
func (t *Tree) Dirs() []string {
	var dirs []string
	for _, f := range t.files {
		for d := path.Dir(f.Path); d != "."; d = path.Dir(d) {
			dirs = append(dirs, d)
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// under tells whether name lies below the folder dir.
func under(name, dir string) bool { return strings.HasPrefix(name, dir+"/") }
