package diskfile

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/builder/internal/oracle"
)

// Images are made by qemu-img, and judged by their headers.
func TestFormat(t *testing.T) {
	tool := oracle.Tool(t, "qemu-img", "qemu-utils")
	dir := t.TempDir()
	create := func(name string, args ...string) string {
		path := filepath.Join(dir, name)
		oracle.Output(t, tool, append(append([]string{"create", "-q"}, args...), path, "1M")...)
		return path
	}
	base := create("base.qcow2", "-f", "qcow2")
	for want, path := range map[string]string{
		"raw":                          create("plain.img", "-f", "raw"),
		"qcow2":                        base,
		"names another file (backing)": create("backing.qcow2", "-f", "qcow2", "-b", base, "-F", "qcow2"),
		"names another file (data)":    create("data.qcow2", "-f", "qcow2", "-o", "data_file="+filepath.Join(dir, "data.raw")),
		"shorter":                      file(t, dir, "short", "QFI"),
		"unpack it by zstd":            file(t, dir, "image.zst", "\x28\xb5\x2f\xfd"+strings.Repeat("x", 600)),
	} {
		f, err := OpenLocked(path, os.O_RDONLY, unix.LOCK_SH)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		got, err := Format(f)
		want, _, _ := strings.Cut(want, " (")
		if err == nil && got != want || err != nil && (!errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %q, %v; want %q", filepath.Base(path), got, err, want)
		}
	}
}

// A QEMU that writes to an image locks bytes of it, as here.
func TestRunning(t *testing.T) {
	path := file(t, t.TempDir(), "image", strings.Repeat("x", 600))
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := unix.FcntlFlock(other.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Start: lockWrite, Len: 1}); err != nil {
		t.Fatal(err)
	}
	f, err := OpenLocked(path, os.O_RDONLY, unix.LOCK_SH)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := Format(f); !errors.Is(err, ErrBusy) {
		t.Errorf("error %v, want that it is in use", err)
	}
}

func TestOpenLocked(t *testing.T) {
	dir := t.TempDir()
	path := file(t, dir, "image", "x")
	open := func(how int) error {
		f, err := OpenLocked(path, os.O_RDONLY, how)
		if err == nil {
			t.Cleanup(func() { f.Close() })
		}
		return err
	}
	if err := errors.Join(open(unix.LOCK_SH), open(unix.LOCK_SH)); err != nil {
		t.Errorf("two who read: %v", err)
	}
	if err := open(unix.LOCK_EX); !errors.Is(err, ErrBusy) {
		t.Errorf("one who writes beside: %v", err)
	}
	if _, err := OpenLocked(dir, os.O_RDONLY, unix.LOCK_SH); !errors.Is(err, ErrFormat) {
		t.Errorf("a folder: %v", err)
	}
}

// file writes a file.
func file(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
