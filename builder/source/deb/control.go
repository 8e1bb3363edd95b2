package deb

import (
	"archive/tar"
	"errors"
	"io"
	"path"
	"strings"
)

// Control holds the control fields of a package that farboot acts on.
type Control struct {
	Package      string
	Version      string
	Architecture string
	// PreDepends and Depends are relations as they are written:
	// "kmod, linux-base (>= 4.3~), a | b".
	PreDepends string
	Depends    string
	Provides   string
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
	for {
		hdr, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return Control{}, malformed("no control file")
		}
		if err != nil {
			return Control{}, malformedBy(err, "tar")
		}
		if path.Clean(hdr.Name) != "control" {
			continue
		}
		if hdr.Typeflag != tar.TypeReg || hdr.Size > limits.FieldBytes {
			return Control{}, malformed("control is not a regular file of at most %d bytes", limits.FieldBytes)
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			return Control{}, malformedBy(err, "control")
		}
		return parseControl(string(text))
	}
}

// parseControl reads the fields of the one paragraph that a control file is,
// after deb-control(5) and Debian policy 5.1.
func parseControl(text string) (Control, error) {
	fields, err := parseParagraph(strings.TrimRight(text, "\n"))
	if err != nil {
		return Control{}, err
	}
	c := Control{
		Package:      fields["package"],
		Version:      fields["version"],
		Architecture: fields["architecture"],
		PreDepends:   fields["pre-depends"],
		Depends:      fields["depends"],
		Provides:     fields["provides"],
	}
	if c.Package == "" || c.Version == "" || c.Architecture == "" {
		return Control{}, malformed("control: want Package, Version and Architecture")
	}
	return c, nil
}

// parseParagraph returns the fields by their lower-case names. Lines that
// continue a field are joined to it by a newline.
func parseParagraph(text string) (map[string]string, error) {
	fields := make(map[string]string)
	last := ""
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			if last == "" {
				return nil, malformed("control: continuation without a field: %q", line)
			}
			fields[last] += "\n" + strings.TrimSpace(line)
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t\r") {
			return nil, malformed("control: %q is not a field", line)
		}
		last = strings.ToLower(name)
		if _, dup := fields[last]; dup {
			return nil, malformed("control: field %q stands twice", name)
		}
		fields[last] = strings.TrimSpace(value)
	}
	return fields, nil
}
