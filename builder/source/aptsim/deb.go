package aptsim

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/object"
)

// Package is one package of a suite. Only Name must be set.
type Package struct {
	Name    string
	Version string // default "1.0"
	Arch    string // default "amd64"
	// Fields are further ones, of the index and the package: "Depends".
	Fields map[string]string
	// Files of the package, by path without a slash at the start.
	Files map[string]string
	// Deb is the package itself; by default it is made of the above.
	Deb []byte
}

func (p Package) withDefaults(t testing.TB) Package {
	if p.Version == "" {
		p.Version = "1.0"
	}
	if p.Arch == "" {
		p.Arch = "amd64"
	}
	if p.Deb == nil {
		p.Deb = p.build(t)
	}
	return p
}

// control returns the fields that the package itself has.
func (p Package) control() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Package: %s\nVersion: %s\nArchitecture: %s\nMaintainer: Aptsim <aptsim@example.org>\nDescription: made up\n",
		p.Name, p.Version, p.Arch)
	for _, name := range slices.Sorted(maps.Keys(p.Fields)) {
		fmt.Fprintf(&b, "%s: %s\n", name, p.Fields[name])
	}
	return b.String()
}

// paragraph returns the package's entry in an index.
func (p Package) paragraph(filename string) string {
	ref := object.OfBytes(p.Deb)
	return fmt.Sprintf("%sFilename: %s\nSize: %d\nSHA256: %s\n", p.control(), filename, ref.Size, ref.SHA256)
}

// build returns the package as deb(5) has it.
func (p Package) build(t testing.TB) []byte {
	var b bytes.Buffer
	b.WriteString("!<arch>\n")
	for _, member := range []struct {
		name string
		data []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar.gz", Compress(t, ".gz", tarOf(t, map[string]string{"control": p.control()}))},
		{"data.tar.xz", Compress(t, ".xz", tarOf(t, p.Files))},
	} {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8o%-10d`\n", member.name, 0, 0, 0, 0o100644, len(member.data))
		b.Write(member.data)
		if len(member.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// tarOf returns the files as a tar archive, with names like dpkg-deb's.
func tarOf(t testing.TB, files map[string]string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		err := w.WriteHeader(&tar.Header{Name: "./" + name, Mode: 0o644, Size: int64(len(files[name])), Format: tar.FormatGNU})
		if err == nil {
			_, err = w.Write([]byte(files[name]))
		}
		if err != nil {
			t.Error(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	return b.Bytes()
}
