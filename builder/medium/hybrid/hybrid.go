// Package hybrid packs a tree as one image that starts from CD and from USB
// stick, under BIOS and UEFI: an ISO 9660 file system that is at the same time a
// disk with partitions.
//
// [Write] is the one call. The same Medium gives the same bytes. The image is
//
//	bytes            content
//	0-439            GRUB's boot_hybrid.img: BIOS starts it from a stick
//	432-439          where it finds the core image, in sectors of 512 bytes
//	446-461          protective partition (type EE) over the whole image
//	462-477          an empty entry that is marked active
//	512-17407        GPT header and array; partition 1 is the EFI system partition,
//	                 partition 2 is for the state of machines
//	32768-           ISO 9660; its boot catalog names core image (BIOS) and ESP (UEFI)
//	after the files  300 KiB of zeros; 64 KiB of them, at a multiple of 64 KiB,
//	                 are partition 2
//	last 16896       backup GPT array and header
//
// Partition 2 takes no room of its own: on a CD nobody reads the padding, and on
// a stick nobody needs it. What machines write there (payload/state) makes the
// stick differ from the image there and nowhere else.
//
// A stick that is larger than the image boots all the same: the backup GPT is
// then not at its end, which firmware and Linux accept. Computers with 4096-byte
// sectors on sticks and old Macs (which want HFS+ and an Apple partition map) are
// not served.
//
// Sources: UEFI 2.10 chapters 5 (GPT) and 13.3.2 (El Torito), GRUB 2.06
// boot/i386/pc/{boot,cdboot,diskboot}.S, mkisofs(8) "-boot-info-table", xorriso's
// --grub2-boot-info and --grub2-mbr.
package hybrid

import (
	"fmt"
	"io"
	"time"

	"github.com/diskfs/go-diskfs/partition/gpt"

	"github.com/farboot/farboot/builder/grub"
	"github.com/farboot/farboot/builder/medium/iso9660"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/state"
)

const (
	// gptSize is what a GPT takes at the end of the image, in bytes: header and
	// 128 entries of 128 bytes.
	gptSize = 512 + 128*128
	// padding follows the files, in bytes. CD drives may fail to read the last
	// 150 sectors of a disc written in track-at-once mode (xorriso -padding).
	padding = 300 << 10
	// stateType is the type of the partition for the state of machines: a random
	// GUID of our own, so that no system takes it for a file system.
	stateType gpt.Type = "A090822C-5081-424E-81BC-7E1FC7339531"
	// stateSize is the length of that partition and what its start is a multiple
	// of, in bytes: a write does not tear what lies beside it, even where flash
	// is programmed in pages of 16 KiB.
	stateSize = state.DeviceSize
	// maxName is how many characters the name of a partition may have.
	maxName = 36
	// maxSize is what the 32 bits of the protective partition can express.
	maxSize = 1 << 32 * 512
)

// Medium is everything that an image is made of.
type Medium struct {
	// Tree holds the files, Core and ESP among them.
	Tree *tree.Tree
	// VolumeID is the label: 1 to 32 printable ASCII characters.
	VolumeID string
	// Publisher is at most 128 printable ASCII characters.
	Publisher string
	// Epoch is every date in the image, to the second.
	Epoch time.Time
	// Disk, Partition (the ESP) and State are the GUIDs in the partition table.
	Disk, Partition, State GUID
	// StateName is the name of the partition for the state: 1 to 36 printable
	// ASCII characters.
	StateName string
	// BootCode is GRUB's boot_hybrid.img, 512 bytes.
	BootCode []byte
	// Core is the path of GRUB's BIOS core image for CD (i386-pc-eltorito).
	// What lands in the image is this file with its own place patched in.
	Core string
	// ESP is the path of the FAT image with the UEFI boot loaders.
	ESP string
}

// GUID is 16 bytes in the order in which they are printed.
type GUID [16]byte

// NewGUID makes a GUID of the first half of a hash. It marks the GUID as
// version 8, "made in one's own way" (RFC 9562 section 5.8).
func NewGUID(hash [32]byte) GUID {
	g := GUID(hash[:16])
	g[6] = g[6]&0x0f | 0x80
	g[8] = g[8]&0x3f | 0x80
	return g
}

// String prints g as 8-4-4-4-12 upper-case hexadecimal digits.
func (g GUID) String() string {
	return fmt.Sprintf("%X-%X-%X-%X-%X", g[0:4], g[4:6], g[6:8], g[8:10], g[10:16])
}

// Write writes the image to w, from its first to its last byte.
func Write(w io.Writer, m Medium) error {
	image, err := m.layOut()
	if err != nil {
		return err
	}
	if image.Size() > maxSize {
		return fmt.Errorf("image of %d bytes: at most %d fit a partition table", image.Size(), int64(maxSize))
	}
	f := newFrame(image.Size())
	if err := m.partition(f, image); err != nil {
		return fmt.Errorf("partition table: %w", err)
	}
	core, _ := image.LBA(m.Core)
	mbr, err := grub.HybridMBR(m.BootCode, core)
	if err != nil {
		return err
	}
	f.bootCode(mbr)
	if err := image.Frame(f.start, f.end); err != nil {
		return err
	}
	_, err = image.WriteTo(w)
	return err
}

// layOut gives everything its place in the file system.
func (m Medium) layOut() (*iso9660.Image, error) {
	return iso9660.New(m.Tree, iso9660.Options{
		VolumeID:  m.VolumeID,
		Publisher: m.Publisher,
		Epoch:     m.Epoch,
		Tail:      padding + gptSize,
		Boot: []iso9660.BootImage{
			{Platform: iso9660.BIOS, Path: m.Core, LoadSectors: grub.ElToritoLoadSize, Patch: grub.PatchBootInfo},
			{Platform: iso9660.EFI, Path: m.ESP},
		},
	})
}

// partition writes both copies of the GPT and the protective partition.
func (m Medium) partition(f *frame, image *iso9660.Image) error {
	esp, _ := m.Tree.Lookup(m.ESP)
	if esp.Size%512 != 0 {
		return fmt.Errorf("%s: %d bytes are not whole sectors", m.ESP, esp.Size)
	}
	if m.StateName == "" || len(m.StateName) > maxName {
		return fmt.Errorf("name %q: want 1 to %d characters", m.StateName, maxName)
	}
	lba, _ := image.LBA(m.ESP)
	// In the padding, of which it leaves at least 172 KiB before itself.
	at := (image.Size() - gptSize - stateSize) / stateSize * stateSize
	table := &gpt.Table{
		LogicalSectorSize:  512,
		PhysicalSectorSize: 512,
		ProtectiveMBR:      true,
		GUID:               m.Disk.String(),
		Partitions: []*gpt.Partition{{
			Index: 1,
			Type:  gpt.EFISystemPartition,
			Name:  "EFI system partition",
			GUID:  m.Partition.String(),
			Start: uint64(lba) * sectorsPerLBA,
			Size:  uint64(esp.Size),
		}, {
			Index: 2,
			Type:  stateType,
			Name:  m.StateName,
			GUID:  m.State.String(),
			Start: uint64(at) / 512,
			Size:  stateSize,
		}},
	}
	return table.Write(f, image.Size())
}
