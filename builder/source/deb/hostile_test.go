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
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestFrame opens what is nearly a package.
func TestFrame(t *testing.T) {
	control, data := controlPart(goodControl), part{"data.tar", tarOf(file("./a", "a"))}
	signature := part{"_gpgorigin", []byte("odd")}
	sound := ar(version, control, data)
	patch := func(at int, with string) []byte {
		bad := bytes.Clone(sound)
		copy(bad[at:], with)
		return bad
	}
	for _, tc := range []struct {
		name string
		data []byte
		want string // of the error; empty where the package is sound
	}{
		{"sound", sound, ""},
		{"signed", ar(version, signature, control, signature, data, signature), ""},
		{"slashes", ar(part{"debian-binary/", version.data}, part{"control.tar/", control.data}, part{"data.tar/", data.data}), ""},
		{"empty", nil, "not an ar archive"},
		{"magic alone", sound[:8], "want debian-binary"},
		{"other magic", patch(0, "!<thin>\n"), "not an ar archive"},
		{"minor version", ar(part{"debian-binary", []byte("2.1\n")}, control, data), "debian-binary"},
		{"longer version", ar(part{"debian-binary", []byte("2.0\nx")}, control, data), "debian-binary"},
		{"cut version", ar(part{"debian-binary", []byte("2.0")}, control, data), "debian-binary"},
		{"version last", ar(control, data, version), "want debian-binary"},
		{"data first", ar(version, data, control), `unexpected member "data.tar"`},
		{"two controls", ar(version, control, control, data), `unexpected member "control.tar"`},
		{"two data", ar(version, control, data, data), `unexpected member "data.tar"`},
		{"no data", ar(version, control, signature), "no data.tar"},
		{"no control", ar(version, data, signature), "unexpected member"},
		{"unknown member", ar(version, control, data, part{"extra", nil}), `unexpected member "extra"`},
		{"many members", ar(append([]part{version}, make([]part, 20)...)...), "more than 16"},
		{"header cut off", sound[:len(sound)-len(data.data)-1], "cut off"},
		{"body cut off", sound[:len(sound)-1], "announced"},
		{"no end mark", patch(8+58, "xx"), "no end mark"},
		{"signed size", patch(8+48, "-4        "), "no valid size"},
		{"spaced size", patch(8+48, " 4        "), "no valid size"},
		{"huge size", patch(8+48, "9999999999"), "announced"},
		{"no padding", ar(version, control, data, signature)[:len(ar(version, control, data, signature))-1], "not padded"},
		{"odd padding", append(ar(version, control, data, signature)[:len(ar(version, control, data, signature))-1], 'x'), "not padded"},
		{"lzma", ar(version, part{"control.tar.lzma", nil}, data), "not supported"},
		{"no control file", ar(version, part{"control.tar", tarOf(file("./md5sums", ""))}, data), "no control file"},
		{"two control files", ar(version, part{"control.tar", tarOf(file("./control", goodControl), file("control", goodControl))}, data), "twice"},
		{"control is a link", ar(version, part{"control.tar", tarOf(link(tar.TypeSymlink, "control", "/etc/passwd"))}, data), "not a regular file"},
		{"two paragraphs", ar(version, controlPart(goodControl+"\n"+goodControl), data), "one paragraph"},
		{"no version", ar(version, controlPart("Package: a\nArchitecture: all\n"), data), "want Package"},
		{"field twice", ar(version, controlPart(goodControl+"version: 2\n"), data), "twice"},
		{"control too long", ar(version, controlPart(goodControl+"X: "+strings.Repeat("x", 300<<10)+"\n"), data), "at most"},
		{"control bomb", ar(version, part{"control.tar", tarOf(file("x", string(make([]byte, 20<<20))), file("control", goodControl))}, data), "more bytes than allowed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, err := Open(bytes.NewReader(tc.data), int64(len(tc.data)))
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("got %v", err)
			case tc.want == "" && p.Control() != (Control{Package: "demo", Version: "1.0-1", Architecture: "amd64", Depends: "a, b (>= 2)\n| c"}):
				t.Errorf("control: %+v", p.Control())
			case tc.want != "" && (!errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want one with %q", err, tc.want)
			}
		})
	}
}

