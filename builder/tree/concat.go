package tree

import (
	"io"
	"os"
)

// Concat returns a File with mode 0644 that is the files one after the other.
func Concat(name string, files ...File) File {
	out := File{Path: name, Mode: 0o644}
	for _, f := range files {
		out.Size += f.Size
	}
	out.Open = func() (io.ReadCloser, error) { return openAll(files) }
	return out
}

// Section returns a File with mode 0644 whose content is a part of the file at
// source, from one place to another.
func Section(name, source string, from, to int64) File {
	return File{Path: name, Mode: 0o644, Size: to - from, Open: func() (io.ReadCloser, error) {
		f, err := os.Open(source)
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
func openAll(files []File) (io.ReadCloser, error) {
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
