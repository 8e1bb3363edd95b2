package hybrid

import (
	"encoding/binary"
	"os"

	"github.com/farboot/farboot/builder/medium/iso9660"
)

const (
	// sectorsPerLBA is how many sectors of 512 bytes, in which BIOS and GPT
	// count, are in one of the file system's.
	sectorsPerLBA = iso9660.SectorSize / 512
	// bootCodeEnd is where a master boot record's code ends and its disk
	// signature begins.
	bootCodeEnd = 440
	// activeEntry is the second of the four partition entries.
	activeEntry = 462
)

// writeBootCode writes the code of mbr in front of the partition entries, and a
// second entry: some BIOSes do not start a disk without an active partition,
// and the protective one must not be active.
func writeBootCode(f *os.File, mbr []byte) error {
	if _, err := f.WriteAt(mbr[:bootCodeEnd], 0); err != nil {
		return err
	}
	var active [16]byte
	active[0] = 0x80
	binary.LittleEndian.PutUint32(active[12:], 1) // one sector, from 0, of type 0: "unused"
	_, err := f.WriteAt(active[:], activeEntry)
	return err
}