// TestHostile extracts archives that want out, up or too much. None may pass,
// and none may touch the file outside.
func TestHostile(t *testing.T) {
	limits := DefaultLimits()
	limits.Entries, limits.FileBytes, limits.DataBytes = 100, 1<<20, 4<<20
	many := make([]entry, 101)
	for i := range many {
		many[i] = file(fmt.Sprint("f", i), "")
	}
	sparse := entry{tar.Header{Name: "s", Format: tar.FormatPAX, PAXRecords: map[string]string{"GNU.sparse.size": "9"}}, "x"}
	holes := tarOf(file("holes", ""))
	holes[156] = tar.TypeGNUSparse
	for _, tc := range []struct {
		name string
		data []byte
		want string
	}{
		{"traversal", tarOf(file("./../sentinel", "evil")), "not a clean path"},
		{"traversal inside", tarOf(file("./a/../../sentinel", "evil")), "not a clean path"},
		{"absolute", tarOf(file("/sentinel", "evil")), "not a clean path"},
		{"absolute behind dot", tarOf(file(".//sentinel", "evil")), "not a clean path"},
		{"empty name", tarOf(file("", "evil")), "not a clean path"},
		{"dot dot", tarOf(entry{tar.Header{Name: "./..", Typeflag: tar.TypeDir}, ""}), "not a clean path"},
		{"escape in a name", tarOf(file("a\x1b[2J", "")), "not a clean path"},
		{"newline in a name", tarOf(file("a\nb", "")), "not a clean path"},
		{"invalid UTF-8", tarOf(entry{tar.Header{Name: "a\xffb", Format: tar.FormatGNU}, ""}), "not a clean path"},
		{"long name", tarOf(file(strings.Repeat("d/", 600)+"f", "")), "not a clean path"},
		{"root is a file", tarOf(file("./.", "evil")), "root is no folder"},
		{"root is a link", tarOf(link(tar.TypeSymlink, "./", "/tmp")), "root is no folder"},
		{"symlink, then write", tarOf(link(tar.TypeSymlink, "d", "../outside"), file("d/sentinel", "evil")), "leads to"},
		{"symlink inside, then write", tarOf(link(tar.TypeSymlink, "d", "e"), file("d/f", "evil")), "is no folder"},
		{"file, then below it", tarOf(file("d", ""), file("d/f", "evil")), "is no folder"},
		{"symlink, then over it", tarOf(link(tar.TypeSymlink, "f", "g"), file("f", "evil")), "stands twice"},
		{"file twice", tarOf(file("f", "1"), file("./f", "2")), "stands twice"},
		{"folder over file", tarOf(file("f", "1"), entry{tar.Header{Name: "f/", Typeflag: tar.TypeDir}, ""}), "stands twice"},
		{"file over implied folder", tarOf(file("d/f", "1"), file("d", "2")), "stands twice"},
		{"absolute symlink", tarOf(link(tar.TypeSymlink, "l", "/etc/passwd")), "outside of the package"},
		{"symlink out", tarOf(link(tar.TypeSymlink, "a/l", "../../x")), "outside of the package"},
		{"symlink out by another", tarOf(link(tar.TypeSymlink, "p/q", ".."), link(tar.TypeSymlink, "l", "p/q/../x")), "outside of the package"},
		{"symlink to nothing", tarOf(link(tar.TypeSymlink, "l", "")), "unusable path"},
		{"hard link out", tarOf(link(tar.TypeLink, "l", "../sentinel")), "not a clean path"},
		{"hard link absolute", tarOf(link(tar.TypeLink, "l", "/etc/passwd")), "not a clean path"},
		{"hard link to nothing", tarOf(link(tar.TypeLink, "l", "f")), "no file before it"},
		{"hard link to a symlink", tarOf(link(tar.TypeSymlink, "s", "t"), link(tar.TypeLink, "l", "s")), "no file before it"},
		{"hard link to itself", tarOf(link(tar.TypeLink, "l", "l")), "no file before it"},
		{"character device", tarOf(entry{tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""}), "type"},
		{"block device", tarOf(entry{tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8}, ""}), "type"},
		{"pipe", tarOf(entry{tar.Header{Name: "pipe", Typeflag: tar.TypeFifo}, ""}), "type"},
		{"contiguous", tarOf(entry{tar.Header{Name: "c", Typeflag: tar.TypeCont}, ""}), "type"},
		{"unknown type", tarOf(entry{tar.Header{Name: "v", Typeflag: 'V'}, ""}), "type"},
		{"sparse", pax(sparse), "sparse"},
		{"sparse, old GNU", holes, "tar"},
		{"many entries", tarOf(many...), "more than 100 entries"},
		{"large file", tarOf(file("f", string(make([]byte, 1<<20+1)))), "allowed are"},
		{"large package", tarOf(file("a", string(make([]byte, 1<<20))), file("b", string(make([]byte, 1<<20))),
			file("c", string(make([]byte, 1<<20))), file("d", string(make([]byte, 1<<20)))), "more bytes than allowed"},
		{"no end", tarOf(file("f", "x"))[:1024], "has no end"},
		{"half an end", tarOf(file("f", "x"))[:1536], "has no end"},
		{"cut in a body", tarOf(file("f", string(noise(2000))))[:1024], "unexpected EOF"},
		{"nothing", nil, "has no end"},
		{"bytes behind the end", append(tarOf(file("f", "x")), "evil"...), "behind the end"},
		{"second archive", append(tarOf(file("f", "x")), tarOf(file("g", "y"))...), "behind the end"},
		{"header check sum", append([]byte("x"), tarOf(file("f", "x"))[1:]...), "tar"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			refuse(t, frame(tc.data), limits, tc.want)
		})
	}
	t.Run("zstd bomb", func(t *testing.T) {
		var b bytes.Buffer
		z, err := zstd.NewWriter(&b)
		must(err)
		_, err = z.Write(tarOf(file("f", "x"))[:1024])
		must(err)
		for range 64 {
			_, err = z.Write(make([]byte, 1<<20))
			must(err)
		}
		must(z.Close())
		refuse(t, ar(version, controlPart(goodControl), part{"data.tar.zst", b.Bytes()}), limits, "more bytes than allowed")
	})
	t.Run("zstd cut between frames", func(t *testing.T) {
		z, err := zstd.NewWriter(nil)
		must(err)
		whole := tarOf(file("f", "x"))
		refuse(t, ar(version, controlPart(goodControl), part{"data.tar.zst", z.EncodeAll(whole[:1024], nil)}), limits, "has no end")
		refuse(t, ar(version, controlPart(goodControl), part{"data.tar.zst", nil}), limits, "has no end")
	})
}

