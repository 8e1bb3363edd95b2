// Package fat reads single files of a FAT file system, such as the EFI system
// partition of a stick.
//
// [ReadFile] is the one call. It promises to end, to read no more than it is
// allowed to, and to take no memory but the file's and one table sector at a time,
// whatever the bytes are: somebody with any computer may have written them. It
// writes nothing, and it needs no driver: the kernel's, with its tables of
// characters, would take 100 KB of every medium for one small file.
//
// FAT12, FAT16 and FAT32 with long names are read, as Microsoft's "FAT File System
// Specification" 1.03 (fatgen103) has them; exFAT is not.
package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// ErrMalformed is wrapped by errors that say that bytes are no FAT file system, or
// a broken one.
var ErrMalformed = errors.New("not a good FAT file system")

// maxDirectory bounds a directory, in bytes: 65,536 entries, as the specification
// has it.
const maxDirectory = 65536 * entrySize

// volume is a FAT file system.
type volume struct {
	r       io.ReaderAt
	bits    int   // 12, 16 or 32
	cluster int64 // size in bytes
	table   int64 // where the first FAT begins
	root    int64 // where the root directory begins, but on FAT32
	rootLen int64 // its length in bytes, but on FAT32
	rootAt  uint32
	data    int64  // where cluster 2 begins
	last    uint32 // the last cluster
}

// ReadFile returns the content of a file, by its path from the root, with slashes
// and in any case: "farboot/networks.json". One that is not there is
// fs.ErrNotExist; one with more than most bytes is an error.
func ReadFile(r io.ReaderAt, path string, most int64) ([]byte, error) {
	v, err := open(r)
	if err != nil {
		return nil, err
	}
	at := entry{folder: true, cluster: v.rootAt}
	for name := range strings.SplitSeq(path, "/") {
		if !at.folder || name == "" {
			return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
		}
		if at, err = v.find(at.cluster, name); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	if at.folder || at.size > most {
		return nil, fmt.Errorf("%s: a folder, or %d bytes of at most %d", path, at.size, most)
	}
	data, err := v.chain(at.cluster, at.size)
	if err == nil && int64(len(data)) < at.size {
		err = fmt.Errorf("%w: it ends early", ErrMalformed)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data[:at.size], nil
}

// open reads the boot sector.
func open(r io.ReaderAt) (*volume, error) {
	b := make([]byte, 512)
	if err := readAt(r, b, 0); err != nil {
		return nil, err
	}
	sector, perCluster := int64(binary.LittleEndian.Uint16(b[11:])), int64(b[13])
	reserved, tables := int64(binary.LittleEndian.Uint16(b[14:])), int64(b[16])
	rootEntries := int64(binary.LittleEndian.Uint16(b[17:]))
	total, tableLen := int64(binary.LittleEndian.Uint16(b[19:])), int64(binary.LittleEndian.Uint16(b[22:]))
	if total == 0 {
		total = int64(binary.LittleEndian.Uint32(b[32:]))
	}
	wide := tableLen == 0
	if wide {
		tableLen = int64(binary.LittleEndian.Uint32(b[36:]))
	}
	if b[510] != 0x55 || b[511] != 0xaa || !power(sector, 512, 4096) || !power(perCluster, 1, 128) ||
		reserved == 0 || tables == 0 || tableLen == 0 {
		return nil, fmt.Errorf("%w: no boot sector of one", ErrMalformed)
	}
	v := &volume{r: r, cluster: sector * perCluster, table: reserved * sector}
	v.root, v.rootLen = (reserved+tables*tableLen)*sector, rootEntries*entrySize
	rootSectors := (v.rootLen + sector - 1) / sector
	v.data = v.root + rootSectors*sector
	clusters := (total - (reserved + tables*tableLen + rootSectors)) / perCluster
	if clusters < 1 || clusters > 0x0ffffff5 || wide != (rootEntries == 0) {
		return nil, fmt.Errorf("%w: %d clusters", ErrMalformed, clusters)
	}
	v.last = uint32(clusters) + 1
	switch {
	case wide:
		v.bits, v.rootAt = 32, binary.LittleEndian.Uint32(b[44:])
	case clusters < 4085:
		v.bits = 12
	default:
		v.bits = 16
	}
	return v, nil
}

// power tells whether n is a power of two from least to most.
func power(n, least, most int64) bool { return n >= least && n <= most && n&(n-1) == 0 }

// next returns the cluster that follows, and whether there is one.
func (v *volume) next(cluster uint32) (uint32, bool, error) {
	var b [4]byte
	width := v.bits / 8
	at := int64(cluster) * int64(width)
	if v.bits == 12 {
		width, at = 2, int64(cluster)+int64(cluster)/2
	}
	if err := readAt(v.r, b[:width], v.table+at); err != nil {
		return 0, false, err
	}
	n := binary.LittleEndian.Uint32(b[:])
	switch {
	case v.bits == 12 && cluster%2 == 1:
		n >>= 4
	case v.bits == 12:
		n &= 0xfff
	case v.bits == 32:
		n &= 0x0fffffff
	}
	if n >= uint32(1)<<min(v.bits, 28)-8 {
		return 0, false, nil
	}
	return n, true, nil
}

// chain returns what a chain of clusters holds, up to the cluster that reaches
// most bytes.
func (v *volume) chain(cluster uint32, most int64) ([]byte, error) {
	var data []byte
	for more := most > 0; more && int64(len(data)) < most; {
		if cluster < 2 || cluster > v.last {
			return nil, fmt.Errorf("%w: cluster %d of %d", ErrMalformed, cluster, v.last)
		}
		part := make([]byte, v.cluster)
		if err := readAt(v.r, part, v.data+int64(cluster-2)*v.cluster); err != nil {
			return nil, err
		}
		data = append(data, part...)
		var err error
		if cluster, more, err = v.next(cluster); err != nil {
			return nil, err
		}
	}
	return data, nil
}

// readAt fills b from offset on.
func readAt(r io.ReaderAt, b []byte, offset int64) error {
	if n, err := r.ReadAt(b, offset); n < len(b) {
		return fmt.Errorf("%w: read at %d: %w", ErrMalformed, offset, err)
	}
	return nil
}
