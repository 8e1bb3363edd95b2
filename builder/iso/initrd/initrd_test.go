package initrd

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/internal/oracle"
)

// pack makes an archive of files with cpio: "-> x" is a link to x, "/" a folder.
func pack(t testing.TB, files map[string]string) []byte {
	t.Helper()
	dir := t.TempDir()
	var names []string
	for name, text := range files {
		at := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(at), 0o755)
		if target, link := strings.CutPrefix(text, "-> "); err == nil && link {
			err = os.Symlink(target, at)
		} else if err == nil {
			err = os.WriteFile(at, []byte(text), 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	cmd := exec.Command(oracle.Tool(t, "cpio", "cpio"), "-o", "-H", "newc", "--quiet")
	cmd.Dir, cmd.Stdin = dir, strings.NewReader(strings.Join(names, "\n"))
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// through runs data through a program.
func through(t testing.TB, data []byte, tool, pkg string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(oracle.Tool(t, tool, pkg), args...)
	cmd.Stdin = bytes.NewReader(data)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// walk returns what an initrd holds.
func walk(data []byte) (map[string]string, int64, error) {
	found := map[string]string{}
	n, err := Walk(bytes.NewReader(data), func(e Entry, r io.Reader) error {
		switch {
		case e.Mode.Type() == fs.ModeSymlink:
			found[e.Path] = "-> " + e.Target
		case e.Mode.IsRegular():
			b, err := io.ReadAll(r)
			found[e.Path] = string(b)
			return err
		}
		return nil
	})
	return found, n, err
}

var (
	early = map[string]string{"kernel/x86/microcode/GenuineIntel.bin": strings.Repeat("microcode", 777), "init": "of the first"}
	main  = map[string]string{"init": "#!/bin/sh\nexec real\n", "bin": "-> usr/bin", "usr/bin/sh": strings.Repeat("shell ", 12345), "empty": ""}
	later = map[string]string{"late": "x"}
)

// TestWalk reads what cpio and the common programs packed: an early archive that is
// plain, one that is compressed, and one more behind it.
func TestWalk(t *testing.T) {
	want := map[string]string{}
	for _, files := range []map[string]string{early, main, later} {
		for name, text := range files {
			want[name] = text
		}
	}
	for name, args := range map[string][]string{
		"plain": {"cat", "coreutils"}, "gzip": {"gzip", "gzip", "-9"}, "xz": {"xz", "xz-utils", "--check=crc32"}, "zstd": {"zstd", "zstd", "-19"},
		"zstd without checksum": {"zstd", "zstd", "-1", "--no-check"}, "lz4": {"lz4", "lz4", "-l", "-9"}, "lzma": {"xz", "xz-utils", "--format=lzma"}, "bzip2": {"bzip2", "bzip2"},
	} {
		first := append(pack(t, early), make([]byte, 512)...)
		packed := func(files map[string]string) []byte { return through(t, pack(t, files), args[0], args[1], args[2:]...) }
		shapes := map[string][]byte{"two archives in one stream": slices.Concat(first, through(t, append(pack(t, main), pack(t, later)...), args[0], args[1], args[2:]...))}
		switch args[0] {
		case "gzip", "zstd", "cat":
			shapes["two streams"] = slices.Concat(first, packed(main), make([]byte, 4), packed(later))
			shapes["a plain one behind it"] = slices.Concat(first, packed(main), pack(t, later))
			shapes["another compression behind it"] = slices.Concat(first, packed(main), make([]byte, 4), through(t, pack(t, later), "xz", "xz-utils"))
		}
		for shape, data := range shapes {
			got, n, err := walk(data)
			if err != nil || n < 70_000 {
				t.Errorf("%s, %s: %d bytes, %v", name, shape, n, err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s (-want +got)\n%s", name, shape, diff)
			}
		}
	}
}

// TestMalformed: what is cut off, or is none, is said.
func TestMalformed(t *testing.T) {
	good := pack(t, main)
	packed := through(t, good, "zstd", "zstd")
	for name, data := range map[string][]byte{
		"nothing": nil, "zeros": make([]byte, 1000), "text": []byte("something else altogether"), "cut": good[:70_000], "in the header": good[:50],
		"cut while packed": packed[:len(packed)-9], "gzip of text": through(t, []byte("x"), "gzip", "gzip"), "name": []byte(strings.Replace(string(good), "070701", "07070x", 1)),
		"a large dictionary": append([]byte{0x5d, 0, 0, 0, 0x7f}, make([]byte, 100)...),
	} {
		if _, _, err := walk(data); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	stop := errors.New("stop")
	if _, err := Walk(bytes.NewReader(good), func(Entry, io.Reader) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("visit's error became %v", err)
	}
}

func FuzzInitrd(f *testing.F) {
	small := pack(f, map[string]string{"init": "#!/bin/sh\n", "bin": "-> usr/bin"})
	f.Add(small)
	for _, args := range [][]string{{"gzip", "gzip"}, {"xz", "xz-utils"}, {"zstd", "zstd"}, {"lz4", "lz4", "-l"}, {"xz", "xz-utils", "--format=lzma"}, {"bzip2", "bzip2"}} {
		f.Add(through(f, small, args[0], args[1], args[2:]...))
		f.Add(append(through(f, small, args[0], args[1], args[2:]...), small...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var sum int64
		n, err := Walk(bytes.NewReader(data), func(e Entry, r io.Reader) error {
			if strings.HasPrefix(e.Path, "../") || strings.HasPrefix(e.Path, "/") {
				t.Errorf("path %q", e.Path)
			}
			k, err := io.Copy(io.Discard, r)
			sum += k
			return err
		})
		if err == nil && sum > n {
			t.Errorf("%d bytes of %d", sum, n)
		}
	})
}
