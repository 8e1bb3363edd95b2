package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// disk is the kernel's name of the image.
const disk = "vda"

// partition is a place where a file system may lie.
type partition struct {
	number int // 0 is the whole disk
	node   string
	kind   string // what it holds, as blkid calls it; "" where that is unknown
}

// String is for people.
func (p partition) String() string {
	name := "the whole disk"
	if p.number > 0 {
		name = fmt.Sprintf("partition %d", p.number)
	}
	return fmt.Sprintf("%s (%s)", name, cmp.Or(p.kind, "nothing that is known"))
}

// partitions lists the partitions of the disk, or the disk where there are none.
func partitions(sys, dev string) ([]partition, error) {
	var all []partition
	names, _ := filepath.Glob(filepath.Join(sys, "block", disk, disk+"*", "partition")) // the pattern is right
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		number, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, err
		}
		all = append(all, partition{number: number, node: filepath.Join(dev, filepath.Base(filepath.Dir(name)))})
	}
	slices.SortFunc(all, func(a, b partition) int { return a.number - b.number })
	if len(all) == 0 {
		all = []partition{{node: filepath.Join(dev, disk)}}
	}
	for i, p := range all {
		var err error
		if all[i].kind, err = probe(p.node); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// probeSize is how much of a partition is read, in bytes: btrfs has its superblock at
// 64 KiB.
const probeSize = 65536 + 4096

// magics tell what lies on a partition. What is not mounted has a name all the same, for
// the message that says so. Formats as in payload/agent/local.
var magics = []struct {
	offset      int
	magic, kind string
}{
	{0, "LUKS\xba\xbe", "crypto_LUKS"},
	{512, "LABELONE", "LVM2_member"},
	{0, "\xfc\x4e\x2b\xa9", "linux_raid_member"},
	{4096, "\xfc\x4e\x2b\xa9", "linux_raid_member"},
	{1024 + 0x38, "\x53\xef", "ext4"},
	{0, "XFSB", "xfs"},
	{65536 + 64, "_BHRfS_M", "btrfs"},
	{82, "FAT32   ", "vfat"},
	{54, "FAT16   ", "vfat"},
	{4096 - 10, "SWAPSPACE2", "swap"},
	{3, "NTFS    ", "ntfs"},
}

// probe tells what lies on a partition, or "".
func probe(node string) (string, error) {
	f, err := os.Open(node)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data := make([]byte, probeSize)
	if _, err := f.ReadAt(data, 0); err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	for _, m := range magics {
		if bytes.HasPrefix(data[m.offset:], []byte(m.magic)) {
			return m.kind, nil
		}
	}
	return "", nil
}

// mountable are the file systems that a root may be, and what to mount them by: btrfs
// has its default subvolume, and then those in which distributions put the root (Ubuntu
// and SUSE, Debian, Fedora).
var mountable = map[string][]string{
	"ext4":  {""},
	"xfs":   {""},
	"btrfs": {"", "subvol=@", "subvol=@rootfs", "subvol=root"},
}

// errNoRoot says that a file system is not one that a system starts from.
var errNoRoot = errors.New("no root file system")

// mountRoot mounts the root file system on dir: that of partition want, or, where want is
// 0, the only one that has an os-release, which every distribution has
// (os-release(5)).
func mountRoot(all []partition, want int, dir string) error {
	if want > 0 {
		i := slices.IndexFunc(all, func(p partition) bool { return p.number == want })
		if i < 0 {
			return fmt.Errorf("no partition %d; there are %s", want, list(all))
		}
		return all[i].mount(dir)
	}
	var found []partition
	for _, p := range all {
		err := p.mount(dir)
		if errors.Is(err, errNoRoot) {
			continue
		}
		if err != nil {
			return err
		}
		if found = append(found, p); len(found) > 1 {
			break
		}
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("%s: unmount: %w", p, err)
		}
	}
	switch len(found) {
	case 0:
		return fmt.Errorf("%w, with an os-release, on %s", errNoRoot, list(all))
	case 1:
		return found[0].mount(dir)
	}
	return fmt.Errorf("several systems: %s; say which by --root", list(found))
}

// mount mounts a partition on dir, if that is a root file system.
func (p partition) mount(dir string) error {
	for _, options := range mountable[p.kind] {
		err := unix.Mount(p.node, dir, p.kind, 0, options)
		if errors.Is(err, unix.ENOENT) && options != "" { // no such subvolume
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: mount: %w", p, err)
		}
		for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
			if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
				return nil
			}
		}
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("%s: unmount: %w", p, err)
		}
	}
	return fmt.Errorf("%s: %w", p, errNoRoot)
}

// list names partitions for people.
func list(all []partition) string {
	var names []string
	for _, p := range all {
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}
