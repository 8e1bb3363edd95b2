package initramfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"github.com/cavaliergopher/cpio"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/farboot/farboot/builder/tree"
)

// entry is what an archive says of a file.
type entry struct {
	Mode    cpio.FileMode
	Content string // or a symlink's target
	Inode   int64
}

// readBack returns what cavaliergopher's reader finds in an archive.
func readBack(t *testing.T, archive []byte) (names []string, found map[string]entry) {
	t.Helper()
	found = map[string]entry{}
	r := cpio.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return names, found
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		found[h.Name] = entry{h.Mode, h.Linkname + string(data), h.Inode}
	}
}

// FuzzCpioIndex holds that every layer that is not refused comes back whole:
// its own reader finds each name, type and content and no more, folders first.
func FuzzCpioIndex(f *testing.F) {
	f.Add("init", "lib/modules/6.1/a b.ko", "bin", "usr/bin", "dev/console", []byte("#!"), uint16(0o755))
	f.Add("a/b/c", "a/b", "a", "x", "TRAILER!!!", []byte{}, uint16(0))
	f.Add("a", "b\n", "../c", "\x00", "d/"+strings.Repeat("e", 4094), []byte("070701"), uint16(0o7777))
	f.Add("x/TRAILER!!!", "\xff", "-", "*", "?", []byte("abc"), uint16(0o640))
	f.Fuzz(func(t *testing.T, file, other, link, target, device string, data []byte, perm uint16) {
		content := tree.Bytes(file, data)
		content.Mode = fs.FileMode(perm) & fs.ModePerm
		files := append(FromTree(content, tree.Bytes(other, nil)), Symlink(link, target), CharDevice(device, 0o600, 5, 1))
		var b bytes.Buffer
		if err := Pack(&b, Layer{Files: files}, None); err != nil {
			if !errors.Is(err, ErrInvalid) || b.Len() > 0 {
				t.Fatalf("%v after %d bytes", err, b.Len())
			}
			return
		}
		want := map[string]entry{}
		for _, f := range files {
			for i, c := range f.Path {
				if c == '/' {
					want[f.Path[:i]] = entry{Mode: cpio.TypeDir | 0o755}
				}
			}
		}
		want[file] = entry{Mode: cpio.TypeReg | cpio.FileMode(content.Mode), Content: string(data)}
		want[other] = entry{Mode: cpio.TypeReg | 0o644}
		want[link] = entry{Mode: cpio.TypeSymlink | 0o777, Content: target}
		want[device] = entry{Mode: cpio.TypeChar | 0o600}
		names, got := readBack(t, b.Bytes())
		if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(entry{}, "Inode")); diff != "" || len(names) != len(want) {
			t.Fatal(diff, names)
		}
		seen := map[string]bool{".": true}
		for _, n := range names {
			if dir := n[:max(0, strings.LastIndexByte(n, '/'))]; dir != "" && !seen[dir] {
				t.Fatalf("%q stands before its folder in %q", n, names)
			}
			seen[n] = true
		}
	})
}

// TestCpioToolAgrees holds the same against the cpio command, for names that
// other tools have stumbled over.
func TestCpioToolAgrees(t *testing.T) {
	l := Layer{Files: FromTree(
		tree.Bytes("a", []byte("070701")), tree.Bytes("b ", nil), tree.Bytes("-c", nil), tree.Bytes("d*/?", nil),
		tree.Bytes("ü/ß", nil), tree.Bytes("x/TRAILER!!!", []byte("TRAILER!!!")),
		tree.Bytes("e/"+strings.Repeat("f/", 2000)+"g", []byte("deep")),
	)}
	packed := pack(t, l, None)
	names, _ := readBack(t, packed)
	cmd := exec.Command(need(t, "cpio", "cpio"), "-it", "--quiet", "--null")
	cmd.Stdin = bytes.NewReader(packed)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' || r == 0 })
	if diff := cmp.Diff(names, listed); diff != "" {
		t.Error(diff)
	}
}
