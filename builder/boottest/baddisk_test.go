//go:build boot && long

package boottest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/farboot/farboot/builder/vm"
)

// badDisksSite writes an image to one bad disk after the other.
const badDisksSite = `kind: site
entries:
  eio: {title: A disk that cannot write, flash: {image: {file: image}, disk: {serial: EIO}}}
  enospc: {title: A disk that is full, flash: {image: {file: image}, disk: {serial: ENOSPC}}}
  empty: {title: A disk that keeps nothing, flash: {image: {file: image}, disk: {serial: EMPTY}}}
default: [eio, enospc, empty]
`

// badSector is where disks fail: behind the marks and the image's beginning.
const badSector = 9 << 20 / 512

// TestBadDisks: what a disk answers in a booted machine is told by name and place, and
// the disk does not boot: a sector that cannot be written, thin provisioning without
// room, and a disk that takes everything and keeps nothing.
func TestBadDisks(t *testing.T) {
	w := newWorld(t)
	image := filepath.Join(w.dir, "image")
	putFile(t, image, string(bytes.Repeat([]byte("farboot "), 16<<20/8)), 0o600)
	command(t, "gdisk", "sgdisk", "-Z", image)
	command(t, "gdisk", "sgdisk", "-n", "1:2048:+14M", image)
	w.publishes(t, badDisksSite)
	w.write(t, "recipes/netboot.yaml", bytes.Replace(fmt.Appendf(nil, mediumRecipe+"compression: zstd\n", w.url), []byte("[net]"), []byte("[net, storage, filesystems]"), 1))
	iso, _ := w.build(t)
	file := filepath.Join(t.TempDir(), "disk")
	putFile(t, file, "", 0o600)
	failing := func(id string, errno int) string {
		name := file + id
		putFile(t, name, "", 0o600)
		if err := os.Truncate(name, 64<<20); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("if=none,id=%s,werror=report,driver=blkdebug,image.driver=raw,image.file.driver=file,image.file.filename=%s,"+
			"inject-error.0.event=none,inject-error.0.iotype=write,inject-error.0.errno=%d,inject-error.0.sector=%d", id, name, errno, badSector)
	}
	m, ctx := start(t, vm.Config{Image: iso, Args: []string{
		"-drive", failing("eio", 5), "-device", "virtio-blk-pci,drive=eio,serial=EIO",
		"-device", "virtio-scsi-pci,id=scsi", "-drive", failing("enospc", 28), "-device", "scsi-hd,bus=scsi.0,drive=enospc,serial=ENOSPC",
		"-drive", "if=none,id=empty,driver=null-co,size=67108864,read-zeroes=on", "-device", "virtio-blk-pci,drive=empty,serial=EMPTY",
	}})
	expect(t, ctx, m, "eio: [disk-error]", "write at byte 9437184", "enospc: [disk-full]", "write at byte 9437184", "empty: [", "disk reads back other bytes", "waiting")
	m.Stop()
	for _, id := range []string{"eio", "enospc"} {
		if boots(t, file+id) {
			t.Errorf("%s: the disk boots", id)
		}
	}
}
