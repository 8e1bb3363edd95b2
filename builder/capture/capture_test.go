package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/internal/oracle"
	"github.com/farboot/farboot/builder/vm/diskfile"
	"github.com/farboot/farboot/payload/caibx"
)

// File systems of all layouts come out sound and with all files. What is passed over is
// what dumpe2fs calls free, but for copies of descriptors that might be there.
func TestExt(t *testing.T) {
	for name, options := range map[string][]string{
		"ext2":               {"-t", "ext2"},
		"ext3, 1 KiB":        {"-t", "ext3", "-b", "1024"},
		"ext4":               {"-t", "ext4"},
		"ext4, 1 KiB":        {"-t", "ext4", "-b", "1024"},
		"without sums":       {"-t", "ext4", "-O", "^metadata_csum,uninit_bg"},
		"32 bits":            {"-t", "ext4", "-O", "^64bit,^flex_bg"},
		"seed":               {"-t", "ext4", "-O", "metadata_csum_seed"},
		"small groups":       {"-t", "ext4", "-g", "2048", "-G", "4"},
		"two copies":         {"-t", "ext4", "-O", "sparse_super2"},
		"no room for growth": {"-t", "ext4", "-O", "^resize_inode", "-m", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			system(t, path, 48, options...)
			plan, image, r := captured(t, path)
			disk, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, plan, disk, image)
			if plan.whys() != "" || plan.Parts[0].Kind != "ext4" {
				t.Fatalf("plan %+v", plan)
			}
			unused, total := freeBlocks(t, path)
			for _, e := range plan.free {
				for at := e.start; at < e.end; at += 1024 {
					if !unused[at] {
						t.Fatalf("byte %d is passed over and in use", at)
					}
				}
			}
			if plan.Free() < total*9/10 || r.Read > 48<<20-total*3/4 {
				t.Errorf("%d bytes passed over of %d that are free; %d read", plan.Free(), total, r.Read)
			}
			if err := os.WriteFile(path, image, 0o600); err != nil {
				t.Fatal(err)
			}
			before := files(t, path)
			checkSystem(t, path)
			oracle.Output(t, "diff", "-r", before, files(t, path))
		})
	}
}

// freeBlocks returns what dumpe2fs calls free, in steps of 1 KiB, and how much that is.
func freeBlocks(t *testing.T, path string) (map[int64]bool, int64) {
	t.Helper()
	text := tool(t, "e2fsprogs", "dumpe2fs", path)
	block := number(t, text, `Block size: +(\d+)`)
	free := map[int64]bool{}
	for _, m := range regexp.MustCompile(`(?m)^  Free blocks: (.*)$`).FindAllStringSubmatch(text, -1) {
		for _, row := range strings.Split(m[1], ", ") {
			first, last, both := strings.Cut(row, "-")
			if first == "" {
				continue
			}
			if !both {
				last = first
			}
			from, err := strconv.ParseInt(first, 10, 64)
			to, err2 := strconv.ParseInt(last, 10, 64)
			if err := errors.Join(err, err2); err != nil {
				t.Fatal(err)
			}
			for at := from * block; at < (to+1)*block; at += 1024 {
				free[at] = true
			}
		}
	}
	return free, number(t, text, `Free blocks: +(\d+)`) * block
}

// number returns a number in a text.
func number(t *testing.T, text, pattern string) int64 {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no %q in %s", pattern, text)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A whole disk: what lies outside of partitions stays, of swap the header does, and what
// nobody speaks for is there to the byte. The index is that of the image.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	disk, ext, swap := filepath.Join(dir, "disk"), filepath.Join(dir, "ext"), filepath.Join(dir, "swap")
	for kind, layout := range map[string][]string{
		"gpt": {"sgdisk", "--zap-all", "-n", "1:1M:+8M", "-n", "2:9M:+48M", "-n", "3:60M:+16M", disk},
		"mbr": {"sfdisk", "--quiet", disk},
	} {
		system(t, ext, 48, "-t", "ext4")
		noise(t, swap, 16<<20)
		tool(t, "util-linux", "mkswap", swap)
		noise(t, disk, 80<<20)
		cmd := exec.Command("/usr/sbin/"+layout[0], layout[1:]...)
		cmd.Stdin = strings.NewReader("label: dos\n1M,8M,c\n9M,48M,83\n60M,16M,82\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v (Debian packages gdisk and fdisk): %s", err, out)
		}
		for at, file := range map[int]string{9: ext, 60: swap} {
			oracle.Output(t, "dd", "if="+file, "of="+disk, "bs=1M", fmt.Sprint("seek=", at), "conv=notrunc", "status=none")
		}
		plan, image, r := captured(t, disk)
		was, err := os.ReadFile(disk)
		if err != nil {
			t.Fatal(err)
		}
		compare(t, plan, was, image)
		if len(plan.Parts) != 3 || plan.Parts[0].Free != 0 || plan.Parts[1].Free < 30<<20 || plan.Parts[2].Free != 16<<20-4096 {
			t.Errorf("%s: plan %+v", kind, plan.Parts)
		}
		want, err := caibx.Make(bytes.NewReader(image), caibx.DefaultChunk)
		if err != nil {
			t.Fatal(err)
		}
		index, err := want.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(r.Index); err != nil || !bytes.Equal(got, index) {
			t.Errorf("%s: the index is another: %v", kind, err)
		}
	}
}

