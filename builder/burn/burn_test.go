package burn

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/flash/disks"
)

// sysfs is a machine with a system disk, a free one, a stick and one of them again
// without a serial number.
func sysfs() (sys, proc fs.FS) {
	file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s + "\n")} }
	link := func(s string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("../devices/" + s), Mode: fs.ModeSymlink}
	}
	m := fstest.MapFS{
		"block/sda": link("ata1/sda"), "block/sdb": link("ata2/sdb"), "block/sdc": link("usb1/1-2/sdc"), "block/sdd": link("usb1/1-3/sdd"),
	}
	for dir, files := range map[string][]string{
		"ata1/sda":     {"dev=8:0", "size=1000000", "device/vpd_pg80=\x00\x80\x00\x04SYS1", "sda1/partition=1", "sda1/dev=8:1"},
		"ata2/sdb":     {"dev=8:16", "size=2000000", "device/vpd_pg80=\x00\x80\x00\x05FREE1", "device/model=DISK"},
		"usb1/1-2/sdc": {"dev=8:32", "size=3000000", "removable=1", "device/vpd_pg80=\x00\x80\x00\x06STICK1", "sdc1/partition=1", "sdc1/dev=8:33"},
		"usb1/1-3/sdd": {"dev=8:48", "size=4000000", "ro=1"},
	} {
		for _, f := range files {
			name, content, _ := strings.Cut(f, "=")
			m["devices/"+dir+"/"+name] = file(content)
		}
	}
	return m, fstest.MapFS{"self/mountinfo": file("36 35 8:1 / / rw - ext4 /dev/sda1 rw")}
}

func TestFind(t *testing.T) {
	sys, proc := sysfs()
	for path, want := range map[string]struct {
		err      error
		text     string
		external bool
		confirm  string
	}{
		"/dev/sda":    {err: ErrSystem, text: "serial SYS1, 512.0 MB (sda1 is mounted on /)"},
		"/dev/sda1":   {err: ErrDevice, text: "a partition of /dev/sda"},
		"/dev/sdb":    {confirm: "FREE1"},
		"/dev/sdc":    {confirm: "STICK1", external: true},
		"/dev/sdc1":   {err: ErrDevice, text: "a partition of /dev/sdc"},
		"/dev/sdd":    {err: ErrSystem, text: "read-only"},
		"/dev/null":   {err: ErrDevice},
		"/backup/sdb": {err: ErrDevice},
	} {
		got, err := find(sys, proc, path, path)
		if !errors.Is(err, want.err) || err != nil && !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v; want %v with %q", path, err, want.err, want.text)
		}
		if err == nil && (got.External() != want.external || got.Confirm() != want.confirm) {
			t.Errorf("%s: %+v", path, got)
		}
	}
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, make([]byte, 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(sys, proc, name, false); !errors.Is(err, ErrDevice) {
		t.Errorf("a file: %v", err)
	}
	if got, err := Find(sys, proc, name, true); err != nil || !got.File || got.Size != 1000 || got.Confirm() != "1000" {
		t.Errorf("a file that is allowed: %+v, %v", got, err)
	}
	if _, err := Find(sys, proc, t.TempDir(), true); !errors.Is(err, ErrDevice) {
		t.Errorf("a folder: %v", err)
	}
	if _, err := Find(sys, proc, filepath.Join(t.TempDir(), "none"), true); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

func TestConfirm(t *testing.T) {
	for want, d := range map[string]disks.Disk{
		"S1":    {Serial: "S1", IDs: []string{"naa.1"}, Size: 5},
		"naa.1": {IDs: []string{"naa.1", "wwn-0x1"}, Size: 5},
		"5":     {Size: 5},
	} {
		if got := (Target{Disk: d}).Confirm(); got != want {
			t.Errorf("%+v: %q; want %q", d, got, want)
		}
	}
}

// TestWrite writes an image in all its forms to a file.
func TestWrite(t *testing.T) {
	data := make([]byte, 5<<20+512)
	_, _ = rand.NewChaCha8([32]byte{}).Read(data) // never fails
	dir := t.TempDir()
	raw := filepath.Join(dir, "image")
	if err := os.WriteFile(raw, data, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tool := range [][]string{nil, {"xz", "-0", "--keep"}, {"zstd", "-q"}, {"gzip", "-1", "--keep"}} {
		name := raw
		if tool != nil {
			if out, err := exec.CommandContext(t.Context(), tool[0], append(tool[1:], raw)...).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s\n(Debian packages xz-utils, zstd, gzip)", tool[0], err, out)
			}
			name += map[string]string{"xz": ".xz", "zstd": ".zst", "gzip": ".gz"}[tool[0]]
		}
		m, err := Load(t.Context(), name, func(done, total int64) {
			if done > total {
				t.Errorf("%d of %d bytes read", done, total)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		disk := filepath.Join(dir, "disk")
		if err := os.WriteFile(disk, make([]byte, 8<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		target, err := Find(os.DirFS("/sys"), os.DirFS("/proc"), disk, true)
		if err != nil {
			t.Fatal(err)
		}
		result, err := m.Write(t.Context(), target, func(flash.Progress) {}, t.Logf)
		if err != nil || result.Written != int64(len(data)) {
			t.Errorf("%s: %+v, %v", name, result, err)
		}
		if got, err := os.ReadFile(disk); err != nil || !bytes.Equal(got[:len(data)], data) {
			t.Errorf("%s: other bytes, %v", name, err)
		}
	}
	m, err := Load(t.Context(), raw, func(int64, int64) {})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(raw, data[:len(data)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	target, err := Find(os.DirFS("/sys"), os.DirFS("/proc"), filepath.Join(dir, "disk"), true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Write(t.Context(), target, nil, t.Logf); !errors.Is(err, flash.ErrWrong) {
		t.Errorf("an image that changed since it was read: %v", err)
	}
	if _, err := Load(t.Context(), dir, func(int64, int64) {}); err == nil {
		t.Error("a folder is taken for an image")
	}
}
