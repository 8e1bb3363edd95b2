package unsquash

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/internal/oracle"
)

// source is a folder with files of all shapes: programs, holes, many small ones,
// links, and some that take several blocks.
func source(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	program, err := os.ReadFile(oracle.Tool(t, "unsquashfs", "squashfs-tools"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{
		"usr/bin/program": program, "holes": append(make([]byte, 1<<20), "end"...), "empty": nil, "noise": oracle.Random(1, 300_000),
		"exact": bytes.Repeat([]byte("x"), 256<<10), strings.Repeat("n", 255): []byte("long name"),
	}
	for i := range 600 { // more than 256 in a folder, and more fragments than one block
		files[fmt.Sprintf("many/%03d", i)] = oracle.Random(uint64(i), i*7)
	}
	for name, data := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"bin": "usr/bin", "many/up": "../empty"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// squash makes an image of a folder with mksquashfs.
func squash(t testing.TB, dir string, args ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "image")
	oracle.Output(t, oracle.Tool(t, "mksquashfs", "squashfs-tools"), append([]string{dir, out, "-quiet", "-no-progress"}, args...)...)
	data, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// walk lists what lies below dir: files by what they hold, links by their targets.
func walk(s *FS, dir File, at string, found map[string]string, most *int) error {
	all, err := s.List(dir)
	if err != nil {
		return err
	}
	for _, f := range all {
		if *most--; *most < 0 {
			return errors.New("enough")
		}
		name := path.Join(at, f.Name)
		switch {
		case f.Mode.IsDir():
			err = walk(s, f, name, found, most)
		case f.Mode.Type() == fs.ModeSymlink:
			found[name] = "-> " + f.Target
		case f.Mode.IsRegular():
			var r io.Reader
			if r, err = s.Read(f); err == nil {
				var data []byte
				data, err = io.ReadAll(io.LimitReader(r, 4<<20))
				found[name] = string(data)
			}
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// TestRead: whatever mksquashfs makes of a folder, it is read back.
func TestRead(t *testing.T) {
	dir := source(t)
	want := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(name, dir+"/")
		if err != nil || e.IsDir() {
			return err
		}
		if e.Type() == fs.ModeSymlink {
			target, err := os.Readlink(name)
			want[rel] = "-> " + target
			return err
		}
		data, err := os.ReadFile(name)
		want[rel] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"gzip": {"-comp", "gzip"}, "xz": {"-comp", "xz"}, "xz with a filter": {"-comp", "xz", "-Xbcj", "x86", "-b", "1M"}, "lz4": {"-comp", "lz4"},
		"zstd": {"-comp", "zstd", "-b", "256K"}, "lzma": {"-comp", "lzma"}, "plain": {"-noI", "-noD", "-noF"}, "no fragments": {"-no-fragments", "-comp", "zstd"},
		"small blocks": {"-b", "4K", "-comp", "zstd", "-no-exports"},
	} {
		data := squash(t, dir, args...)
		s, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		root, err := s.Root()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got, most := map[string]string{}, 1<<20
		if err := walk(s, root, "", got, &most); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !cmp.Equal(want, got) {
			for n := range want {
				if got[n] != want[n] {
					t.Errorf("%s: %s: %d bytes, want %d", name, n, len(got[n]), len(want[n]))
				}
			}
		}
	}
}

// TestRefused: what cannot be read is told by its kind.
func TestRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), bytes.Repeat([]byte("text "), 10_000), 0o644); err != nil {
		t.Fatal(err)
	}
	good := squash(t, dir, "-comp", "zstd")
	for name, c := range map[string]struct {
		breakIt func([]byte) []byte
		want    error
	}{
		"empty":     {func([]byte) []byte { return nil }, ErrMalformed},
		"cut":       {func(b []byte) []byte { return b[:200] }, ErrMalformed},
		"blocks":    {func(b []byte) []byte { b[12] = 1; return b }, ErrMalformed},
		"version":   {func(b []byte) []byte { b[28] = 3; return b }, ErrMalformed},
		"lzo":       {func(b []byte) []byte { b[20] = 3; return b }, ErrCompression},
		"other":     {func(b []byte) []byte { b[20] = 9; return b }, ErrCompression},
		"root":      {func(b []byte) []byte { b[34] = 0xff; return b }, ErrMalformed},
		"a block":   {func(b []byte) []byte { copy(b[superSize:], "garbage garbage"); return b }, ErrMalformed},
		"fragments": {func(b []byte) []byte { b[16] = 0; return b }, ErrMalformed},
	} {
		data := c.breakIt(slices.Clone(good))
		s, err := Open(bytes.NewReader(data), int64(len(data)))
		if err == nil {
			var root File
			if root, err = s.Root(); err == nil {
				most := 100
				err = walk(s, root, "", map[string]string{}, &most)
			}
		}
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func FuzzSquashfs(f *testing.F) {
	dir := f.TempDir()
	for name, data := range map[string]string{"a": "text", "b": strings.Repeat("text ", 2000), "c": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		f.Fatal(err)
	}
	for _, args := range [][]string{{"-comp", "gzip"}, {"-comp", "xz", "-Xbcj", "x86"}, {"-comp", "lz4"}, {"-comp", "zstd"}, {"-comp", "lzma"}, {"-noI", "-noD", "-noF"}} {
		f.Add(squash(f, dir, append(args, "-nopad")...))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		if root, err := s.Root(); err == nil {
			most := 20
			_ = walk(s, root, "", map[string]string{}, &most)
		}
	})
}