// What cannot be believed is read from end to end.
func TestWhole(t *testing.T) {
	base := filepath.Join(t.TempDir(), "base")
	system(t, base, 48, "-t", "ext4", "-b", "4096")
	sound, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	bitmap := number(t, tool(t, "e2fsprogs", "dumpe2fs", base), `Block bitmap at (\d+)`) * 4096
	for want, change := range map[string]func(disk []byte){
		"journal is newer":               func(d []byte) { d[superAt+0x60] |= needsRecovery },
		"not unmounted cleanly":          func(d []byte) { d[superAt+0x3a] = 0 },
		"features":                       func(d []byte) { d[superAt+0x60] |= 0x10 },
		"checksum of its superblock":     func(d []byte) { d[superAt+0x88] ^= 1 },
		"checksum of its group 0":        func(d []byte) { d[4096+0x0c] ^= 1 },
		"checksum of the bitmap":         func(d []byte) { d[bitmap+2000] ^= 1 },
		"marks of [ext4 LUKS]":           func(d []byte) { copy(d, "LUKS\xba\xbe") },
		"of which nothing is said (xfs)": func(d []byte) { clear(d[superAt : superAt+1024]); copy(d, "XFSB") },
	} {
		disk := bytes.Clone(sound)
		change(disk)
		path := filepath.Join(t.TempDir(), "disk")
		if err := os.WriteFile(path, disk, 0o600); err != nil {
			t.Fatal(err)
		}
		plan, image, _ := captured(t, path)
		if plan.Free() != 0 || !bytes.Equal(disk, image) {
			t.Errorf("%s: %d bytes are passed over", want, plan.Free())
		}
		if !strings.Contains(want, "nothing is said") && !strings.Contains(plan.whys(), want) {
			t.Errorf("%q, want %q", plan.whys(), want)
		}
	}
	// Without sums the numbers must agree all the same.
	system(t, base, 48, "-t", "ext2", "-b", "4096")
	disk, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	bitmap = number(t, tool(t, "e2fsprogs", "dumpe2fs", base), `Block bitmap at (\d+)`) * 4096
	for want, change := range map[string]func(disk []byte){
		"free blocks, its descriptor": func(d []byte) { d[bitmap] ^= 0x80 },
		"larger than the partition":   func(d []byte) { binary.LittleEndian.PutUint32(d[superAt+4:], 48<<8+1) },
	} {
		changed := bytes.Clone(disk)
		change(changed)
		if err := os.WriteFile(base, changed, 0o600); err != nil {
			t.Fatal(err)
		}
		if plan, _, _ := captured(t, base); plan.Free() != 0 || !strings.Contains(plan.whys(), want) {
			t.Errorf("%s: plan %+v", want, plan)
		}
	}
}

func TestSharedBytes(t *testing.T) {
	dir := t.TempDir()
	disk, ext := filepath.Join(dir, "disk"), filepath.Join(dir, "ext")
	system(t, ext, 48, "-t", "ext4")
	noise(t, disk, 80<<20)
	tool(t, "gdisk", "sgdisk", "--zap-all", "-n", "1:1M:+48M", disk)
	oracle.Output(t, "dd", "if="+ext, "of="+disk, "bs=1M", "seek=1", "conv=notrunc", "status=none")
	f, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// An MBR in the GPT's place, with a second partition inside of the first.
	mbr := make([]byte, 512)
	for i, e := range [][2]uint32{{2048, 48 << 11}, {40 << 11, 1 << 11}} {
		mbr[446+16*i+4] = 0x83
		binary.LittleEndian.PutUint32(mbr[446+16*i+8:], e[0])
		binary.LittleEndian.PutUint32(mbr[446+16*i+12:], e[1])
	}
	mbr[510], mbr[511] = 0x55, 0xaa
	if _, err := f.WriteAt(mbr, 0); err != nil {
		t.Fatal(err)
	}
	if plan, _, _ := captured(t, disk); plan.Free() != 0 || !strings.Contains(plan.whys(), "share bytes") {
		t.Errorf("plan %+v", plan)
	}
}

func TestOpenRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	tool(t, "qemu-utils", "qemu-img", "create", "-q", "-f", "qcow2", path, "1M")
	if _, err := Open(t.Context(), path); !errors.Is(err, diskfile.ErrFormat) || !strings.Contains(err.Error(), "qemu-img convert") {
		t.Errorf("qcow2: %v", err)
	}
	for _, name := range []string{"ssh://", "ssh://host", "ssh://host/etc/shadow", "ssh:///dev/sda", "ssh://host/dev/sda?x"} {
		if _, err := Open(t.Context(), name); err == nil || !strings.Contains(err.Error(), "want ssh://") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
