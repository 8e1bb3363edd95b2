package hybrid

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/farboot/farboot/builder/medium/iso9660"
)

// sectorsPerLBA is how many sectors of 512 bytes, in which BIOS and GPT count,
// are in one of the file system's.
const sectorsPerLBA = iso9660.SectorSize / 512

// GRUB's CD core image is cdboot.img (2048 bytes), diskboot.img (512 bytes) and
// the rest of GRUB. The firmware loads the first four sectors of 512 bytes; from
// CD these load what follows by the boot info table. From a stick boot_hybrid.img
// loads diskboot.img, which loads the rest by its list of blocks.
const (
	cdbootSize   = 2048
	diskbootSize = 512
	// blockList is where diskboot.img keeps the first sector of the rest.
	blockList = cdbootSize + diskbootSize - 12
	// infoTable and infoEnd bound the boot info table in cdboot.img.
	infoTable, infoEnd = 8, 64
	// kernelSector is where boot_hybrid.img keeps the sector of diskboot.img
	// (GRUB_BOOT_MACHINE_KERNEL_SECTOR of the hybrid variant).
	kernelSector = 0x1b0
	// bootCodeEnd is where a master boot record's code ends and its disk
	// signature begins.
	bootCodeEnd = 440
	// activeEntry is the second of the four partition entries.
	activeEntry = 462
)

// patchCore tells GRUB's core image where it lies. The checksum in the boot
// info table covers the block list, so it comes last.
func patchCore(core []byte, lba uint32) error {
	if len(core) <= cdbootSize+diskbootSize {
		return fmt.Errorf("%d bytes: too short for a GRUB core image", len(core))
	}
	le := binary.LittleEndian
	le.PutUint64(core[blockList:], uint64(lba)*sectorsPerLBA+(cdbootSize+diskbootSize)/512)

	var sum uint32
	for rest := core[infoEnd:]; len(rest) > 0; rest = rest[min(4, len(rest)):] {
		var word [4]byte
		copy(word[:], rest)
		sum += le.Uint32(word[:])
	}
	table := core[infoTable:infoEnd]
	clear(table)
	le.PutUint32(table[0:], 16) // LBA of the primary volume descriptor
	le.PutUint32(table[4:], lba)
	le.PutUint32(table[8:], uint32(len(core)))
	le.PutUint32(table[12:], sum)
	return nil
}

// checkBootCode refuses what is not a boot sector.
func checkBootCode(code []byte) error {
	if len(code) != 512 || code[510] != 0x55 || code[511] != 0xaa {
		return errors.New("boot code: not a boot sector of 512 bytes that ends in 55 AA")
	}
	return nil
}

// writeBootCode writes the code of boot_hybrid.img in front of the partition
// entries, and a second entry: some BIOSes do not start a disk without an active
// partition, and the protective one must not be active.
func (m Medium) writeBootCode(f *os.File, image *iso9660.Image) error {
	code := append([]byte(nil), m.BootCode[:bootCodeEnd]...)
	lba, _ := image.LBA(m.Core)
	binary.LittleEndian.PutUint64(code[kernelSector:], uint64(lba)*sectorsPerLBA+cdbootSize/512)
	if _, err := f.WriteAt(code, 0); err != nil {
		return err
	}
	var active [16]byte
	active[0] = 0x80
	binary.LittleEndian.PutUint32(active[12:], 1) // one sector, from 0, of type 0: "unused"
	_, err := f.WriteAt(active[:], activeEntry)
	return err
}
