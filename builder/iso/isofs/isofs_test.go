package isofs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/internal/oracle"
)

// files are what the images of these tests hold.
var files = map[string]string{
	"live/vmlinuz":                           "kernel",
	"live/initrd.img":                        strings.Repeat("initrd", 1000),
	"boot/grub/grub.cfg":                     "menuentry",
	strings.Repeat("long name ", 20) + "end": "long",
	"a/b/c/d/e/f/g/h/i/j/deep":               "deeper than eight folders",
	"dists/empty":                            "",
}

// links are symbolic links of those images.
var links = map[string]string{
	"vmlinuz": "live/vmlinuz", "live/up": "../boot/grub/grub.cfg", "live/root": "/live/initrd.img", "folder": "a/b", "live/loop": "loop",
	"long": strings.Repeat("x/", 120) + "../" + strings.Repeat("y", 100),
}

// makeISO makes an image of files with xorriso.
func makeISO(t testing.TB, args ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	for name, text := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	out := filepath.Join(dir, "new.iso")
	args = append([]string{"-as", "mkisofs", "-quiet", "-V", "LABEL", "-o", out}, append(args, root)...)
	oracle.Output(t, oracle.Tool(t, "xorriso", "xorriso"), args...)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// walk lists an image: a file by what it holds, a link by its target.
func walk(v *Volume, dir string, depth int, found map[string]string) error {
	list, err := v.List(dir)
	if err != nil || depth == 0 {
		return err
	}
	for _, f := range list {
		switch {
		case f.Mode.IsDir():
			err = walk(v, f.Path, depth-1, found)
		case f.Mode == fs.ModeSymlink:
			found[f.Path[1:]] = "-> " + f.Target
		case f.Mode.IsRegular():
			var data []byte
			data, err = v.ReadFile(f.Path, 1<<20)
			found[f.Path[1:]] = string(data)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestRockRidge reads what xorriso wrote: long names, links, folders that had to be
// moved.
func TestRockRidge(t *testing.T) {
	want := map[string]string{}
	for name, text := range files {
		want[name] = text
	}
	for name, target := range links {
		want[name] = "-> " + target
	}
	for name, args := range map[string][]string{"plain": {"-R"}, "Joliet beside it": {"-R", "-J", "-joliet-long"}, "deep folders moved": {"-R", "-disallow_dir_id_ext"}} {
		data := makeISO(t, args...)
		v, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		if err := walk(v, "/", 20, got); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" || v.Label != "LABEL" {
			t.Errorf("%s: label %q (-want +got)\n%s", name, v.Label, diff)
		}
	}
}

// TestFind: paths lead through links, as Linux follows them.
func TestFind(t *testing.T) {
	data := makeISO(t, "-R")
	v, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"/vmlinuz": "/live/vmlinuz", "vmlinuz": "/live/vmlinuz", "/live/up": "/boot/grub/grub.cfg", "/live/root": "/live/initrd.img",
		"/folder/c/d/../d/e": "/a/b/c/d/e", "/LIVE/Vmlinuz": "/live/vmlinuz", "/": "/",
	} {
		f, err := v.Find(name)
		if err != nil || f.Path != want {
			t.Errorf("%s: %q, %v, want %q", name, f.Path, err, want)
		}
		if f.Mode.IsRegular() && !bytes.HasPrefix(data[f.Offset:], []byte(files[want[1:]])) {
			t.Errorf("%s does not lie at %d", name, f.Offset)
		}
	}
	for name, want := range map[string]error{"/nothing": fs.ErrNotExist, "/live/vmlinuz/x": nil, "/live/loop": ErrLink, "/long": fs.ErrNotExist} {
		if f, err := v.Find(name); err == nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %+v, %v, want %v", name, f, err, want)
		}
	}
	if _, err := v.ReadFile("/live/initrd.img", 5999); err == nil {
		t.Error("more was read than allowed")
	}
}

// TestPlain: without Rock Ridge names are what is left of them.
func TestPlain(t *testing.T) {
	data := makeISO(t, "--norock", "-iso-level", "3")
	v, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := v.ReadFile("/live/initrd.img", 1<<20); err != nil || string(got) != files["live/initrd.img"] {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// TestMalformed: what an image says of itself leads nowhere else.
func TestMalformed(t *testing.T) {
	good := makeISO(t, "-R")
	root := int(good[16*block+156+2]) * block
	for name, breakIt := range map[string]func([]byte) []byte{
		"empty":               func([]byte) []byte { return nil },
		"cut":                 func(b []byte) []byte { return b[:17*block] },
		"no descriptor":       func(b []byte) []byte { b[16*block+1] = 'X'; return b },
		"blocks of 512":       func(b []byte) []byte { b[16*block+129] = 2; return b },
		"root behind the end": func(b []byte) []byte { b[16*block+156+5] = 0x7f; return b },
		"large root":          func(b []byte) []byte { b[16*block+156+13] = 0x7f; return b },
		"short record":        func(b []byte) []byte { b[root+136] = 20; b[root] = 5; return b },
	} {
		data := breakIt(slices.Clone(good))
		v, err := Open(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			_, err = v.List("/")
		}
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzISO(f *testing.F) {
	for _, args := range [][]string{{"-R"}, {"--norock"}, {"-R", "-disallow_dir_id_ext"}} {
		f.Add(makeISO(f, append(args, "-no-pad")...)[16*block:])
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		data = append(make([]byte, 16*block), data...)
		v, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		found := map[string]string{}
		_ = walk(v, "/", 3, found) // what it finds lies within data, or it panics
		for name := range links {
			if file, err := v.Find(name); err == nil && file.Offset+file.Size > int64(len(data)) && file.Mode.IsRegular() {
				if _, err := v.Open(file); err == nil {
					t.Fatalf("%+v in %d bytes", file, len(data))
				}
			}
		}
	})
}
