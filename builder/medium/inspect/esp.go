package inspect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/diskfs/go-diskfs/filesystem/fat12"
	"github.com/diskfs/go-diskfs/filesystem/fat16"
	"github.com/diskfs/go-diskfs/partition/gpt"
)

// maxPartitions bounds the array for which go-diskfs takes memory without
// looking. Everybody writes 128 entries, xorriso up to 248.
const maxPartitions = 1024

// readPartitions reads the primary GPT. A copy of the image on a larger stick
// has its backup where none is looked for, so the backup does not count.
func (r *Report) readPartitions(d *disk) error {
	header := make([]byte, 512)
	if _, err := d.ReadAt(header, 512); err != nil {
		return err
	}
	entries, size := binary.LittleEndian.Uint32(header[80:]), binary.LittleEndian.Uint32(header[84:])
	if entries > maxPartitions || size != gpt.PartitionEntrySize {
		return fmt.Errorf("%d entries of %d bytes", entries, size)
	}
	table, err := gpt.Read(d, 512, 512)
	if err != nil {
		return err
	}
	if table.RecoveredFromBackup {
		return errors.New("primary table is damaged")
	}
	r.Disk = table.GUID
	for _, p := range table.Partitions {
		start, size := p.GetStart(), p.GetSize()
		if start < 0 || size <= 0 || start > d.size-size {
			return fmt.Errorf("partition %d lies outside the image", p.Index)
		}
		r.Partitions = append(r.Partitions, Partition{
			Name: p.Name, Type: string(p.Type), GUID: p.GUID, Start: start, Size: size,
		})
	}
	return nil
}

// readESP lists and hashes the files of the EFI system partition.
func (r *Report) readESP(d *disk) error {
	for _, p := range r.Partitions {
		if p.Type != string(gpt.EFISystemPartition) {
			continue
		}
		if err := checkFAT(d, p); err != nil {
			return err
		}
		volume, err := fat16.Read(d, p.Size, p.Start, 512)
		if err != nil {
			return err
		}
		w := fatWalk{volume: volume, disk: d, start: p.Start, seen: make(map[uint64]bool)}
		if err := w.folder(".", 0); err != nil {
			return err
		}
		r.ESP = w.files
		byPath(r.ESP)
		return nil
	}
	return errors.New("no such partition")
}

// checkFAT refuses a FAT that go-diskfs would follow for ever or take memory
// for without looking: it must be inside the partition, and every chain must
// end.
func checkFAT(d *disk, p Partition) error {
	boot := make([]byte, 512)
	if _, err := d.ReadAt(boot, p.Start); err != nil {
		return err
	}
	le := binary.LittleEndian
	reserved, size := int64(le.Uint16(boot[14:]))*512, int64(le.Uint16(boot[22:]))*512
	if le.Uint16(boot[11:]) != 512 || boot[13] == 0 || boot[16] != 2 || reserved+2*size > p.Size {
		return errors.New("boot sector does not describe a FAT16 file system that fits")
	}
	fat := make([]byte, size)
	if _, err := d.ReadAt(fat, p.Start+reserved); err != nil {
		return err
	}
	const none, under, done = 0, 1, 2
	state := make([]byte, len(fat)/2)
	for first := 2; first < len(state); first++ {
		var chain []int
		c := first
		for c >= 2 && c < len(state) && state[c] == none {
			state[c] = under
			chain = append(chain, c)
			c = int(le.Uint16(fat[2*c:]))
		}
		if c >= 2 && c < len(state) && state[c] == under {
			return fmt.Errorf("chain of clusters from %d goes in circles", first)
		}
		for _, c := range chain {
			state[c] = done
		}
	}
	return nil
}

// fatWalk goes through a FAT file system that starts at byte start of the disk.
type fatWalk struct {
	volume *fat16.FileSystem
	disk   *disk
	start  int64
	files  []FileEntry
	seen   map[uint64]bool // places of the folders
}

// folder lists one folder and what is below it.
func (w *fatWalk) folder(name string, depth int) error {
	entries, err := w.volume.ReadDir(name)
	if err != nil {
		return err
	}
	if depth > maxDepth || len(w.files)+len(entries) > maxFiles {
		return errTooMuch
	}
	for _, e := range entries {
		p := path.Join(name, e.Name())
		info, err := e.Info()
		if err != nil {
			return err
		}
		f := FileEntry{Path: p}
		var ranges []fat12.DiskRange
		if e.IsDir() || info.Size() > 0 {
			if ranges, err = w.ranges(p); err != nil {
				return fmt.Errorf("%q: %w", p, err)
			}
		}
		if e.IsDir() {
			if w.seen[ranges[0].Offset] {
				return fmt.Errorf("%q: folder lies in two places", p)
			}
			w.seen[ranges[0].Offset] = true
			if err := w.folder(p, depth+1); err != nil {
				return err
			}
			continue
		}
		if f.Ref, err = hash(info.Size(), w.content(ranges)); err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
		w.files = append(w.files, f)
	}
	return nil
}

// ranges returns where the clusters of the file or folder at p lie.
func (w *fatWalk) ranges(p string) ([]fat12.DiskRange, error) {
	f, err := w.volume.OpenFile(p, os.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	file, ok := f.(*fat12.File)
	if !ok {
		return nil, fmt.Errorf("opened as %T", f)
	}
	return file.GetDiskRanges()
}

// content reads the clusters of a file one after the other.
func (w *fatWalk) content(ranges []fat12.DiskRange) io.Reader {
	var parts []io.Reader
	for _, r := range ranges {
		parts = append(parts, io.NewSectionReader(w.disk, w.start+int64(r.Offset), int64(r.Length)))
	}
	return io.MultiReader(parts...)
}
