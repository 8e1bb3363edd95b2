// Package esp makes the EFI system partition of a boot medium: a small FAT16
// file system that holds shim, GRUB and GRUB's first configuration.
//
// [Image] is the one call. Its result depends on the tree alone, not on clock,
// SOURCE_DATE_EPOCH or user: go-diskfs writes the file system, and a finishing
// step sets every date to 1980-01-01 and corrects two liberties that fsck.fat
// complains about.
//
// FAT16 and 4.5 to 31 MiB, because those are the sizes at which go-diskfs' FAT is
// sound and every firmware reads it. Names have to be ASCII and 8.3, lower case
// allowed: that is all that the UEFI boot path needs, and the only names for
// which go-diskfs cannot make two short names collide.
package esp

import (
	"fmt"
	"os"
	"path"
	"regexp"
	"strings"

	"github.com/diskfs/go-diskfs/filesystem/fat16"

	"github.com/farboot/farboot/builder/tree"
)

const (
	// minSize and maxSize bound the image, in bytes. Below, FAT16 comes near to
	// too few clusters (4085 of 1 KiB); above, clusters and thereby the layout
	// change.
	minSize = 4608 << 10
	maxSize = 31 << 20
	// step is what sizes are rounded up to, in bytes.
	step = 4 << 10
	// clusterSize is go-diskfs' choice for FAT16 up to 32 MiB, in bytes.
	clusterSize = 1024
	// overhead is what the file system itself takes, in bytes, whatever its size:
	// 4 boot sectors, 512 root entries of 32 bytes, rounding of two FATs and of
	// the last cluster, and the lost cluster that finish takes back.
	overhead = 4*512 + 512*32 + 2*512 + 2*clusterSize
	// perFAT is how many bytes of the image cost one byte of both FATs: they have
	// two bytes each for a cluster.
	perFAT = clusterSize / (2 * 2)
	// label names the volume: 11 characters.
	label = "FARBOOT ESP"
)

// shortName is what may become a file or folder.
var shortName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,8}(\.[A-Za-z0-9_-]{1,3})?$`)

// Image returns the file system with the files of t. Its length is a multiple
// of 4 KiB.
func Image(t *tree.Tree) ([]byte, error) {
	if err := checkNames(t); err != nil {
		return nil, err
	}
	size, err := sizeFor(t)
	if err != nil {
		return nil, err
	}
	disk := newMemory(size)
	fs, err := fat16.Create(disk, size, 0, 512, label, true)
	if err != nil {
		return nil, fmt.Errorf("esp: %w", err)
	}
	for _, f := range t.Files() {
		if err := add(fs, f); err != nil {
			return nil, fmt.Errorf("esp: %s: %w", f.Path, err)
		}
	}
	return disk.data, finish(disk.data)
}

// add writes one file, and the folders above it where they are missing.
func add(fs *fat16.FileSystem, f tree.File) error {
	data, err := f.Read()
	if err != nil {
		return err
	}
	if dir := path.Dir(f.Path); dir != "." {
		if err := fs.Mkdir(dir); err != nil {
			return err
		}
	}
	w, err := fs.OpenFile(f.Path, os.O_CREATE|os.O_RDWR)
	if err != nil {
		return err
	}
	defer w.Close()
	if len(data) == 0 { // go-diskfs fails on writes of nothing
		return nil
	}
	_, err = w.Write(data)
	return err
}

// checkNames refuses names that FAT or go-diskfs would change, and such that
// differ in case only.
func checkNames(t *tree.Tree) error {
	spelled := make(map[string]string)
	for _, f := range t.Files() {
		for p := f.Path; p != "."; p = path.Dir(p) {
			if !shortName.MatchString(path.Base(p)) {
				return fmt.Errorf("esp: %q: name %q is not 8.3 ASCII letters, digits, _ and -", f.Path, path.Base(p))
			}
			key := strings.ToUpper(p)
			if other, ok := spelled[key]; ok && other != p {
				return fmt.Errorf("esp: %q and %q are one name on FAT", other, p)
			}
			spelled[key] = p
		}
	}
	return nil
}

// sizeFor returns the size of the image that t needs, in bytes.
func sizeFor(t *tree.Tree) (int64, error) {
	clusters := func(bytes int64) int64 { return (bytes + clusterSize - 1) / clusterSize * clusterSize }
	need := int64(overhead)
	entries := make(map[string]int64) // of 32 bytes, with room for a long name each
	for _, f := range t.Files() {
		need += clusters(max(f.Size, 1))
	}
	for _, p := range t.Dirs() {
		entries[p] += 2 // . and ..
		entries[path.Dir(p)] += 2
	}
	for _, f := range t.Files() {
		entries[path.Dir(f.Path)] += 2
	}
	for _, n := range entries {
		need += clusters(n * 32)
	}
	need += need/(perFAT-1) + 1
	size := max(minSize, (need+step-1)/step*step)
	if size > maxSize {
		return 0, fmt.Errorf("esp: content needs %d bytes, at most %d fit", size, maxSize)
	}
	return size, nil
}
