package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"github.com/diskfs/go-diskfs/filesystem/iso9660"

	"github.com/farboot/farboot/payload/object"
)

// errTooMuch ends a walk through a file system that has no end.
var errTooMuch = fmt.Errorf("more than %d files or %d levels of folders", maxFiles, maxDepth)

// readFiles lists and hashes the files of the ISO 9660 file system.
func (r *Report) readFiles(d *disk) error {
	volume, err := iso9660.Read(d, d.size, 0, sectorSize)
	if err != nil {
		return err
	}
	w := isoWalk{volume: volume, disk: d, seen: make(map[uint32]bool)}
	if err := w.folder(".", 0); err != nil {
		return err
	}
	r.Files = w.files
	byPath(r.Files)
	return nil
}

// isoWalk goes through a volume.
type isoWalk struct {
	volume *iso9660.FileSystem
	disk   *disk
	files  []FileEntry
	seen   map[uint32]bool // places of the folders
}

// folder lists one folder and what is below it.
func (w *isoWalk) folder(name string, depth int) error {
	entries, err := w.volume.ReadDir(name)
	if err != nil {
		return err
	}
	if depth > maxDepth || len(w.files)+len(entries) > maxFiles {
		return errTooMuch
	}
	for i := 0; i < len(entries); {
		e := entries[i]
		p := path.Join(name, e.Name())
		place, err := placeOf(e)
		if err != nil {
			return fmt.Errorf("%q: %w", p, err)
		}
		if !e.IsDir() {
			n := extents(entries[i:])
			if err := w.file(p, place, entries[i:i+n]); err != nil {
				return fmt.Errorf("%q: %w", p, err)
			}
			i += n
			continue
		}
		if w.seen[place] {
			return fmt.Errorf("%q: folder lies in two places", p)
		}
		if sizeOf(e) > w.disk.size { // go-diskfs would take the memory first
			return fmt.Errorf("%q: folder of %d bytes in an image of %d", p, sizeOf(e), w.disk.size)
		}
		w.seen[place] = true
		if err := w.folder(p, depth+1); err != nil {
			return err
		}
		i++
	}
	return nil
}

// extents counts the records of the first file of entries: a file of 4 GiB and
// more has several, one after the other and all but the last of full length.
func extents(entries []fs.DirEntry) int {
	n := 1
	for n < len(entries) && entries[n].Name() == entries[0].Name() && sizeOf(entries[n-1]) == 1<<32-sectorSize {
		n++
	}
	return n
}

// file hashes one file, whose extents lie in one piece from sector place on.
func (w *isoWalk) file(p string, place uint32, records []fs.DirEntry) error {
	f := FileEntry{Path: p, start: int64(place) * sectorSize}
	var size int64
	for _, r := range records {
		at, err := placeOf(r)
		if err != nil {
			return err
		}
		if size > 0 && int64(at)*sectorSize != f.start+size {
			return errors.New("extents do not follow each other")
		}
		size += sizeOf(r)
	}
	ref, err := hash(size, io.NewSectionReader(w.disk, f.start, size))
	if err != nil {
		return err
	}
	f.Ref = ref
	w.files = append(w.files, f)
	return nil
}

// placeOf returns the sector at which an entry's content starts.
func placeOf(e fs.DirEntry) (uint32, error) {
	info, err := e.Info()
	if err != nil {
		return 0, err
	}
	stat, ok := info.Sys().(*iso9660.StatT)
	if !ok {
		return 0, errors.New("no place known")
	}
	return stat.Location, nil
}

// sizeOf returns the length of an entry's record in bytes.
func sizeOf(e fs.DirEntry) int64 {
	info, err := e.Info()
	if err != nil {
		return 0
	}
	return info.Size()
}

// hash reads size bytes from r, which must have them all.
func hash(size int64, r io.Reader) (object.Ref, error) {
	ref, err := object.Of(io.LimitReader(r, size))
	if err != nil {
		return object.Ref{}, err
	}
	if ref.Size != size {
		return object.Ref{}, fmt.Errorf("ends after %d of %d bytes", ref.Size, size)
	}
	return ref, nil
}
