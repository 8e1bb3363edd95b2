//go:build boot

package boottest

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/vm"
)

// The long run has 20.
var flashKills = flag.Int("flash.kills", 2, "how often TestFlash pulls the plug while an image is written")

// flashed is the disk that an image is written to, among others.
const (
	flashed     = "FLASHED"
	flashedSize = 1024 // MiB
	flashSite   = `kind: site
entries:
  image:
    title: Write Debian, erasing the disk
    flash:
      image: {file: image.zst}
      disk: {serial: ` + flashed + `}
      grow: true
      files:
        - {partition: 2, path: /etc/farboot/machine, text: "this is blade 7\n"}
      then: %s
  disk: {title: What is installed, local: {disk: ` + flashed + `}}
default: [image, disk]
`
)

// flashLab is a site with an image, a medium that can write it, and a machine with
// three disks.
type flashLab struct {
	*world
	image  installed
	config vm.Config
	disk   string // the file of the one that is flashed
}

// newFlashLab makes all that. On the disk that is flashed is something that boots.
func newFlashLab(t *testing.T, then string) *flashLab {
	t.Helper()
	l := &flashLab{world: newWorld(t), image: installed{name: "image", kind: "ext4", loader: grubCfg}}
	p := fetchPackages(t, "linux-image-amd64", "busybox-static", "base-files", "libc6", "libgcc-s1", "gcc-12-base", "dash")
	k := p.kernel(t, "virtio_blk", "ahci", "sd_mod", "ext4")
	l.image.install(t, p, k, p.ramdisk(t, k, guestInit("-q crc32c_generic virtio_blk ahci sd_mod ext4")+switchRoot))
	command(t, "zstd", "zstd", "-q", l.image.file, "-o", filepath.Join(l.dir, "image.zst"))
	l.write(t, "recipes/site.yaml", fmt.Appendf(nil, flashSite, then))
	l.farboot(t, "lock", "--update", "recipes/site.yaml")
	l.publish(t)
	l.write(t, "recipes/netboot.yaml", bytes.Replace(fmt.Appendf(nil, mediumRecipe+"compression: zstd\n", l.url), []byte("[net]"), []byte("[net, storage, filesystems]"), 1))
	l.config.Image, _ = l.build(t)
	for i, serial := range []string{"OTHER1", flashed, "OTHER2"} {
		file := filepath.Join(t.TempDir(), serial)
		old := make([]byte, 2<<20)
		_, _ = rand.NewChaCha8([32]byte{byte(i)}).Read(old) // never fails
		old[510], old[511] = 0x55, 0xaa
		putFile(t, file, string(old), 0o600)
		if err := os.Truncate(file, flashedSize<<20); err != nil {
			t.Fatal(err)
		}
		l.config.Disks = append(l.config.Disks, vm.Disk{File: file, Serial: serial, Bus: []vm.DiskBus{vm.VirtIO, vm.SATA, vm.NVMe}[i]})
	}
	l.disk = l.config.Disks[1].File
	return l
}

// boots tells whether a disk has what a firmware would start.
func boots(t *testing.T, file string) bool {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	sector := make([]byte, 512)
	if _, err := f.ReadAt(sector, 0); err != nil {
		t.Fatal(err)
	}
	return !bytes.Equal(sector, make([]byte, 512))
}

// TestFlash writes an image to one of three disks while the plug is pulled again
// and again. Each time the disk is as it was, or not written, or done. In the end
// it boots, with its file system grown and its file put in; it is not written
// again; and the other disks are as they were.
func TestFlash(t *testing.T) {
	t.Parallel()
	l := newFlashLab(t, "local")
	others := []installed{{file: l.config.Disks[0].File}, {file: l.config.Disks[2].File}}
	before := [][32]byte{others[0].sum(t), others[1].sum(t)}
	old := installed{file: l.disk}.sum(t)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	cuts := 0
	for range *flashKills {
		m, ctx := start(t, l.config)
		expect(t, ctx, m, "flash: ")
		wait := time.Duration(random.IntN(10_000)) * time.Millisecond
		sleep(ctx, wait)
		m.Stop()
		switch now := (installed{file: l.disk}).sum(t); {
		case strings.Contains(m.Serial(), "handing over"):
		case !boots(t, l.disk):
			cuts++
		case now != old:
			t.Errorf("after %s: the disk looks like a system and is none:\n%s", wait, m.Serial())
		}
	}
	t.Logf("%d of %d times the disk was not written", cuts, *flashKills)
	m, ctx := start(t, l.config)
	expect(t, ctx, m, "choose: image", l.image.says())
	if cuts == *flashKills && strings.Contains(m.Serial(), "left alone") {
		t.Error("a disk that was not written is left alone")
	}
	m.Stop()
	m, ctx = start(t, l.config)
	expect(t, ctx, m, "choose: image", "left alone: its mark says", "handing over: disk", l.image.says())
	m.Stop()
	for i, o := range others {
		if o.sum(t) != before[i] {
			t.Errorf("disk %d has changed", i)
		}
	}
	l.check(t)
}

