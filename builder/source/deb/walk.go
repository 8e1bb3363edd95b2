package deb

import (
	"archive/tar"
	"bytes"
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
// An error of visit ends the walk and is returned, with the package's name in
// front; [fs.SkipAll] ends it without an error, and without the rest of the
// package being read.
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
		return err
	}
	defer plain.Close()
	stream := &counter{r: &cappedReader{r: plain, left: p.limits.DataBytes}}
	archive := tar.NewReader(stream)
	s := &seen{limits: p.limits, types: make(map[string]byte)}
	for last := int64(0); ; {
		raw, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return stream.finish(last)
		}
		if err != nil {
			return malformedBy(err, "%s", p.data.name)
		}
		hdr, err := s.admit(raw)
		if err != nil {
			return err
		}
		last = stream.n + (hdr.Size+tarBlock-1)/tarBlock*tarBlock
		if hdr.Name == "." {
			continue
		}
		if err := visit(hdr, body{archive}); err != nil {
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

// admit returns the header to show for raw.
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
	if err == nil {
		err = s.add(hdr, raw)
	}
	return hdr, err
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
	case hdr.Name == "." && hdr.Typeflag != tar.TypeDir:
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

// tarEnd is the length of the end mark of a tar archive, in bytes. Without a
// look at it, an archive that is cut at the right place would pass for a whole
// one; zstd does not notice either.
const tarEnd = 2 * tarBlock

// tarBlock is what every part of a tar archive is padded to, in bytes.
const tarBlock = 512

// counter counts the bytes that are read from r.
type counter struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// finish reads on to the end of the stream, so that its check sums are tested,
// and makes sure that the archive, whose last entry ends at offset last, has an
// end mark and nothing but zeros behind.
func (c *counter) finish(last int64) error {
	if c.n-last < tarEnd {
		return malformed("the tar archive has no end")
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Read(buf)
		switch {
		case len(bytes.Trim(buf[:n], "\x00")) > 0:
			return malformed("bytes behind the end of the tar archive")
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return malformedBy(err, "behind the tar archive")
		}
	}
}

// body delivers the content of an entry. Its errors are the package's fault.
type body struct{ r io.Reader }

// Read implements io.Reader.
func (b body) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		err = malformedBy(err, "content")
	}
	return n, err
}
