package grub

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// How a core image and the MBR are tied to their place on an ISO. A logical
// block of an ISO has 2048 bytes, the disk sectors that the MBR's code counts
// have 512.
const (
	// ElToritoLoadSize is the number of 512-byte sectors that the boot catalog
	// tells the BIOS to load: cdboot.img loads the rest itself.
	ElToritoLoadSize = 4
	// DiskbootOffset is where diskboot.img starts in a core image, in bytes.
	DiskbootOffset = 2048
	// BootInfoOffset is where the boot info table lies in a core image, in
	// bytes ("-boot-info-table" of mkisofs): u32 block of the primary volume
	// descriptor, u32 block of this file, u32 length, u32 checksum, 40 zeros.
	BootInfoOffset = 8
	// BlocklistOffset is where diskboot.img, in a core image, has the disk
	// sector of its successor, a u64 ("--grub2-boot-info" of xorriso).
	BlocklistOffset = DiskbootOffset + 500
	// MBRSectorOffset is where boot_hybrid.img has the disk sector of
	// diskboot.img, a u64 (GRUB_BOOT_MACHINE_KERNEL_SECTOR of a hybrid image).
	MBRSectorOffset = 0x1b0

	volumeDescriptor = 16 // block of the primary volume descriptor
	bootInfoEnd      = 64 // the checksum covers what follows
)

// PatchBootInfo ties a core image to its place: lba is the 2048-byte block of
// the ISO where the image starts. It fills in the blocklist, then the boot info
// table, whose checksum covers the blocklist. Patching anew for another place
// is fine.
func PatchBootInfo(image []byte, lba uint32) error {
	if len(image) < DiskbootOffset+sectorSize || len(image) > DiskbootOffset+sectorSize+MaxCore {
		return fmt.Errorf("grub: %d bytes are not a core image", len(image))
	}
	le := binary.LittleEndian
	le.PutUint64(image[BlocklistOffset:], diskbootSector(lba)+1)
	le.PutUint32(image[BootInfoOffset:], volumeDescriptor)
	le.PutUint32(image[BootInfoOffset+4:], lba)
	le.PutUint32(image[BootInfoOffset+8:], uint32(len(image)))
	le.PutUint32(image[BootInfoOffset+12:], checksum(image[bootInfoEnd:]))
	return nil
}

// checksum adds up little-endian words; a short last one is padded with zeros.
func checksum(data []byte) uint32 {
	var sum uint32
	for ; len(data) >= 4; data = data[4:] {
		sum += binary.LittleEndian.Uint32(data)
	}
	var last [4]byte
	copy(last[:], data)
	return sum + binary.LittleEndian.Uint32(last[:])
}

// diskbootSector returns the disk sector of diskboot.img in a core image that
// starts at block lba.
func diskbootSector(lba uint32) uint64 { return uint64(lba)*4 + DiskbootOffset/sectorSize }

// HybridMBR returns boot, the content of boot_hybrid.img, tied to a core image
// at block lba of the ISO. Bytes 0 to 439 are code, with the sector to go on
// with at [MBRSectorOffset]; the partition table from byte 446 on is empty and
// the medium's to write.
func HybridMBR(boot []byte, lba uint32) ([]byte, error) {
	le := binary.LittleEndian
	if len(boot) != sectorSize || le.Uint16(boot) != 0x63eb || le.Uint64(boot[MBRSectorOffset:]) != 1 || le.Uint16(boot[510:]) != 0xaa55 {
		return nil, errors.New("grub: this is not GRUB 2.06's boot_hybrid.img")
	}
	mbr := bytes.Clone(boot)
	le.PutUint64(mbr[MBRSectorOffset:], diskbootSector(lba))
	return mbr, nil
}
