package local

import (
	"path/filepath"
	"slices"
	"testing"
)

// TestFolders: the file systems that have the folder stay mounted, where that says,
// until they are closed; those with a file of that name, or nothing, do not.
func TestFolders(t *testing.T) {
	l := newLab(t)
	xfs := map[int]string{0: "XFSB", 32: rootID}
	l.add("sda1", xfs, map[string]string{"machines": "a file"})
	l.add("sda2", xfs, map[string]string{"machines/web1.cfg": "name = 'web1'"})
	l.add("sda3", xfs, map[string]string{"boot/grub/grub.cfg": "x", "other/machines/web1.cfg": "deeper"})
	l.add("sda4", map[int]string{0: "LUKS\xba\xbe"}, nil)
	c := l.config()
	found, err := folders(t.Context(), c, l.mount, "machines")
	if err != nil || len(found) != 1 || found[0].Partition != "sda2" {
		t.Fatalf("%+v, %v", found, err)
	}
	if names, err := filepath.Glob(filepath.Join(c.Dir, "sda2/machines/*")); err != nil || !slices.Equal(names, []string{filepath.Join(c.Dir, "sda2/machines/web1.cfg")}) {
		t.Errorf("%q, %v", names, err)
	}
	if len(l.mounted) != 1 {
		t.Errorf("mounted: %v", l.mounted)
	}
	if err := found[0].Close(); err != nil || len(l.mounted) != 0 {
		t.Errorf("%v, mounted: %v", err, l.mounted)
	}
}
