package deb

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// collect notes what a walk shows of each entry.
func collect(all *[]string) func(*tar.Header, io.Reader) error {
	return func(hdr *tar.Header, r io.Reader) error {
		body, err := io.ReadAll(r)
		*all = append(*all, describe(hdr.Name, hdr.FileInfo().Mode(), hdr.Linkname, body))
		return err
	}
}

// describe is one line about a file; that of a folder has no body.
func describe(name string, mode fs.FileMode, target string, body []byte) string {
	return fmt.Sprintf("%s %v %q %d %.20q", name, mode, target, len(body), body)
}

// makeTree writes a folder with all that packages usually hold.
func makeTree(t *testing.T, dir string) {
	t.Helper()
	long := "usr/share/doc/" + strings.Repeat("long/", 20) + strings.Repeat("n", 120)
	for name, body := range map[string][]byte{
		"usr/bin/run": []byte("#!/bin/sh\n"), "usr/lib/a file": []byte("a"), "empty": nil,
		"usr/share/ümlaut": []byte("ü"), long: []byte("long"), "usr/lib/big": noise(300 << 10),
	} {
		path := filepath.Join(dir, name)
		must(os.MkdirAll(filepath.Dir(path), 0o755))
		must(os.WriteFile(path, body, 0o644))
	}
	must(os.Chmod(filepath.Join(dir, "usr/bin/run"), 0o755))
	must(os.Symlink("../lib/big", filepath.Join(dir, "usr/bin/link")))
	must(os.Link(filepath.Join(dir, "usr/bin/run"), filepath.Join(dir, "usr/bin/twin")))
	must(os.MkdirAll(filepath.Join(dir, "DEBIAN"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "DEBIAN/control"),
		[]byte("Package: demo\nVersion: 1:2.0~rc1-1\nArchitecture: all\nMaintainer: T <t@example.org>\nDescription: a demo\n of it\n"), 0o644))
}

// readTree describes a folder on the disk as collect does a walk.
func readTree(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	must(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		must(err)
		name, _ := filepath.Rel(dir, path)
		info, _ := d.Info()
		var target string
		var body []byte
		switch {
		case name == ".":
			return nil
		case d.Type() == fs.ModeSymlink:
			target, _ = os.Readlink(path)
		case d.Type().IsRegular():
			body, _ = os.ReadFile(path)
		}
		all = append(all, describe(name, info.Mode(), target, body))
		return nil
	}))
	return all
}

// TestAgainstDpkg extracts packages that dpkg-deb made, with each compression
// that it knows, and compares with what dpkg-deb extracts.
func TestAgainstDpkg(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, filepath.Join(dir, "tree"))
	for _, compression := range []string{"none", "gzip", "xz", "zstd"} {
		for _, control := range []string{"--uniform-compression", "--no-uniform-compression"} {
			t.Run(compression+control, func(t *testing.T) {
				deb, want := filepath.Join(t.TempDir(), "x.deb"), t.TempDir()
				tool(t, "dpkg", nil, "dpkg-deb", "--root-owner-group", control, "-Z"+compression, "--build", filepath.Join(dir, "tree"), deb)
				tool(t, "dpkg", nil, "dpkg-deb", "--extract", deb, want)
				data, err := os.ReadFile(deb)
				must(err)
				p := open(t, data, DefaultLimits())
				if c := p.Control(); c != (Control{Package: "demo", Version: "1:2.0~rc1-1", Architecture: "all"}) {
					t.Errorf("control: %+v", c)
				}
				got := t.TempDir()
				root, err := os.OpenRoot(got)
				must(err)
				defer root.Close()
				if err := p.Extract(root, func(string) bool { return true }); err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(readTree(t, want), readTree(t, got)); diff != "" {
					t.Errorf("extracted (-dpkg-deb +farboot):\n%s", diff)
				}
				list := strings.Count(string(tool(t, "dpkg", nil, "dpkg-deb", "--contents", deb)), "\n")
				if n := len(names(t, p)); n != list-1 { // dpkg-deb lists the root too
					t.Errorf("%d entries, dpkg-deb lists %d", n, list)
				}
			})
		}
	}
}

