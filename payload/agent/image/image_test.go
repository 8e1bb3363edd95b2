package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const build = "0123456789abcdef"

// machine is a made-up machine, whose mount unpacks an image with bsdtar.
type machine struct {
	Image
	said    []string
	mounted []string
}

func newMachine(t *testing.T) *machine {
	m := &machine{Image: Image{Sys: t.TempDir(), Dev: t.TempDir(), Dir: filepath.Join(t.TempDir(), "medium"), Build: build}}
	m.Need = func(...string) {}
	m.Log = func(format string, args ...any) { m.said = append(m.said, fmt.Sprintf(format, args...)) }
	m.mount = func(device, dir string) error {
		m.mounted = append(m.mounted, filepath.Base(device))
		if out, err := exec.Command("bsdtar", "-x", "-f", device, "-C", dir).CombinedOutput(); err != nil {
			return fmt.Errorf("bsdtar (Debian package libarchive-tools): %w: %s", err, out)
		}
		return nil
	}
	m.unmount = func(dir string) error { return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o700)) }
	return m
}

// drive adds a drive, or a partition, with these bytes.
func (m *machine) drive(t *testing.T, name string, partition bool, data []byte) {
	t.Helper()
	dir := filepath.Join(m.Sys, "class/block", name)
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(m.Dev, name), data, 0o600)); err != nil {
		t.Fatal(err)
	}
	if partition {
		if err := os.WriteFile(filepath.Join(dir, "partition"), []byte("1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// iso makes an image of some build that has one object.
func iso(t *testing.T, build string) []byte {
	t.Helper()
	dir, name := t.TempDir(), filepath.Join(t.TempDir(), "image")
	for file, text := range map[string]string{"boot/" + build: "", "farboot/objects/abc": "of " + build} {
		path := filepath.Join(dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("xorriso", "-as", "mkisofs", "-R", "-o", name, dir).CombinedOutput(); err != nil {
		t.Fatalf("xorriso (Debian package xorriso): %v: %s", err, out)
	}
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// This medium's image is found among other disks, partitions and other media, and
// mounted once.
func TestOpen(t *testing.T) {
	m := newMachine(t)
	m.drive(t, "loop0", false, iso(t, build))
	m.drive(t, "sda", false, make([]byte, 1<<20))
	m.drive(t, "sdb", false, []byte("short"))
	m.drive(t, "sdc", false, iso(t, "another"))
	m.drive(t, "sdd1", true, iso(t, build))
	if _, err := m.Open("farboot/objects/abc"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without the medium: %v", err)
	}
	m.drive(t, "sr0", false, iso(t, build))
	for range 2 {
		f, err := m.Open("farboot/objects/abc")
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(f)
		if f.Close(); err != nil || string(data) != "of "+build {
			t.Errorf("%q, %v", data, err)
		}
	}
	if want := []string{"sdc", "sdc", "sr0"}; !slices.Equal(m.mounted, want) {
		t.Errorf("mounted %q, want %q", m.mounted, want)
	}
	if _, err := m.Open("farboot/objects/other"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an object that is not there: %v", err)
	}
	if _, err := m.Open("../" + filepath.Base(m.Dev)); err == nil {
		t.Error("a path leads out of the image")
	}
}

// A drive that cannot be mounted or breaks the program is told, and the next one
// is looked at.
func TestBadDrives(t *testing.T) {
	m := newMachine(t)
	m.drive(t, "sda", false, iso(t, build))
	m.drive(t, "sdb", false, iso(t, build))
	good := m.mount
	m.mount = func(device, dir string) error {
		if filepath.Base(device) == "sda" {
			panic("boom")
		}
		return good(device, dir)
	}
	f, err := m.Open("farboot/objects/abc")
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if all := strings.Join(m.said, "\n"); !strings.Contains(all, "sda: the agent crashed (") || !strings.Contains(all, "sdb") {
		t.Errorf("said %q", all)
	}
}
