package flash

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/flash/disks"
	"github.com/farboot/farboot/payload/flash/tailor"
)

// attach shows a file of some bytes as a disk of the kernel.
func attach(t *testing.T, size int64) (node, file string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test uses loop devices; it must be run by root")
	}
	file = filepath.Join(t.TempDir(), "disk")
	tool(t, "truncate", "--size", fmt.Sprint(size), file)
	node = strings.TrimSpace(string(tool(t, "losetup", "--find", "--show", "--partscan", file)))
	t.Cleanup(func() {
		if out, err := exec.Command("losetup", "--detach", node).CombinedOutput(); err != nil {
			t.Errorf("losetup: %v: %s", err, out)
		}
		for _, part := range []string{"p1", "p2"} {
			_ = os.Remove(node + part) // made by hand where /dev is not the kernel's
		}
	})
	return node, file
}

// TestBlockDevice writes to a device of the kernel, past its cache, an image whose
// last partition holds an XFS, which grows and gets a file.
func TestBlockDevice(t *testing.T) {
	dir := t.TempDir()
	part, name := filepath.Join(dir, "part"), filepath.Join(dir, "image")
	tool(t, "truncate", "--size", "300M", part)
	tool(t, "mkfs.xfs", "-q", part)
	tool(t, "truncate", "--size", "310M", name)
	tool(t, "sgdisk", "--clear", "--new=1:2048:4095", "--new=2:4096:+300M", name)
	tool(t, "dd", "if="+part, "of="+name, "bs=1M", "seek=2", "conv=notrunc,sparse", "status=none")
	image, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const size = 700<<20 + 512*5
	node, file := attach(t, size)
	disk, err := Open(node)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if disk.Size() != size || disk.Sector() != 512 || !disk.direct {
		t.Errorf("%+v", disk)
	}
	if _, err := Open(node); !errors.Is(err, disks.ErrBusy) {
		t.Errorf("opened twice: %v", err)
	}
	j := job(t, image, "zst")
	j.Grow, j.Log = true, t.Logf
	j.Files = []tailor.File{{Partition: 2, Path: "/etc/hostname", Content: strings.NewReader("blade7\n")}}
	result, err := Run(t.Context(), disk, j)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", result)
	if out := tool(t, "sgdisk", "--verify", file); !bytes.Contains(out, []byte("No problems found")) {
		t.Errorf("sgdisk: %s", out)
	}
	tool(t, "dd", "if="+file, "of="+part, "bs=1M", "skip=2", "count=697", "conv=sparse", "status=none")
	tool(t, "xfs_repair", "-n", part)
	if out := tool(t, "xfs_db", "-r", "-c", "sb 0", "-c", "print dblocks", part); strings.TrimSpace(string(out)) != fmt.Sprintf("dblocks = %d", 697<<20/4096) {
		t.Errorf("the file system has %s", out)
	}
	if again, err := Run(t.Context(), disk, j); err != nil || again.Already == "" {
		t.Errorf("a second time: %+v, %v", again, err)
	}
}

// TestFile writes to a file in the place of a disk.
func TestFile(t *testing.T) {
	image := newImage(t, 1)
	name := filepath.Join(t.TempDir(), "disk")
	old := oldDisk()
	if err := os.WriteFile(name, append(bytes.Clone(old), 1, 2, 3), 0o600); err != nil {
		t.Fatal(err)
	}
	disk, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	if _, err := Run(t.Context(), disk, job(t, image, "")); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if at := differ(got[:len(old)], finished(t, old, image)); at >= 0 || len(got) != len(old)+3 {
		t.Errorf("the file differs at byte %d of %d", at, len(got))
	}
	if _, err := disk.WriteAt(make([]byte, 1024), diskSize-512); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("write behind the end: %v", err)
	}
	for _, odd := range []string{t.TempDir(), "/dev/null", filepath.Join(t.TempDir(), "none")} {
		if _, err := Open(odd); err == nil {
			t.Errorf("%s is opened", odd)
		}
	}
}
