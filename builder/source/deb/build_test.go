package deb

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"testing"
)

// part is a member of an ar archive.
type part struct {
	name string
	data []byte
}

// ar writes an archive of the given members.
func ar(parts ...part) []byte {
	var b bytes.Buffer
	b.WriteString(arMagic)
	for _, p := range parts {
		fmt.Fprintf(&b, "%-16s%-12d%-6d%-6d%-8s%-10d%s", p.name, 0, 0, 0, "100644", len(p.data), arHeaderEnd)
		b.Write(p.data)
		if len(p.data)%2 == 1 {
			b.WriteByte('\n')
		}
	}
	return b.Bytes()
}

// goodControl is the control file of the packages that tests make.
const goodControl = "Package: demo\nVersion: 1.0-1\nArchitecture: amd64\nDepends: a, b (>= 2)\n | c\n"

// frame returns a sound package around data.tar.
func frame(data []byte) []byte {
	return ar(version, controlPart(goodControl), part{"data.tar", data})
}

// version is the first member of a package.
var version = part{"debian-binary", []byte("2.0\n")}

// controlPart returns control.tar with the given control file and a script.
func controlPart(text string) part {
	return part{"control.tar", tarOf(
		entry{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		entry{tar.Header{Name: "./postinst", Mode: 0o755}, "#!/bin/sh\ntouch /tmp/farboot-postinst-ran\n"},
		entry{tar.Header{Name: "./control", Mode: 0o644}, text},
	)}
}

// entry is an entry of a tar archive.
type entry struct {
	tar.Header
	body string
}

// file returns a regular file.
func file(name, body string) entry { return entry{tar.Header{Name: name, Mode: 0o644}, body} }

// link returns an entry that leads to target.
func link(typ byte, name, target string) entry {
	return entry{tar.Header{Name: name, Typeflag: typ, Linkname: target, Mode: 0o777}, ""}
}

// tarOf writes a tar archive. What the writer refuses makes it panic: no test
// is about the writer.
func tarOf(entries ...entry) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.Typeflag == 0 {
			e.Typeflag = tar.TypeReg
		}
		e.Size = int64(len(e.body))
		must(w.WriteHeader(&e.Header))
		_, err := w.Write([]byte(e.body))
		must(err)
	}
	must(w.Close())
	return b.Bytes()
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// open opens data, which must be a sound frame.
func open(t *testing.T, data []byte, limits Limits) *Package {
	t.Helper()
	p, err := OpenWithin(bytes.NewReader(data), int64(len(data)), limits)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return p
}

// tool runs a program with input and returns its output. A tool that is not
// installed fails the test: an oracle that is absent proves nothing.
func tool(t *testing.T, debianPackage string, input []byte, name string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is needed: apt-get install %s", name, debianPackage)
	}
	cmd := exec.Command(path, args...)
	cmd.Stdin = bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, stderr.Bytes())
	}
	return out
}

// noise returns n bytes that compress badly, the same for the same n.
func noise(n int) []byte {
	data := make([]byte, n)
	state := uint32(n) | 1
	for i := range data {
		state ^= state << 13
		state ^= state >> 17
		state ^= state << 5
		data[i] = byte(state)
	}
	return data
}

// names lists what a walk shows.
func names(t *testing.T, p *Package) []string {
	t.Helper()
	var all []string
	if err := p.Walk(collect(&all)); err != nil {
		t.Fatalf("walk: %v", err)
	}
	slices.Sort(all)
	return all
}
