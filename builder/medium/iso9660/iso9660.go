// Package iso9660 writes the file system of a boot medium: ISO 9660 with Rock
// Ridge names and modes, and an El Torito boot catalog.
//
// [New] lays a tree out, [Image.WriteTo] writes it in one sequential pass. All
// that a result depends on is in its arguments: entries are sorted, every date
// is the epoch, owners are 0 and modes 0644 or 0755. No file content is held in
// memory, boot images that want a patch apart, and one file is open at a time.
//
// It is our own because go-diskfs' writer takes dates and owners from a
// workspace on disk, has no room for the system area or GRUB's patches, cuts
// off sizes from 4 GiB on and orders colliding names by chance: correcting its
// output afterwards was more code than writing it right. go-diskfs still reads
// what is written here, as a second opinion: see package inspect.
//
// Limits, each refused with the name of the file: names of 253 bytes, files of
// 100 extents (400 GiB), 65535 folders, 2^32-1 sectors (8 TiB). Folders may be
// nested deeper than the 8 levels of ISO 9660, which no reader of today minds.
// There is no Joliet, no symbolic link and no appending.
//
// Sources: ECMA-119 4th edition (ISO 9660), SUSP 1.12, RRIP 1.10 (IEEE P1281 and
// P1282 drafts), El Torito 1.0.
package iso9660

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/farboot/farboot/builder/tree"
)

// SectorSize is the size of a logical block, in bytes. Every place in the file
// system (an "LBA") counts in it.
const SectorSize = 2048

const (
	// systemArea is left to the partition tables and boot code, in sectors.
	systemArea = 16
	// maxExtent is the largest whole number of sectors, in bytes, that the 32
	// bits of a directory record can express. Larger files get several records.
	maxExtent = 1<<32 - SectorSize
	// maxExtents is where Linux stops ("More than 100 file sections", fs/isofs/inode.c).
	maxExtents = 100
	// maxName is the longest name, in bytes, that Linux shows whole (fs/isofs/rock.c).
	maxName = 253
	// maxFolders is what the 16-bit numbers of the path table can count.
	maxFolders = 1<<16 - 1
	// maxPatched bounds the boot images that are patched in memory, in bytes.
	// GRUB's largest BIOS core image is 454,656 bytes plus 4.5 KiB of loaders.
	maxPatched = 1 << 20
	// maxBoot is how many boot images fit the one sector of the boot catalog:
	// two records of 32 bytes for the first, two for each that follows.
	maxBoot = SectorSize / 64
)

// Options say what is not in the tree.
type Options struct {
	// VolumeID is the label: 1 to 32 printable ASCII characters.
	VolumeID string
	// Publisher is at most 128 printable ASCII characters.
	Publisher string
	// Epoch is every date of the file system, to the second, in UTC. As the
	// volume's modification date it is also what GRUB takes for its UUID.
	Epoch time.Time
	// Boot lists the El Torito entries; the first is the default entry.
	Boot []BootImage
	// Tail is how many zero bytes follow the last file as part of the volume.
	// The sum is rounded up to whole sectors.
	Tail int64
}

// BootImage is an El Torito entry without emulation.
type BootImage struct {
	Platform Platform
	// Path names the image in the tree.
	Path string
	// LoadSectors is how many sectors of 512 bytes the firmware loads. Zero
	// means the whole image, or 0 in the catalog where that is more than 16
	// bits can say: UEFI then takes everything up to the end of the medium.
	LoadSectors uint16
	// Patch, where set, changes the image in place before it is written at lba.
	// The file may have at most 1 MiB then.
	Patch func(image []byte, lba uint32) error
}

// Platform is an El Torito platform ID.
type Platform byte

// Platforms of El Torito: 0 in its specification, 0xEF in UEFI 2.10 section 13.3.2.1.
const (
	BIOS Platform = 0x00
	EFI  Platform = 0xef
)

// Image is a file system whose every byte has its place but is not written yet.
type Image struct {
	opts    Options
	root    *node
	folders []*node // in the order of the path table, root first
	files   []*node // in the order of their content
	byPath  map[string]*node

	pathTableL  uint32 // LBA of the little-endian one
	pathTableM  uint32 // LBA of the big-endian one
	bootCatalog uint32 // LBA, 0 without boot images
	sectors     uint32 // of the whole volume

	start, end []byte // Frame's
}

// New gives everything in t its place.
func New(t *tree.Tree, opts Options) (*Image, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	m := &Image{opts: opts, byPath: make(map[string]*node)}
	if err := m.grow(t); err != nil {
		return nil, err
	}
	if err := m.checkBoot(); err != nil {
		return nil, err
	}
	if err := m.layOut(); err != nil {
		return nil, err
	}
	return m, nil
}

// Size is the length of the whole image in bytes, Tail included.
func (m *Image) Size() int64 { return int64(m.sectors) * SectorSize }

// LBA returns where the content of the file at path starts, in sectors. An
// empty file has its place at sector 0.
func (m *Image) LBA(path string) (uint32, bool) {
	n, ok := m.byPath[path]
	if !ok || n.isFolder() {
		return 0, false
	}
	return n.lba, true
}

