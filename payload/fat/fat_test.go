package fat

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// content is a file of several clusters.
var content = bytes.Repeat([]byte("a network of a stick\n"), 500)

// tool runs a program of another package.
func tool(t testing.TB, debian, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s (Debian package %s): %v: %s", name, debian, err, out)
	}
}

// image makes a file system with mkfs.fat and mtools and returns its bytes.
func image(t testing.TB, size int64, options ...string) []byte {
	t.Helper()
	dir := t.TempDir()
	disk, file := filepath.Join(dir, "disk"), filepath.Join(dir, "file")
	if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, size), os.WriteFile(file, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	tool(t, "dosfstools", "mkfs.fat", append(options, disk)...)
	tool(t, "mtools", "mmd", "-i", disk, "::/EFI", "::/farboot")
	for range 3 { // so that clusters are not in a row
		tool(t, "mtools", "mcopy", "-o", "-i", disk, file, "::/EFI/other file with a long name.txt")
		tool(t, "mtools", "mcopy", "-o", "-i", disk, file, "::/farboot/networks.json")
	}
	tool(t, "mtools", "mcopy", "-o", "-i", disk, file, "::/farboot/SHORT.TXT")
	tool(t, "mtools", "mdel", "-i", disk, "::/EFI/other file with a long name.txt")
	data, err := os.ReadFile(disk)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What dosfstools and mtools write is read: each kind, sectors of 512 and of 4096
// bytes, large clusters.
func TestReadFile(t *testing.T) {
	for name, c := range map[string]struct {
		size    int64
		options []string
	}{
		"FAT12":              {1 << 20, []string{"-F", "12"}},
		"FAT16":              {16 << 20, []string{"-F", "16"}},
		"FAT32":              {40 << 20, []string{"-F", "32"}},
		"sectors of 4096":    {300 << 20, []string{"-F", "32", "-S", "4096", "-s", "1"}},
		"clusters of 32 KiB": {256 << 20, []string{"-F", "16", "-s", "64"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := bytes.NewReader(image(t, c.size, c.options...))
			for _, path := range []string{"farboot/networks.json", "FARBOOT/Networks.JSON", "farboot/short.txt", "farboot/NETWOR~1.JSO"} {
				if got, err := ReadFile(r, path, 1<<20); err != nil || !bytes.Equal(got, content) {
					t.Errorf("%s: %d bytes, %v", path, len(got), err)
				}
			}
			for _, path := range []string{"networks.json", "farboot/other", "farboot/short.txt/x", "EFI/other file with a long name.txt", "", "farboot/"} {
				if _, err := ReadFile(r, path, 1<<20); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%q: %v, want %v", path, err, fs.ErrNotExist)
				}
			}
			if _, err := ReadFile(r, "farboot/networks.json", int64(len(content))-1); err == nil {
				t.Error("a file that is too large was read")
			}
			if _, err := ReadFile(r, "farboot", 1<<20); err == nil {
				t.Error("a folder was read")
			}
		})
	}
}

// What is none, or cut off, is refused and not read beyond.
func TestMalformed(t *testing.T) {
	good := image(t, 1<<20, "-F", "12")
	for name, data := range map[string][]byte{
		"nothing": nil, "zeros": make([]byte, 4096), "text": []byte(strings.Repeat("text", 1000)), "a boot sector": good[:512], "half": good[:4096],
	} {
		if _, err := ReadFile(bytes.NewReader(data), "farboot/networks.json", 1<<20); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	loop := bytes.Clone(good)
	for i := range 512 { // each cluster points to itself or to another one
		loop[512+i] = 0x02
	}
	if got, err := ReadFile(bytes.NewReader(loop), "farboot/nothing", 1<<20); err == nil {
		t.Errorf("a chain without an end gave %d bytes", len(got))
	}
}

func FuzzReadFile(f *testing.F) {
	good := image(f, 64<<10, "-F", "12", "-s", "1")
	f.Add(good[:20<<10])
	f.Add(make([]byte, 512))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := ReadFile(bytes.NewReader(data), "farboot/networks.json", 16<<10)
		if err == nil && len(got) > 16<<10 || err != nil && got != nil {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	})
}
