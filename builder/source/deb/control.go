package deb

import (
	"archive/tar"
	"errors"
	"io"
	"path"

	"github.com/farboot/farboot/builder/source/apt/deb822"
)

// Control holds the control fields of a package that farboot acts on.
type Control struct {
	Package      string `json:"package"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
	// Depends is as it is written: "kmod, linux-base (>= 4.3~), a | b".
	Depends string `json:"depends,omitzero"`
	// Replaces says of which packages this one may overwrite files.
	Replaces string `json:"replaces,omitzero"`
}

// readControl takes the control file out of control.tar. Whatever else lies
// there, maintainer scripts among it, is passed over unread.
func readControl(m member, limits Limits) (Control, error) {
	plain, err := decompress(m, limits)
	if err != nil {
		return Control{}, err
	}
	defer plain.Close()
	archive := tar.NewReader(&cappedReader{r: plain, left: limits.ControlBytes})
	var c Control
	for {
		hdr, err := archive.Next()
		switch {
		case errors.Is(err, io.EOF) && c.Package == "":
			return Control{}, malformed("no control file")
		case errors.Is(err, io.EOF):
			return c, nil
		case err != nil:
			return Control{}, malformedBy(err, "tar")
		case path.Clean(hdr.Name) != "control":
			continue
		case c.Package != "":
			return Control{}, malformed("control stands twice")
		case hdr.Typeflag != tar.TypeReg || hdr.Size > limits.FieldBytes:
			return Control{}, malformed("control is not a regular file of at most %d bytes", limits.FieldBytes)
		}
		if c, err = parseControl(archive); err != nil {
			return Control{}, err
		}
	}
}

// parseControl reads the fields of the one paragraph that a control file is,
// after deb-control(5).
func parseControl(r io.Reader) (Control, error) {
	paragraphs := deb822.NewReader(r)
	fields, err := paragraphs.Next()
	if err != nil {
		return Control{}, malformedBy(err, "control")
	}
	c := Control{
		Package:      fields.Get("Package"),
		Version:      fields.Get("Version"),
		Architecture: fields.Get("Architecture"),
		Depends:      fields.Get("Depends"),
		Replaces:     fields.Get("Replaces"),
	}
	if c.Package == "" || c.Version == "" || c.Architecture == "" {
		return Control{}, malformed("control: want Package, Version and Architecture")
	}
	if _, err := paragraphs.Next(); err != io.EOF {
		return Control{}, malformedBy(err, "control: want one paragraph")
	}
	return c, nil
}