// pax keeps the records that Go's writer would refuse, by writing them under
// another name of the same length.
func pax(e entry) []byte {
	e.PAXRecords = map[string]string{"GNU_sparse_size": "9"}
	return bytes.Replace(tarOf(e), []byte("GNU_sparse_size"), []byte("GNU.sparse.size"), 1)
}

// refuse extracts a package that must not pass, beside a file that must not
// change.
func refuse(t *testing.T, data []byte, limits Limits, want string) {
	t.Helper()
	dir := t.TempDir()
	sentinel := filepath.Join(dir, "sentinel")
	must(os.WriteFile(sentinel, []byte("safe"), 0o644))
	must(os.MkdirAll(filepath.Join(dir, "root"), 0o755))
	root, err := os.OpenRoot(filepath.Join(dir, "root"))
	must(err)
	defer root.Close()

	err = open(t, data, limits).Extract(root, func(string) bool { return true })
	if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want one with %q", err, want)
	}
	if got, err := os.ReadFile(sentinel); err != nil || string(got) != "safe" {
		t.Errorf("the file outside now holds %q (%v)", got, err)
	}
	if all, _ := os.ReadDir(dir); len(all) != 2 {
		t.Errorf("something was written beside the root: %v", all)
	}
}

// TestBenign makes sure that the rules do not keep out what packages hold.
func TestBenign(t *testing.T) {
	data := tarOf(
		entry{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		entry{tar.Header{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		entry{tar.Header{Name: "./usr/", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		entry{tar.Header{Name: "./usr/su", Mode: 0o6755, Uname: "root", Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr.security.capability": "x"}}, "body"},
		file("./usr/..data", "dots"), file("usr/lib/x", "implied"),
		link(tar.TypeLink, "./usr/twin", "./usr/su"),
		link(tar.TypeSymlink, "./usr/up", "../usr/su"),
		link(tar.TypeSymlink, "./usr/here", "."),
		link(tar.TypeSymlink, "./etc", "/usr/etc"),
	)
	p := open(t, frame(data), DefaultLimits())
	must(p.Walk(func(hdr *tar.Header, _ io.Reader) error {
		if hdr.Mode&^0o777 != 0 || hdr.Uname != "" || hdr.PAXRecords != nil || !hdr.ModTime.IsZero() {
			t.Errorf("shown: %+v", hdr)
		}
		return nil
	}))
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	must(err)
	defer root.Close()
	if err := p.Extract(root, func(name string) bool { return name != "etc" }); err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(filepath.Join(dir, "usr/su"))
	if err != nil || info.Mode() != 0o755 {
		t.Errorf("setuid file: %v, %v", info.Mode(), err)
	}
	for name, want := range map[string]string{"usr/twin": "body", "usr/up": "body", "usr/..data": "dots", "usr/lib/x": "implied"} {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	err = p.Extract(root, func(name string) bool { return name == "usr/twin" })
	if err == nil || !strings.Contains(err.Error(), "left out") {
		t.Errorf("hard link without its file: %v", err)
	}
}

// TestReadFile reads what is there, and says what is in the way.
func TestReadFile(t *testing.T) {
	p := open(t, frame(tarOf(entry{tar.Header{Name: "./d/", Typeflag: tar.TypeDir}, ""}, file("./d/f", "body"), file("./none", ""), link(tar.TypeSymlink, "./d/l", "f"))), DefaultLimits())
	for _, tc := range []struct{ name, body, want string }{
		{"d/f", "body", ""}, {"none", "", ""}, {"d", "", "is a folder"}, {"d/l", "", `link to "f"`}, {"x", "", "does not exist"},
	} {
		got, err := p.ReadFile(tc.name, 4)
		if tc.want == "" && (err != nil || string(got) != tc.body) {
			t.Errorf("%s: %q, %v", tc.name, got, err)
		}
		if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want one with %q", tc.name, err, tc.want)
		}
	}
	if _, err := p.ReadFile("x", 4); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent file: %v", err)
	}
	if _, err := p.ReadFile("d/f", 3); err == nil {
		t.Error("a file beyond the size that the caller wants passes")
	}
}

// TestNoScriptRuns opens and extracts a package with a maintainer script.
func TestNoScriptRuns(t *testing.T) {
	mark := filepath.Join(t.TempDir(), "ran")
	control := part{"control.tar", tarOf(file("./control", goodControl),
		entry{tar.Header{Name: "./postinst", Mode: 0o755}, "#!/bin/sh\ntouch " + mark + "\n"},
		entry{tar.Header{Name: "./preinst", Mode: 0o755}, "#!/bin/sh\ntouch " + mark + "\n"})}
	p := open(t, ar(version, control, part{"data.tar", tarOf(file("f", "x"))}), DefaultLimits())
	root, err := os.OpenRoot(t.TempDir())
	must(err)
	defer root.Close()
	if err := p.Extract(root, func(string) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(mark); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the script ran (%v)", err)
	}
}

// FuzzOpen reads whole packages.
func FuzzOpen(f *testing.F) {
	f.Add(frame(tarOf(file("./a", "a"))))
	f.Add(ar(version, controlPart(goodControl), part{"_sig", nil}, part{"data.tar.gz", nil}))
	f.Fuzz(func(t *testing.T, data []byte) {
		limits := Limits{Entries: 50, FileBytes: 1 << 16, DataBytes: 1 << 18, ControlBytes: 1 << 18, FieldBytes: 1 << 12, PathBytes: 100, WindowBytes: 1 << 20}
		p, err := OpenWithin(bytes.NewReader(data), int64(len(data)), limits)
		if err != nil {
			return
		}
		check(t, p, limits)
	})
}

// FuzzData reads packages with any data.tar, by any of the compressions.
func FuzzData(f *testing.F) {
	f.Add("data.tar", tarOf(file("./a", "a"), link(tar.TypeLink, "b", "a"), link(tar.TypeSymlink, "l", "d/../a")))
	f.Add("data.tar", pax(entry{Header: tar.Header{Name: "s", Format: tar.FormatPAX}, body: "x"}))
	f.Add("data.tar.xz", []byte("\xfd7zXZ\x00"))
	f.Add("data.tar.zst", []byte("\x28\xb5\x2f\xfd"))
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		limits := Limits{Entries: 50, FileBytes: 1 << 16, DataBytes: 1 << 18, ControlBytes: 1 << 18, FieldBytes: 1 << 12, PathBytes: 100, WindowBytes: 1 << 20}
		all := ar(version, controlPart(goodControl), part{name, data})
		p, err := OpenWithin(bytes.NewReader(all), int64(len(all)), limits)
		if err != nil {
			return
		}
		check(t, p, limits)
	})
}

// check walks and extracts a package and holds the package to its promises.
func check(t *testing.T, p *Package, limits Limits) {
	seen := make(map[string]byte)
	var total int64
	_ = p.Walk(func(hdr *tar.Header, r io.Reader) error {
		if !fs.ValidPath(hdr.Name) || hdr.Name == "." || len(hdr.Name) > limits.PathBytes || hdr.Mode&^0o777 != 0 {
			t.Fatalf("shown: %+v", hdr)
		}
		if before, dup := seen[hdr.Name]; dup && (before != tar.TypeDir || hdr.Typeflag != tar.TypeDir) {
			t.Fatalf("%q twice", hdr.Name)
		}
		seen[hdr.Name] = hdr.Typeflag
		n, err := io.Copy(io.Discard, r)
		if total += n; total > limits.DataBytes || n > limits.FileBytes {
			t.Fatalf("%q: %d bytes, %d so far", hdr.Name, n, total)
		}
		return err
	})
	root, err := os.OpenRoot(t.TempDir())
	must(err)
	defer root.Close()
	_ = p.Extract(root, func(string) bool { return true })
}