// Frame sets what the system area, 32 KiB, starts with and what the tail ends
// with: partition tables and boot code, which need the places that New gave.
// Without it both are zeros.
func (m *Image) Frame(start, end []byte) error {
	if len(start) > systemArea*SectorSize || int64(len(end)) > m.opts.Tail {
		return fmt.Errorf("frame of %d and %d bytes: at most %d and %d fit", len(start), len(end), systemArea*SectorSize, m.opts.Tail)
	}
	m.start, m.end = start, end
	return nil
}

// WriteTo writes the image from its first to its last byte. It implements
// [io.WriterTo].
func (m *Image) WriteTo(w io.Writer) (int64, error) {
	s := &stream{w: w}
	s.write(m.start)
	s.zeros(systemArea*SectorSize - s.n)
	s.write(m.metadata())
	for _, f := range m.files {
		if err := m.writeFile(s, f); err != nil {
			return s.n, err
		}
	}
	s.zeros(m.Size() - int64(len(m.end)) - s.n)
	s.write(m.end)
	return s.n, s.err
}

// validate checks what New cannot find out from the tree.
func (o Options) validate() error {
	if o.VolumeID == "" || len(o.VolumeID) > 32 || !printable(o.VolumeID) {
		return fmt.Errorf("volume id %q: want 1 to 32 printable ASCII characters", o.VolumeID)
	}
	if len(o.Publisher) > 128 || !printable(o.Publisher) {
		return fmt.Errorf("publisher %q: want at most 128 printable ASCII characters", o.Publisher)
	}
	if y := o.Epoch.UTC().Year(); y < 1970 || y > 2155 {
		return fmt.Errorf("epoch %v: want a year from 1970 to 2155", o.Epoch)
	}
	if len(o.Boot) > maxBoot {
		return fmt.Errorf("boot catalog: %d images, at most %d fit", len(o.Boot), maxBoot)
	}
	if o.Tail < 0 {
		return errors.New("tail: less than nothing asked for")
	}
	return nil
}

// checkBoot finds every boot image in the tree.
func (m *Image) checkBoot() error {
	for _, b := range m.opts.Boot {
		n, ok := m.byPath[b.Path]
		switch {
		case !ok || n.isFolder():
			return fmt.Errorf("boot image %q: not in the tree", b.Path)
		case n.size == 0:
			return fmt.Errorf("boot image %q: empty", b.Path)
		case b.Patch != nil && n.size > maxPatched:
			return fmt.Errorf("boot image %q: %d bytes, at most %d can be patched", b.Path, n.size, maxPatched)
		case b.Patch != nil && n.patch != nil:
			return fmt.Errorf("boot image %q: patched twice", b.Path)
		case b.Patch != nil:
			n.patch = b.Patch
		}
	}
	return nil
}

// layOut hands out the sectors: descriptors, path tables, boot catalog,
// folders, files, tail.
func (m *Image) layOut() error {
	next := int64(systemArea + len(m.descriptors()))
	take := func(bytes int64) uint32 {
		at := next
		next += sectorsOf(bytes)
		return uint32(at)
	}
	pathTable := int64(len(m.encodePathTable(binary.LittleEndian)))
	m.pathTableL = take(pathTable)
	m.pathTableM = take(pathTable)
	if len(m.opts.Boot) > 0 {
		m.bootCatalog = take(SectorSize)
	}
	for _, d := range m.folders {
		records, names := m.encodeFolder(d)
		d.size = int64(len(records))
		d.lba = take(int64(len(records) + len(names)))
	}
	for _, f := range m.files {
		if f.size > 0 {
			f.lba = take(f.size)
		}
	}
	next += sectorsOf(m.opts.Tail)
	if next >= 1<<32 {
		return fmt.Errorf("image of %d sectors: at most %d fit a volume", next, uint32(1<<32-1))
	}
	m.sectors = uint32(next)
	return nil
}

// metadata encodes everything between the system area and the first file.
func (m *Image) metadata() []byte {
	var a area
	for _, d := range m.descriptors() {
		a.append(d)
	}
	a.append(m.encodePathTable(binary.LittleEndian))
	a.append(m.encodePathTable(binary.BigEndian))
	if m.bootCatalog != 0 {
		a.append(m.encodeBootCatalog())
	}
	for _, d := range m.folders {
		records, names := m.encodeFolder(d)
		a.append(records)
		a.append(names)
	}
	return a
}

// writeFile writes one file's content and fills its last sector.
func (m *Image) writeFile(s *stream, f *node) error {
	if f.size == 0 {
		return s.err
	}
	if f.patch == nil {
		s.copy(f.file)
	} else {
		image, err := f.file.Read()
		if err != nil {
			return err
		}
		if err := f.patch(image, f.lba); err != nil {
			return fmt.Errorf("boot image %q: %w", f.file.Path, err)
		}
		if int64(len(image)) != f.size {
			return fmt.Errorf("boot image %q: patch changed its size", f.file.Path)
		}
		s.write(image)
	}
	s.zeros(sectorsOf(f.size)*SectorSize - f.size)
	return s.err
}

// sectorsOf is how many sectors hold n bytes.
func sectorsOf(n int64) int64 { return (n + SectorSize - 1) / SectorSize }

// printable tells whether s has ASCII letters, digits, signs and blanks only.
func printable(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}