// check looks at the disk with other people's tools.
func (l *flashLab) check(t *testing.T) {
	t.Helper()
	if out := command(t, "gdisk", "sgdisk", "--verify", l.disk); !strings.Contains(out, "No problems found") {
		t.Errorf("sgdisk: %s", out)
	}
	part := l.disk + ".checked"
	command(t, "coreutils", "dd", "if="+l.disk, "of="+part, "bs=1M", "skip=16", fmt.Sprintf("count=%d", flashedSize-16-1), "conv=sparse", "status=none")
	command(t, "e2fsprogs", "e2fsck", "-f", "-n", part)
	if out := command(t, "e2fsprogs", "debugfs", "-R", "cat /etc/farboot/machine", part); !strings.Contains(out, "this is blade 7") {
		t.Errorf("the file: %q", out)
	}
	out := command(t, "e2fsprogs", "dumpe2fs", "-h", part)
	if want := fmt.Sprintf("%d\n", (flashedSize-16-1)<<10); !strings.Contains(strings.ReplaceAll(out, " ", ""), "Blockcount:"+want) {
		t.Errorf("the file system has not %s blocks of 1 KiB:\n%s", want, out)
	}
}

// TestFlashLog records every write that a machine sends to the disk, and replays
// them: to every flush, and between them in any order. The disk is never one that
// boots and is not whole.
func TestFlashLog(t *testing.T) {
	t.Parallel()
	l := newFlashLab(t, "off")
	l.config.Disks[1].Log = save(t, "log", nil)
	disk, err := os.ReadFile(l.disk)
	if err != nil {
		t.Fatal(err)
	}
	m, ctx := start(t, l.config)
	expect(t, ctx, m, "choose: image", "flash: ")
	if err := m.Wait(); err != nil {
		t.Fatal(err)
	}
	l.check(t)
	final, err := os.ReadFile(l.disk)
	if err != nil {
		t.Fatal(err)
	}
	writes := readLog(t, l.config.Disks[1].Log)
	random := rand.New(rand.NewPCG(1, 2))
	since, points, cleared := []logged(nil), 0, false
	for _, w := range writes {
		if w.flush {
			for _, s := range since {
				copy(disk[s.at:], s.data)
			}
			since = nil
		}
		if w.data != nil {
			since = append(since, w)
		}
		// Of the first sector, what there would be in any order of the writes
		// since the last flush.
		now := disk[:512]
		for _, s := range since {
			if s.at == 0 && random.IntN(2) == 0 {
				now = s.data[:512]
			}
		}
		zero := bytes.Equal(now, make([]byte, 512))
		cleared = cleared || zero
		points++
		switch {
		case zero:
		case !cleared: // the old system: nothing else was written before its first sector went
			if slices.ContainsFunc(since, func(s logged) bool { return s.at != 0 && !bytes.Equal(s.data, disk[s.at:][:len(s.data)]) }) {
				t.Fatalf("write %d: the old system boots and is not whole", points)
			}
		default:
			if whole := bytes.Clone(disk); !bytes.Equal(apply(whole, since)[512:], final[512:]) || !bytes.Equal(disk[512:], final[512:]) {
				t.Fatalf("write %d: the disk boots and is not whole", points)
			}
		}
	}
	if points < 100 || !cleared {
		t.Errorf("%d writes, %v", points, cleared)
	}
}

// apply makes writes.
func apply(disk []byte, writes []logged) []byte {
	for _, w := range writes {
		copy(disk[w.at:], w.data)
	}
	return disk
}

// logged is one entry of a log of writes.
type logged struct {
	at    int64
	data  []byte
	flush bool // all before it is on the medium
}

// readLog reads a log in the form of dm-log-writes.
func readLog(t *testing.T, name string) []logged {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	super := make([]byte, 512) // magic, version, entries, sector size
	if _, err := io.ReadFull(f, super); err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if le.Uint64(super) != 0x6a736677736872 {
		t.Fatalf("magic %x", super[:8])
	}
	sector := int64(le.Uint32(super[24:]))
	if _, err := f.Seek(sector, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	const flush, discard = 1, 4
	var all []logged
	for range le.Uint64(super[16:]) {
		head := make([]byte, sector) // sector, number of sectors, flags, length
		if _, err := io.ReadFull(f, head); err != nil {
			t.Fatal(err)
		}
		n := int64(le.Uint64(head[8:])) * sector
		w := logged{at: int64(le.Uint64(head)) * sector, flush: le.Uint64(head[16:])&flush != 0}
		if le.Uint64(head[16:])&discard != 0 {
			w.data = make([]byte, n)
		} else if n > 0 {
			w.data = make([]byte, n)
			if _, err := io.ReadFull(f, w.data); err != nil {
				t.Fatal(err)
			}
		}
		all = append(all, w)
	}
	return all
}
