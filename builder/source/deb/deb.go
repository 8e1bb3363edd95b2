// Package deb reads Debian binary packages: the control fields and the files,
// and nothing else. [Open] is the way in; then [Package.Control],
// [Package.Walk], [Package.ReadFile] and [Package.Extract].
//
// The format is deb(5): an ar archive of debian-binary, control.tar and
// data.tar, the two tar archives plain or packed with gzip, xz or zstd.
//
// The package promises that whatever it hands out has a clean, relative,
// unique path inside the package, is a regular file, a folder or a link, and
// stays within [Limits], whoever made the archive. Owners, times, extended
// attributes and the setuid, setgid and sticky bits are dropped: files are
// taken for their content, and none of these may reach a medium.
//
// Maintainer scripts are never run; they are not even looked at. The package
// does not verify hashes or signatures (callers open verified blobs), does not
// resolve dependencies and does not write packages.
package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// ErrMalformed is wrapped by every error that says that the bytes are not a
// package that this one accepts.
var ErrMalformed = errors.New("malformed package")

// Limits bounds what a package may cost. The figures in brackets are those of
// linux-image-6.1.0-56-amd64, the largest package of a usual build.
type Limits struct {
	// Entries of data.tar [4941].
	Entries int
	// FileBytes is the size of one file, in bytes [16 MB].
	FileBytes int64
	// DataBytes is the size of data.tar unpacked, in bytes [411 MB].
	DataBytes int64
	// ControlBytes is the size of control.tar unpacked, in bytes [420 KB].
	ControlBytes int64
	// FieldBytes is the size of the control file, in bytes [926].
	FieldBytes int64
	// PathBytes is the length of a path and of a link's target, in bytes.
	PathBytes int
	// WindowBytes is how far back zstd and xz may refer, in bytes: the memory
	// that a decoder needs. dpkg-deb uses 8 MiB by default, at most 128 MiB.
	WindowBytes uint64
}

// DefaultLimits returns the limits that [Open] applies: ten times what is
// usual, and still nothing that hurts a small machine.
func DefaultLimits() Limits {
	return Limits{
		Entries:      100_000,
		FileBytes:    2 << 30,
		DataBytes:    4 << 30,
		ControlBytes: 16 << 20,
		FieldBytes:   256 << 10,
		PathBytes:    1024,
		WindowBytes:  128 << 20,
	}
}

// Package is an open package. Its methods may be called at the same time.
type Package struct {
	limits  Limits
	control Control
	data    member
}

// Open reads the frame and the control fields of the package that r holds in
// its first size bytes. The Package reads from r as long as it is used.
func Open(r io.ReaderAt, size int64) (*Package, error) {
	return OpenWithin(r, size, DefaultLimits())
}

// OpenWithin is [Open] with other limits.
func OpenWithin(r io.ReaderAt, size int64, limits Limits) (*Package, error) {
	control, data, err := readFrame(r, size)
	if err != nil {
		return nil, err
	}
	fields, err := readControl(control, limits)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", control.name, err)
	}
	return &Package{limits: limits, control: fields, data: data}, nil
}

// Control returns the package's control fields.
func (p *Package) Control() Control { return p.control }

// ReadFile returns the content of the regular file at name ("usr/lib/x"), at
// most max bytes of it. It wraps [fs.ErrNotExist] where there is no such file
// and refuses links, naming their target.
func (p *Package) ReadFile(name string, max int64) ([]byte, error) {
	var data []byte
	err := p.Walk(func(hdr *tar.Header, r io.Reader) error {
		if hdr.Name != name {
			return nil
		}
		if err := CheckRegular(hdr); err != nil {
			return err
		}
		if hdr.Size > max {
			return fmt.Errorf("%q: %d bytes, want at most %d", name, hdr.Size, max)
		}
		data = make([]byte, hdr.Size)
		if _, err := io.ReadFull(r, data); err != nil {
			return err
		}
		return fs.SkipAll
	})
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, fmt.Errorf("package %s: %q: %w", p.control.Package, name, fs.ErrNotExist)
	}
	return data, nil
}

// CheckRegular refuses an entry that is not a regular file, and says what it
// is instead.
func CheckRegular(hdr *tar.Header) error {
	switch hdr.Typeflag {
	case tar.TypeReg:
		return nil
	case tar.TypeDir:
		return fmt.Errorf("%q is a folder, want a file", hdr.Name)
	}
	return fmt.Errorf("%q is a link to %q, want the file itself", hdr.Name, hdr.Linkname)
}
