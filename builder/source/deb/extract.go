package deb

import (
	"archive/tar"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// Extract writes the entries that keep asks for below root. Folders that they
// need are made. Files get their permission bits, for the owner at least
// read and write; never setuid, setgid or sticky.
//
// A symbolic link that leads out of the package, be it absolute or by "..", is
// refused: whoever reads the result later would follow it on this machine.
// keep can leave it out. On an error, what was written before stays.
func (p *Package) Extract(root *os.Root, keep func(name string) bool) error {
	return p.Walk(func(hdr *tar.Header, r io.Reader) error {
		if !keep(hdr.Name) {
			return nil
		}
		if err := root.MkdirAll(path.Dir(hdr.Name), 0o755); err != nil {
			return err
		}
		switch hdr.Typeflag {
		case tar.TypeDir:
			return root.MkdirAll(hdr.Name, 0o755)
		case tar.TypeSymlink:
			if !staysInside(hdr) {
				return malformed("%q leads to %q, outside of the package", hdr.Name, hdr.Linkname)
			}
			return root.Symlink(hdr.Linkname, hdr.Name)
		case tar.TypeLink:
			if !keep(hdr.Linkname) {
				return fmt.Errorf("%q is a hard link to %q, which is left out", hdr.Name, hdr.Linkname)
			}
			return root.Link(hdr.Linkname, hdr.Name)
		}
		return writeFile(root, hdr, r)
	})
}

// writeFile creates the file that hdr names. O_EXCL makes sure that it is new
// and no link.
func writeFile(root *os.Root, hdr *tar.Header, r io.Reader) error {
	mode := fs.FileMode(hdr.Mode)&0o777 | 0o600
	f, err := root.OpenFile(hdr.Name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if _, err := io.Copy(f, r); err != nil {
		f.Close()
		return fmt.Errorf("%q: %w", hdr.Name, err)
	}
	return f.Close()
}

// staysInside tells whether a symbolic link leads to a place inside the
// package, also by way of other links: ".." may only stand in front, where the
// folders it leaves are real ones.
func staysInside(hdr *tar.Header) bool {
	rest := hdr.Linkname
	for strings.HasPrefix(rest, "../") {
		rest = rest[len("../"):]
	}
	if rest != ".." && path.Clean(rest) != strings.TrimSuffix(rest, "/") {
		return false
	}
	return !path.IsAbs(hdr.Linkname) && fs.ValidPath(path.Join(path.Dir(hdr.Name), hdr.Linkname))
}
