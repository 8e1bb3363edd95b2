package medium

import (
	"io"
	"os"

	"github.com/farboot/farboot/builder/tree"
)

// initrdOf returns an initrd that is the layers one after the other, each padded
// with zeros to a multiple of 4 bytes: nowhere else does the kernel look for an
// archive that is not compressed (unpack_to_rootfs in init/initramfs.c).
func initrdOf(name string, layers ...tree.File) tree.File {
	var files []tree.File
	for _, f := range layers {
		files = append(files, f, tree.Bytes("padding", make([]byte, -f.Size&3)))
	}
	return concat(name, files...)
}

// concat returns a file that is the files one after the other.
func concat(name string, files ...tree.File) tree.File {
	out := tree.File{Path: name, Mode: 0o644}
	for _, f := range files {
		out.Size += f.Size
	}
	out.Open = func() (io.ReadCloser, error) { return openAll(files) }
	return out
}

// section returns a part of the file at path, from one place to another.
func section(path string, from, to int64) tree.File {
	return tree.File{Path: "section", Size: to - from, Open: func() (io.ReadCloser, error) {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		if _, err := f.Seek(from, io.SeekStart); err != nil {
			f.Close()
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{io.LimitReader(f, to-from), f}, nil
	}}
}

// openAll opens files for reading one after the other.
func openAll(files []tree.File) (io.ReadCloser, error) {
	var all multiReadCloser
	for _, f := range files {
		r, err := f.Open()
		if err != nil {
			all.Close()
			return nil, err
		}
		all.files = append(all.files, r)
	}
	readers := make([]io.Reader, len(files))
	for i, r := range all.files {
		readers[i] = r
	}
	all.Reader = io.MultiReader(readers...)
	return &all, nil
}

// multiReadCloser is an io.MultiReader that can be closed.
type multiReadCloser struct {
	io.Reader
	files []io.ReadCloser
}

// WriteTo copies what was not read yet. From one file to another the kernel
// does it.
func (m *multiReadCloser) WriteTo(w io.Writer) (int64, error) {
	var sum int64
	for _, r := range m.files {
		n, err := io.Copy(w, r)
		sum += n
		if err != nil {
			return sum, err
		}
	}
	return sum, nil
}

// Close closes all readers and returns the first error.
func (m *multiReadCloser) Close() error {
	var first error
	for _, c := range m.files {
		if err := c.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
