package local

import (
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestVolumes wants what mke2fs and mkfs.vfat made, and what is wrong with it.
func TestVolumes(t *testing.T) {
	const id = "0a1b2c3d-1111-2222-3333-444455556666"
	ext := func(args ...string) string {
		return image(t, "e2fsprogs", "mke2fs", append([]string{"-q", "-U", id, "-L", "Cache 1"}, args...)...)
	}
	fat := func(args ...string) string {
		return image(t, "dosfstools", "mkfs.vfat", append([]string{"-i", "f00dcafe"}, args...)...)
	}
	debugfs := func(name, command string) string {
		run(t, "e2fsprogs", "debugfs", "-w", "-R", command, name)
		return name
	}
	used := func(name string, at int64) string { // as the kernel does while it is mounted
		f, err := os.OpenFile(name, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte{1}, at); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const unmounted, asleep, faulty = "it was not unmounted", "it was not unmounted: somebody lost power, or sleeps", "it has errors, by its own account"
	sysfs, dev, c := fstest.MapFS{"block/sda/size": {Data: []byte("100")}}, t.TempDir(), newLab(t).config()
	c.Sysfs, c.Dev = sysfs, dev
	var want []Volume
	for part, tt := range map[string]struct {
		image string
		want  Volume
	}{
		"sda1": {fat("-F32", "-s1", "-n", "STICK"), Volume{Kind: "vfat", UUID: "F00D-CAFE", Label: "STICK", PartitionName: "farboot data"}},
		"sda2": {used(fat("-F32", "-s1"), 65), Volume{Kind: "vfat", UUID: "F00D-CAFE", Fault: unmounted}},
		"sda3": {used(fat("-F16", "-s1", "-n", "A B"), 37), Volume{Kind: "vfat", UUID: "F00D-CAFE", Label: "A B", Fault: unmounted}},
		"sda4": {ext("-t", "ext4"), Volume{Kind: "ext4", UUID: id, Label: "Cache 1"}},
		"sda5": {debugfs(ext("-t", "ext4"), "feature needs_recovery"), Volume{Kind: "ext4", UUID: id, Label: "Cache 1", Fault: asleep, Replays: true}},
		"sda6": {debugfs(ext("-t", "ext4"), "ssv state 3"), Volume{Kind: "ext4", UUID: id, Label: "Cache 1", Fault: faulty}},
		"sda7": {debugfs(ext("-t", "ext2"), "ssv state 0"), Volume{Kind: "ext2", UUID: id, Label: "Cache 1", Fault: unmounted}},
		"sda8": {stamped(t, map[int]string{0: "XFSB"}), Volume{}},
		"sda9": {ext("-t", "ext2"), Volume{Kind: "ext2", UUID: id, Label: "Cache 1"}},
	} {
		sysfs["block/sda/"+part+"/partition"] = &fstest.MapFile{Data: []byte("1")}
		sysfs["block/sda/"+part+"/uevent"] = &fstest.MapFile{Data: []byte("MAJOR=8\nPARTNAME=" + tt.want.PartitionName + "\n")}
		if err := os.Rename(tt.image, filepath.Join(dev, part)); err != nil {
			t.Fatal(err)
		}
		if tt.want.Kind != "" {
			tt.want.Partition, tt.want.Device = part, filepath.Join(dev, part)
			want = append(want, tt.want)
		}
	}
	got, err := Volumes(t.Context(), c)
	sorted := cmpopts.SortSlices(func(a, b Volume) bool { return a.Partition < b.Partition })
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Volume{}), cmpopts.IgnoreFields(Volume{}, "Neighbours"), sorted); err != nil || diff != "" {
		t.Error(err, diff)
	}
	if n := len(got[0].Neighbours); n != 9 || got[3].Driver() != "ext4" {
		t.Errorf("%+v", got)
	}
}
