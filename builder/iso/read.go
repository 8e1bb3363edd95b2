package iso

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/farboot/farboot/builder/iso/initrd"
	"github.com/farboot/farboot/builder/iso/isofs"
	"github.com/farboot/farboot/payload/manifest"
)

// readRelease returns the release that a kernel says of itself in its header (the
// kernel's Documentation/arch/x86/boot.rst: kernel_version).
func readRelease(v *isofs.Volume, kernel isofs.File) (string, error) {
	cannot := fmt.Errorf("%w: %s is not a kernel for x86 (bzImage)", ErrCannot, kernel.Path)
	r, err := v.Open(kernel)
	if err != nil {
		return "", err
	}
	b := make([]byte, 0x210)
	if _, err := io.ReadFull(r, b); err != nil || string(b[0x202:0x206]) != "HdrS" {
		return "", cannot
	}
	at := int64(binary.LittleEndian.Uint16(b[0x20e:])) + 0x200
	text := make([]byte, 256)
	n, err := r.ReadAt(text, at)
	if err != nil && err != io.EOF || at == 0x200 {
		return "", cannot
	}
	line, _, _ := strings.Cut(string(text[:n]), "\x00")
	release, _, _ := strings.Cut(line, " ")
	if manifest.CheckRelease(release) != nil {
		return "", cannot
	}
	return release, nil
}

// contents is what initrds hold, as far as it matters.
type contents struct {
	unpacked int64
	files    map[string]initrd.Entry
	// texts are what small files hold that are looked into.
	texts map[string][]byte
}

// maxInit bounds /init, and maxText other files that are looked into, in bytes.
const (
	maxInit = 64 << 20
	maxText = 64 << 10
)

// readInitrds reads them as the kernel does: one after the other, the later prevails.
func readInitrds(v *isofs.Volume, list []isofs.File) (*contents, error) {
	c := &contents{files: map[string]initrd.Entry{}, texts: map[string][]byte{}}
	for _, f := range list {
		r, err := v.Open(f)
		if err != nil {
			return nil, err
		}
		n, err := initrd.Walk(r, c.take)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Path, err)
		}
		c.unpacked += n
	}
	return c, nil
}

// take takes an entry.
func (c *contents) take(e initrd.Entry, r io.Reader) error {
	c.files[e.Path] = e
	most := int64(maxText)
	switch e.Path {
	case "init":
		most = maxInit
	case orderFile:
	default:
		return nil
	}
	delete(c.texts, e.Path)
	if !e.Mode.IsRegular() || e.Size > most {
		return nil
	}
	data, err := io.ReadAll(r)
	c.texts[e.Path] = data
	return err
}

// has tells whether there is a file or folder, under /usr as well: "scripts/live".
func (c *contents) has(name string) bool {
	_, plain := c.files[name]
	_, usr := c.files["usr/"+name]
	return plain || usr
}

// resolve follows symbolic links from a path to a file.
func (c *contents) resolve(name string) (initrd.Entry, bool) {
	rest, at := strings.Trim(name, "/"), "/"
	for links := 0; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next := path.Join(at, part)
		e, ok := c.files[next[1:]]
		if !ok {
			return e, false
		}
		if e.Mode.Type() != fs.ModeSymlink {
			at = next
			continue
		}
		if links++; links > 40 { // MAXSYMLINKS of Linux
			return e, false
		}
		target := e.Target
		if !path.IsAbs(target) {
			target = path.Join(at, target)
		}
		at, rest = "/", strings.Trim(path.Join(target, rest), "/")
	}
	e, ok := c.files[strings.Trim(at, "/")]
	return e, ok
}

// takeInit takes the first program of the initrd.
func (s *System) takeInit() error {
	e, ok := s.boot.files["init"]
	if !ok {
		return fmt.Errorf("%w: its initrd has no /init", ErrCannot)
	}
	program, ok := s.boot.resolve("init")
	if !ok || !program.Mode.IsRegular() || program.Mode&0o111 == 0 {
		return fmt.Errorf("%w: /init of its initrd is no program", ErrCannot)
	}
	if e.Mode.Type() == fs.ModeSymlink {
		s.InitLink = path.Join("/", e.Target)
		return nil
	}
	s.Init = s.boot.texts["init"]
	if len(s.Init) == 0 {
		return fmt.Errorf("%w: /init of its initrd has %d bytes", ErrCannot, e.Size)
	}
	return nil
}
