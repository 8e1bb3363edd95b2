package deb

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Walk calls visit for every entry of the package, in the order of the
// archive. hdr holds a clean relative name, the type (regular, folder,
// symbolic or hard link), the permission bits, the size and, for links, the
// target; nothing else. r delivers the content of a regular file and is valid
// until visit returns.
//
// A hard link's target is the name of a file that has been visited before. A
// symbolic link's is as the package has it and may lead anywhere.
//
// An error of visit ends the walk and is returned as it is; [fs.SkipAll] ends
// it without an error, and without the rest of the package being read.
func (p *Package) Walk(visit func(hdr *tar.Header, r io.Reader) error) error {
	err := p.walk(visit)
	if err == nil || errors.Is(err, fs.SkipAll) {
		return nil
	}
	return fmt.Errorf("package %s: %w", p.control.Package, err)
}

// walk is Walk without the names around its errors.
func (p *Package) walk(visit func(hdr *tar.Header, r io.Reader) error) error {
	plain, err := decompress(p.data, p.limits)
	if err != nil {
		return fmt.Errorf("%s: %w", p.data.name, err)
	}
	defer plain.Close()
	tail := &zeroTail{r: &cappedReader{r: plain, left: p.limits.DataBytes}}
	archive := tar.NewReader(tail)
	s := &seen{limits: p.limits, types: make(map[string]byte)}
	for {
		raw, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return tail.finish()
		}
		if err != nil {
			return malformedBy(err, "%s", p.data.name)
		}
		hdr, err := s.admit(raw)
		if err != nil {
			return err
		}
		if hdr == nil {
			continue
		}
		if err := visit(hdr, archive); err != nil {
			return err
		}
	}
}

// seen knows the entries that a walk has met.
type seen struct {
	limits Limits
	count  int
	types  map[string]byte
}

// admit returns the header to show for raw, or nil for the root folder.
func (s *seen) admit(raw *tar.Header) (*tar.Header, error) {
	if s.count++; s.count > s.limits.Entries {
		return nil, malformed("more than %d entries", s.limits.Entries)
	}
	name, err := s.clean(raw.Name)
	if err != nil {
		return nil, err
	}
	hdr := &tar.Header{Name: name, Typeflag: raw.Typeflag, Mode: raw.Mode & 0o777}
	switch raw.Typeflag {
	case tar.TypeReg:
		hdr.Size = raw.Size
	case tar.TypeDir:
	case tar.TypeSymlink:
		hdr.Linkname = raw.Linkname
	case tar.TypeLink:
		hdr.Linkname, err = s.clean(raw.Linkname)
	default:
		err = malformed("%q has type %q, want file, folder or link", name, raw.Typeflag)
	}
	switch {
	case err != nil:
		return nil, err
	case name == "." && raw.Typeflag == tar.TypeDir:
		return nil, nil
	}
	return hdr, s.add(hdr, raw)
}

// add takes hdr into the books, if it fits to what is there.
func (s *seen) add(hdr, raw *tar.Header) error {
	for dir := path.Dir(hdr.Name); dir != "."; dir = path.Dir(dir) {
		if t, ok := s.types[dir]; ok && t != tar.TypeDir {
			return malformed("%q lies below %q, which is no folder", hdr.Name, dir)
		}
		s.types[dir] = tar.TypeDir
	}
	before, dup := s.types[hdr.Name]
	switch {
	case hdr.Name == ".":
		return malformed("the package's root is no folder")
	case dup && (before != tar.TypeDir || hdr.Typeflag != tar.TypeDir):
		return malformed("%q stands twice", hdr.Name)
	case hdr.Size > s.limits.FileBytes:
		return malformed("%q: %d bytes, allowed are %d", hdr.Name, hdr.Size, s.limits.FileBytes)
	case sparse(raw):
		return malformed("%q is sparse", hdr.Name)
	case hdr.Typeflag == tar.TypeSymlink && !s.printable(hdr.Linkname):
		return malformed("%q leads to the unusable path %q", hdr.Name, hdr.Linkname)
	case hdr.Typeflag == tar.TypeLink && s.types[hdr.Linkname] != tar.TypeReg:
		return malformed("%q is a hard link to %q, which is no file before it", hdr.Name, hdr.Linkname)
	}
	s.types[hdr.Name] = hdr.Typeflag
	return nil
}

// clean turns "./usr/lib/" into "usr/lib". Whatever is not plainly below the
// package's root is refused, not mended.
func (s *seen) clean(name string) (string, error) {
	short := strings.TrimPrefix(name, "./")
	if short != "" {
		short = strings.TrimSuffix(short, "/")
	} else if name != "" {
		short = "."
	}
	if !fs.ValidPath(short) || !s.printable(short) {
		return "", malformed("path %q is not a clean path inside the package", name)
	}
	return short, nil
}

// printable tells whether name may go into file systems and messages.
func (s *seen) printable(name string) bool {
	control := func(c rune) bool { return unicode.IsControl(c) }
	return name != "" && len(name) <= s.limits.PathBytes && utf8.ValidString(name) && !strings.ContainsFunc(name, control)
}

// sparse tells whether an entry has holes, by either way of saying so. Holes
// make a file of any size out of a few bytes.
func sparse(hdr *tar.Header) bool {
	if hdr.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range hdr.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// zeroTail counts the zero bytes that the stream so far ends in. A tar archive
// ends in 1024 of them; without this an archive that is cut at the right place
// would pass for a whole one, as zstd does not notice either.
type zeroTail struct {
	r     io.Reader
	zeros int64
}

// tarEnd is the length of the end mark of a tar archive, in bytes.
const tarEnd = 1024

// Read implements io.Reader.
func (z *zeroTail) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	for i := n - 1; i >= 0; i-- {
		if p[i] != 0 {
			z.zeros = int64(n - 1 - i)
			return n, err
		}
	}
	z.zeros += int64(n)
	return n, err
}

// finish reads on to the end of the stream, so that its check sums are tested,
// and makes sure that nothing but zeros follows the archive.
func (z *zeroTail) finish() error {
	before := z.zeros
	n, err := io.Copy(io.Discard, z)
	switch {
	case err != nil:
		return malformedBy(err, "behind the tar archive")
	case z.zeros < tarEnd:
		return malformed("the tar archive has no end")
	case z.zeros != before+n:
		return malformed("bytes behind the end of the tar archive")
	}
	return nil
}
