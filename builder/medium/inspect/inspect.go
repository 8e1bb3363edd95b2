// Package inspect tells what a finished image holds, as other people's code
// reads it: go-diskfs for the file systems and the partition table. Only the
// few bytes that go-diskfs reads past, dates and boot catalog, are read here.
//
// [File] and [Image] are the calls. They promise that a Report describes an
// image which firmware and kernel find complete as well: file system, boot
// catalog, partition table and EFI system partition are there, and every byte of
// every file could be read. Anything else ends in an error that wraps
// [ErrMalformed]; so do panics inside go-diskfs, which is not made for hostile
// input and is fenced in by limits on what it may read.
//
// [Records] reads what an image or a netboot folder tells its agent, to be judged
// as the agent would.
//
// It does not say whether the content is right: it has nothing to compare with.
// Two weaknesses of go-diskfs show: leading and trailing dots of file names are
// missing, and names end after 250 bytes.
package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/farboot/farboot/payload/object"
)

// ErrMalformed is wrapped by every error that says that an image is not one of
// ours or is damaged.
var ErrMalformed = errors.New("not a complete boot medium")

// Report is what an image holds.
type Report struct {
	// Size of the image in bytes.
	Size      int64  `json:"size"`
	VolumeID  string `json:"volume_id"`
	Publisher string `json:"publisher"`
	// Epoch is the volume's modification date, GRUB's UUID of the file system.
	Epoch time.Time `json:"epoch"`
	// Boot lists the boot catalog.
	Boot []BootEntry `json:"boot"`
	// Disk is the GUID of the partition table.
	Disk       string      `json:"disk"`
	Partitions []Partition `json:"partitions"`
	// Files are those of the ISO 9660 file system, sorted by path.
	Files []FileEntry `json:"files"`
	// ESP are the files of the EFI system partition, sorted by path.
	ESP []FileEntry `json:"esp"`
}

// BootEntry is one image that firmware may start from CD.
type BootEntry struct {
	// Platform is "BIOS" or "UEFI".
	Platform string `json:"platform"`
	// Path is the file that starts at LBA, empty if there is none.
	Path string `json:"path,omitzero"`
	// LBA is where it starts, in sectors of 2048 bytes.
	LBA uint32 `json:"lba"`
	// LoadSectors is how many sectors of 512 bytes the firmware loads.
	LoadSectors uint16 `json:"load_sectors"`
}

// Partition is one entry of the GPT.
type Partition struct {
	Name string `json:"name"`
	Type string `json:"type"`
	GUID string `json:"guid"`
	// Start and Size are in bytes.
	Start int64 `json:"start"`
	Size  int64 `json:"size"`
}

// FileEntry is one file.
type FileEntry struct {
	Path string `json:"path"`
	object.Ref

	start int64 // offset in the image, for files of the ISO 9660 file system
}

// File inspects the image at path.
func File(path string) (*Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	report, err := Image(f, info.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return report, nil
}

// Image inspects the image of size bytes that r reads.
func Image(r io.ReaderAt, size int64) (report *Report, err error) {
	defer func() {
		if p := recover(); p != nil {
			report, err = nil, fmt.Errorf("%w: go-diskfs panics: %v", ErrMalformed, p)
		}
	}()
	d := newDisk(r, size)
	report = &Report{Size: size}
	for _, step := range []struct {
		what string
		read func(*disk) error
	}{
		{"volume", report.readVolume},
		{"partition table", report.readPartitions},
		{"files", report.readFiles},
		{"boot catalog", report.readBoot},
		{"EFI system partition", report.readESP},
	} {
		if err := step.read(d); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, step.what, err)
		}
	}
	// go-diskfs' FAT takes failed reads for zeros.
	if d.err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, d.err)
	}
	return report, nil
}

// byPath sorts files for the report.
func byPath(files []FileEntry) {
	slices.SortFunc(files, func(a, b FileEntry) int { return cmp.Compare(a.Path, b.Path) })
}