// TestXZBlocks reads what the xz tool cuts into many blocks, some unpacked
// ahead and one that is too large for it.
func TestXZBlocks(t *testing.T) {
	for _, tc := range []struct {
		size int
		args string
	}{
		{4 << 20, "--block-size=65536"}, {4 << 20, "--block-size=3000000"}, {4 << 20, ""}, {100, ""},
		{maxAhead + 4<<20, "--block-list=34000000,1000,0"},
		{1 << 20, "--check=crc32"}, {1 << 20, "--check=sha256"}, {1 << 20, "--check=none"}, {1 << 20, "-9"},
	} {
		t.Run(fmt.Sprint(tc.size, tc.args), func(t *testing.T) {
			want := bytes.Repeat(noise(1<<16), tc.size>>16+1)
			data := tarOf(file("./a", "a"), file("./body", string(want)), file("./z", "z"))
			packed := tool(t, "xz-utils", data, "xz", append([]string{"--stdout", "-0"}, strings.Fields(tc.args)...)...)
			p := open(t, ar(version, controlPart(goodControl), part{"data.tar.xz", packed}), DefaultLimits())
			if got := names(t, p); len(got) != 3 {
				t.Fatalf("entries: %q", got)
			}
			got, err := p.ReadFile("body", int64(len(want)))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("body: %d bytes, %v", len(got), err)
			}
		})
	}
}

// TestXZDamage flips every byte of an xz stream, and cuts it everywhere: what
// comes through must be what was packed. (The library does not miss a byte that
// a chunk claims to have and has not; nothing comes of it.)
func TestXZDamage(t *testing.T) {
	data := tarOf(file("./a", strings.Repeat("abc", 3000)))
	packed := tool(t, "xz-utils", data, "xz", "--stdout", "--block-size=4096")
	read := func(packed []byte) (all []string, err error) {
		p := open(t, ar(version, controlPart(goodControl), part{"data.tar.xz", packed}), DefaultLimits())
		return all, p.Walk(collect(&all))
	}
	want, err := read(packed)
	if err != nil || len(want) != 1 {
		t.Fatalf("sound: %q, %v", want, err)
	}
	for i := range packed {
		bad := bytes.Clone(packed)
		bad[i] ^= 1
		if got, err := read(bad); err == nil && !slices.Equal(got, want) {
			t.Errorf("byte %d of %d flipped: %q", i, len(packed), got)
		} else if err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("byte %d of %d flipped: %v", i, len(packed), err)
		}
		if _, err := read(packed[:i]); !errors.Is(err, ErrMalformed) {
			t.Errorf("cut to %d of %d bytes: %v", i, len(packed), err)
		}
	}
	for name, tail := range map[string][]byte{"garbage": []byte("x"), "padding": make([]byte, 4), "stream": packed} {
		if _, err := read(append(bytes.Clone(packed), tail...)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s behind the stream: %v", name, err)
		}
	}
}

// TestXZWindow refuses a block that wants more memory than allowed.
func TestXZWindow(t *testing.T) {
	packed := tool(t, "xz-utils", tarOf(file("./a", "a")), "xz", "--stdout", "--lzma2=dict=256MiB")
	p := open(t, ar(version, controlPart(goodControl), part{"data.tar.xz", packed}), DefaultLimits())
	if err := p.Walk(collect(new([]string))); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "window") {
		t.Errorf("got %v", err)
	}
}

// TestStop ends a walk in the middle of a package: without an error by
// [fs.SkipAll], with the visitor's own error otherwise.
func TestStop(t *testing.T) {
	packed := tool(t, "xz-utils", tarOf(file("./a", "a"), file("./b", string(noise(1<<20)))), "xz", "--stdout", "--block-size=65536")
	p := open(t, ar(version, controlPart(goodControl), part{"data.tar.xz", packed}), DefaultLimits())
	mine := errors.New("mine")
	for _, want := range []error{nil, mine} {
		n := 0
		err := p.Walk(func(*tar.Header, io.Reader) error {
			n++
			if want == nil {
				return fs.SkipAll
			}
			return want
		})
		if n != 1 || !errors.Is(err, want) {
			t.Errorf("%d entries, error %v, want %v", n, err, want)
		}
	}
}
