//go:build boot && long

package boottest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/builder/vm"
)

// cacheSize is that of each disk, in bytes, and cacheCuts how many moments of each are
// looked at.
const cacheSize, cacheCuts = 72 << 20, 8

// cacheLab is a machine with Debian's kernel that runs tests of package cachedisk.
type cacheLab struct {
	config vm.Config
	letter []byte // a file of the disks' owner
}

func newCacheLab(t *testing.T, test string) *cacheLab {
	t.Helper()
	program := filepath.Join(t.TempDir(), "cachedisk.test")
	cmd := exec.Command("go", "test", "-tags", "boot", "-c", "-o", program, "../../payload/agent/cachedisk")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	p := fetchPackages(t, "linux-image-amd64", "busybox-static")
	k := p.kernel(t, "virtio_blk", "vfat", "nls_cp437", "nls_ascii", "ext4")
	initrd := p.ramdisk(t, k, guestInit("virtio_blk nls_cp437 nls_ascii vfat ext4")+`
/cachedisk.test -test.v -test.run '^`+test+`$'
echo "ended with status $?"
poweroff -f
`, executable("cachedisk.test", data), tree.Bytes("etc/resolv.conf", nil))
	return &cacheLab{
		config: vm.Config{Kernel: save(t, "vmlinuz", k.Image), Initrd: save(t, "initrd", initrd), Cmdline: "console=ttyS0,115200 quiet panic=1"},
		letter: bytes.Repeat([]byte("what the owner of this disk wrote\n"), 10_000),
	}
}

// disk makes a file system with a file of its owner.
func (l *cacheLab) disk(t *testing.T, kind string) string {
	t.Helper()
	dir, image := t.TempDir(), filepath.Join(t.TempDir(), kind)
	letter := filepath.Join(dir, "LETTER.TXT")
	putFile(t, letter, string(l.letter), 0o644)
	putFile(t, image, "", 0o600)
	if err := os.Truncate(image, cacheSize); err != nil {
		t.Fatal(err)
	}
	if kind == "ext4" {
		command(t, "e2fsprogs", "mke2fs", "-q", "-t", "ext4", "-L", "CACHE", "-d", dir, image)
		return image
	}
	command(t, "dosfstools", "mkfs.vfat", "-F32", "-s1", "-n", "CACHE", image)
	command(t, "mtools", "mcopy", "-i", image, letter, "::")
	return image
}

// check wants the owner's file to be as it was, and ext4 to be whole.
func (l *cacheLab) check(t *testing.T, kind, image string) {
	t.Helper()
	var got string
	if kind == "ext4" {
		command(t, "e2fsprogs", "e2fsck", "-f", "-n", image)
		got = command(t, "e2fsprogs", "debugfs", "-R", "cat /LETTER.TXT", image)
	} else {
		got = command(t, "mtools", "mtype", "-i", image, "::LETTER.TXT")
	}
	if !strings.Contains(got, string(l.letter)) {
		t.Errorf("%s: the owner's file has changed", image)
	}
}

// TestCachePowerCut fills caches on FAT and ext4 while every write to the disks is
// recorded, and switches the machine off once it rests: the file systems are clean.
// Then the writes are replayed to moments in between, with some of those since the last
// flush: what is there of the cache is right, it can be filled again, and nothing else
// on the disk has changed.
func TestCachePowerCut(t *testing.T) {
	fill, check := newCacheLab(t, "TestRealFill"), newCacheLab(t, "TestRealCheck")
	kinds := []string{"vfat", "ext4"}
	var before [][]byte
	for _, kind := range kinds {
		image := fill.disk(t, kind)
		data, err := os.ReadFile(image)
		if err != nil {
			t.Fatal(err)
		}
		before = append(before, data)
		fill.config.Disks = append(fill.config.Disks, vm.Disk{File: image, Log: save(t, "log", nil)})
	}
	m, ctx := start(t, fill.config)
	expect(t, ctx, m, "--- PASS: TestRealFill", "ended with status 0")
	if err := m.Wait(); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for i, kind := range kinds {
		disk := fill.config.Disks[i]
		fill.check(t, kind, disk.File)
		if kind == "vfat" {
			command(t, "dosfstools", "fsck.vfat", "-n", disk.File) // it is an error that it was not unmounted
		}
		writes := readLog(t, disk.Log)
		t.Logf("%s: %d writes", kind, len(writes))
		for range cacheCuts {
			cut := save(t, kind, replay(bytes.Clone(before[i]), writes, random))
			check.config.Disks = append(check.config.Disks, vm.Disk{File: cut})
		}
	}
	m, ctx = start(t, check.config)
	expect(t, ctx, m, "ended with status")
	if out := m.Serial(); !strings.Contains(out, "--- PASS: TestRealCheck") {
		t.Fatal(out)
	}
	if err := m.Wait(); err != nil {
		t.Fatal(err)
	}
	for i, disk := range check.config.Disks {
		fill.check(t, kinds[i/cacheCuts], disk.File)
	}
	for line := range strings.Lines(m.Serial()) {
		if strings.Contains(line, " chunks") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if n := strings.Count(m.Serial(), fmt.Sprintf(" of %d chunks", 100)); n != 2*cacheCuts {
		t.Errorf("%d disks were looked at, want %d", n, 2*cacheCuts)
	}
}

// replay makes the writes up to some moment: all up to the last flush before it, and
// some of those that came after that, in any order.
func replay(disk []byte, writes []logged, random *rand.Rand) []byte {
	end, flushed := random.IntN(len(writes)), 0
	for i, w := range writes[:end] {
		if w.flush {
			flushed = i
		}
	}
	for _, w := range writes[:flushed] {
		copy(disk[w.at:], w.data)
	}
	for _, i := range random.Perm(end - flushed) {
		if random.IntN(2) == 0 {
			copy(disk[writes[flushed+i].at:], writes[flushed+i].data)
		}
	}
	return disk
}
