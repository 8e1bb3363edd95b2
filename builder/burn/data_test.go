package burn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/fat"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/flash/table"
)

// tool runs a program of a Debian package, which must succeed.
func tool(t *testing.T, pkg, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC")
	if path, err := exec.LookPath("/usr/sbin/" + name); err == nil {
		cmd.Path, cmd.Err = path, nil
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q (Debian package %s): %v\n%s", name, args, pkg, err, out)
	}
	return string(out)
}

// medium is an image of some MiB with two partitions, of a kind or of none.
func medium(t *testing.T, options ...string) *Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	sparse(t, path, 8<<20)
	if len(options) > 0 {
		tool(t, "gdisk", "sgdisk", append(options, path)...)
	}
	m, err := Load(t.Context(), path, func(int64, int64) {})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// sparse makes a file of zeros.
func sparse(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		err = errors.Join(f.Truncate(size), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// disk makes a file in the place of a disk, with the image on it.
func disk(t *testing.T, m *Image, size int64) Target {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	sparse(t, path, size)
	target, err := Find(nil, nil, path, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Write(t.Context(), target, func(flash.Progress) {}, t.Logf); err != nil {
		t.Fatal(err)
	}
	return target
}

var twoPartitions = []string{"-n", "1:2048:+2M", "-t", "1:ef00", "-n", "2:8192:+64K", "-c", "2:farboot state 0123456789abcdef"}

// Behind the image there is a file system that others take for one, in a table that
// others find no fault in; what the image has stays.
func TestAddData(t *testing.T) {
	m := medium(t, twoPartitions...)
	for _, size := range []int64{80 << 20, 300<<20 + 512*7, 1 << 30, 9 << 30, 20 << 30} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			target := disk(t, m, size)
			if err := m.CheckData(target); err != nil {
				t.Fatal(err)
			}
			got, err := m.AddData(t.Context(), target)
			if err != nil {
				t.Fatal(err)
			}
			if want := min(size-12<<20, maxData); got < want {
				t.Errorf("%d bytes, want %d", got, want)
			}
			if out := tool(t, "gdisk", "sgdisk", "-v", target.Node); !strings.Contains(out, "No problems found") {
				t.Error(out)
			}
			if out := tool(t, "gdisk", "sgdisk", "-i", "3", target.Node); !strings.Contains(out, "'farboot data'") || !strings.Contains(out, "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7") {
				t.Error(out)
			}
			checkFAT(t, target, got)
			checkImage(t, m, target)
		})
	}
}

// checkFAT asks others about the file system, writes a file and reads it back.
func checkFAT(t *testing.T, target Target, size int64) {
	t.Helper()
	part := filepath.Join(t.TempDir(), "part")
	cut(t, target.Node, part, 8<<20, size)
	out := tool(t, "dosfstools", "fsck.fat", "-n", "-v", part)
	if !strings.Contains(out, "32 bits per FAT") && !strings.Contains(out, "FAT32") && !strings.Contains(out, "FATs, 32 bit entries") {
		t.Error(out)
	}
	file := filepath.Join(t.TempDir(), "networks.json")
	if err := os.WriteFile(file, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "mtools", "mcopy", "-i", part, file, "::/farboot/networks.json")
	tool(t, "dosfstools", "fsck.fat", "-n", part)
	if out := tool(t, "mtools", "mdir", "-i", part, "::/"); !strings.Contains(out, "farboot") || !strings.Contains(out, "FARBOOTDATA") {
		t.Error(out)
	}
	f, err := os.Open(part)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if data, err := fat.ReadFile(f, "farboot/networks.json", 100); err != nil || string(data) != "[]" {
		t.Errorf("the agent reads %q, %v", data, err)
	}
}

// cut copies a part of a file, without its holes.
func cut(t *testing.T, from, to string, start, size int64) {
	t.Helper()
	sparse(t, to, size)
	in, err1 := os.Open(from)
	out, err2 := os.OpenFile(to, os.O_WRONLY, 0)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	defer out.Close()
	for at := start; at < start+size; {
		data, err := in.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || data >= start+size {
			return
		}
		hole, err2 := in.Seek(data, unix.SEEK_HOLE)
		hole = min(hole, start+size)
		_, err3 := out.Seek(data-start, io.SeekStart)
		_, err4 := io.Copy(out, io.NewSectionReader(in, data, hole-data))
		if err := errors.Join(err, err2, err3, err4); err != nil {
			t.Fatal(err)
		}
		at = hole
	}
}

// checkImage tells whether all is on the disk but the table.
func checkImage(t *testing.T, m *Image, target Target) {
	t.Helper()
	image, err := os.ReadFile(m.Path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(target.Node)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(image))
	if _, err := f.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	const end = 34 * 512 // of the table
	if !bytes.Equal(got[:446], image[:446]) || !bytes.Equal(got[end:], image[end:]) {
		t.Error("the image is another")
	}
}

// Once more is the same disk again, with a new file system, and without it is the
// image as it was.
func TestAddDataAgain(t *testing.T) {
	m := medium(t, twoPartitions...)
	target := disk(t, m, 300<<20)
	for range 2 {
		if _, err := m.AddData(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Write(t.Context(), target, func(flash.Progress) {}, t.Logf); err != nil {
			t.Fatal(err)
		}
	}
	head := make([]byte, table.Head)
	f, err := os.Open(target.Node)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(head, 0); err != nil || !bytes.Equal(head, m.head) {
		t.Errorf("the table is not the image's any more, %v", err)
	}
}

// What cannot be is said before anything is written.
func TestNoData(t *testing.T) {
	full := append([]string{"-a", "1"}, twoPartitions...)
	for n := 3; n <= 128; n++ {
		full = append(full, "-n", fmt.Sprintf("%d:%d:%d", n, 9000+n, 9000+n))
	}
	for name, c := range map[string]struct {
		image *Image
		size  int64
		text  string
	}{
		"no table":  {medium(t), 300 << 20, "55 AA"},
		"full":      {medium(t, full...), 300 << 20, "full"},
		"no room":   {medium(t, twoPartitions...), 8 << 20, "no room behind"},
		"some room": {medium(t, twoPartitions...), 60 << 20, "51 MiB are left behind the image, want 64"},
	} {
		target := disk(t, c.image, c.size)
		before, err := os.ReadFile(target.Node)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.image.CheckData(target); !errors.Is(err, ErrData) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: CheckData = %v, want %q", name, err, c.text)
		}
		if _, err := c.image.AddData(t.Context(), target); !errors.Is(err, ErrData) {
			t.Errorf("%s: AddData = %v", name, err)
		}
		if after, err := os.ReadFile(target.Node); err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s: the disk was written to, %v", name, err)
		}
	}
}

// An interruption leaves the image as it was.
func TestAddDataInterrupted(t *testing.T) {
	m := medium(t, twoPartitions...)
	target := disk(t, m, 300<<20)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.AddData(ctx, target); !errors.Is(err, context.Canceled) {
		t.Errorf("AddData = %v", err)
	}
	if out := tool(t, "gdisk", "sgdisk", "-p", target.Node); strings.Contains(out, "farboot data") {
		t.Error(out)
	}
}
