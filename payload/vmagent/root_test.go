package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A disk's partitions come in the order of their numbers, each with what it holds, as
// other people's tools made it.
func TestPartitions(t *testing.T) {
	sys, dev := t.TempDir(), t.TempDir()
	for name, tool := range map[string][]string{
		"vda1": nil, "vda2": {"mkfs.ext4", "-q", "-F", "e2fsprogs"}, "vda3": {"mkfs.xfs", "-q", "xfsprogs"},
		"vda4": {"mkfs.btrfs", "-q", "btrfs-progs"}, "vda10": {"mkfs.fat", "-F32", "dosfstools"}, "vda9": {"mkswap", "-q", "util-linux"},
	} {
		node := filepath.Join(dev, name)
		if err := errors.Join(os.WriteFile(node, nil, 0o600), os.Truncate(node, 320<<20)); err != nil {
			t.Fatal(err)
		}
		if tool != nil {
			last := len(tool) - 1
			if out, err := exec.Command("/usr/sbin/"+tool[0], append(tool[1:last:last], node)...).CombinedOutput(); err != nil {
				t.Fatalf("%s (Debian package %s): %v\n%s", tool[0], tool[last], err, out)
			}
		}
		file := filepath.Join(sys, "block/vda", name, "partition")
		number := strings.TrimPrefix(name, "vda") + "\n"
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(number), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	all, err := partitions(sys, dev)
	if err != nil {
		t.Fatal(err)
	}
	want := "partition 1 (nothing that is known), partition 2 (ext4), partition 3 (xfs), partition 4 (btrfs), partition 9 (swap), partition 10 (vfat)"
	if diff := cmp.Diff(want, list(all)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if all, err = partitions(t.TempDir(), dev); err == nil {
		t.Errorf("a disk that is not there: %v", all)
	}
	if err := os.Rename(filepath.Join(dev, "vda2"), filepath.Join(dev, "vda")); err != nil {
		t.Fatal(err)
	}
	if all, err = partitions(t.TempDir(), dev); err != nil || list(all) != "the whole disk (ext4)" {
		t.Errorf("without a table: %v, %v", all, err)
	}
}

func TestMountsBelow(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mountinfo")
	text := `21 1 0:2 / / rw - rootfs none rw
30 21 254:2 / /image rw - ext4 /dev/vda2 rw
31 30 0:20 / /image/a\040b rw - tmpfs tmpfs rw
32 21 0:21 / /images rw - tmpfs tmpfs rw
33 30 0:22 / /image/dev/pts rw - devpts devpts rw
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := mountsBelow(file, "/image")
	if diff := cmp.Diff([]string{"/image/dev/pts", "/image/a b", "/image"}, got); diff != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, diff)
	}
}

// It does nothing where it is not PID 1 of a machine: the port's orders are for those only.
func TestRefusesToRun(t *testing.T) {
	if err := run([]string{"/init"}, os.Stderr); err == nil || !strings.Contains(err.Error(), "PID 1 only") {
		t.Errorf("error %v", err)
	}
}
