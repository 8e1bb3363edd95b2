package toolbox

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/farboot/farboot/payload/modules"
)

// The kernel asks by names and by aliases of its own.
func TestWanted(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"modules.dep":     "kernel/fs/ext4.ko: kernel/fs/jbd2.ko kernel/lib/crc16.ko\nkernel/fs/jbd2.ko:\nkernel/lib/crc16.ko:\nkernel/md/raid1.ko: kernel/md/md-mod.ko\nkernel/md/md-mod.ko:\n",
		"modules.alias":   "alias fs-ext4 ext4\nalias fs-ext3 ext4\nalias md-personality-3 raid1\nalias md-level-1 raid1\n",
		"modules.softdep": "",
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	for name, last := range map[string]string{"fs-ext3": "kernel/fs/ext4.ko", "ext4": "kernel/fs/ext4.ko", "md-level-1": "kernel/md/raid1.ko", "md_mod": "kernel/md/md-mod.ko"} {
		files, err := wanted(dir, name)
		if err != nil || files[len(files)-1] != last || name == "fs-ext3" && !slices.Contains(files, "kernel/fs/jbd2.ko") {
			t.Errorf("%s: %q, %v", name, files, err)
		}
	}
	if files, err := wanted(dir, "net-pf-10"); !errors.Is(err, modules.ErrUnknown) {
		t.Errorf("unknown: %q, %v", files, err)
	}
	if err := Modprobe(dir, nil); err == nil {
		t.Error("no module is loaded, and no error told")
	}
	if err := Modprobe(dir, []string{"-q", "--", "ext4"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("files that are not there: %v", err)
	}
}
