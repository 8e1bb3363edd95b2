package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

const (
	// sectorSize is the logical block of ISO 9660 on every medium, in bytes.
	sectorSize = 2048
	// firstDescriptor is the sector of the primary volume descriptor.
	firstDescriptor = 16
)

// readVolume reads what go-diskfs does not hand out of the primary volume
// descriptor (ECMA-119 section 8.4), and checks the lengths that go-diskfs
// trusts.
func (r *Report) readVolume(d *disk) error {
	b := make([]byte, sectorSize)
	if _, err := d.ReadAt(b, firstDescriptor*sectorSize); err != nil {
		return err
	}
	if string(b[:7]) != "\x01CD001\x01" {
		return errors.New("no ISO 9660 descriptor at sector 16")
	}
	le := binary.LittleEndian
	if size := le.Uint16(b[128:]); size != sectorSize {
		return fmt.Errorf("blocks of %d bytes, want %d", size, sectorSize)
	}
	volume := int64(le.Uint32(b[80:])) * sectorSize
	pathTable, root := int64(le.Uint32(b[132:])), int64(le.Uint32(b[156+10:]))
	if volume > d.size || pathTable > volume || root > volume {
		return fmt.Errorf("volume of %d bytes, path table of %d, root of %d, in an image of %d", volume, pathTable, root, d.size)
	}
	epoch, err := time.Parse("20060102150405", string(b[830:844]))
	if err != nil {
		return fmt.Errorf("modification date: %w", err)
	}
	r.VolumeID = strings.TrimRight(string(b[40:72]), " ")
	r.Publisher = strings.TrimRight(string(b[318:446]), " ")
	r.Epoch = epoch
	return nil
}

// readBoot reads the boot catalog (El Torito 1.0 sections 2.1 to 2.3). It
// comes after readFiles, whose places give the entries their paths.
func (r *Report) readBoot(d *disk) error {
	b := make([]byte, sectorSize)
	if _, err := d.ReadAt(b, (firstDescriptor+1)*sectorSize); err != nil {
		return err
	}
	if !bytes.HasPrefix(b, []byte("\x00CD001\x01EL TORITO SPECIFICATION")) {
		return errors.New("no El Torito descriptor at sector 17")
	}
	if _, err := d.ReadAt(b, int64(binary.LittleEndian.Uint32(b[71:]))*sectorSize); err != nil {
		return err
	}
	if b[0] != 1 || b[30] != 0x55 || b[31] != 0xaa || sum16(b[:32]) != 0 {
		return errors.New("validation entry is damaged")
	}
	r.addBoot(b[1], b[32:64])
	for at := 64; at+32 <= len(b) && (b[at] == 0x90 || b[at] == 0x91); {
		header := b[at : at+32]
		at += 32
		for range binary.LittleEndian.Uint16(header[2:]) {
			if at+32 > len(b) {
				return errors.New("section passes the end of the sector")
			}
			r.addBoot(header[1], b[at:at+32])
			at += 32
		}
		if header[0] == 0x91 {
			break
		}
	}
	return nil
}

// addBoot adds one entry of the boot catalog to the report, if it is bootable.
func (r *Report) addBoot(platform byte, entry []byte) {
	if entry[0] != 0x88 {
		return
	}
	e := BootEntry{
		Platform:    fmt.Sprintf("%#02x", platform),
		LBA:         binary.LittleEndian.Uint32(entry[8:]),
		LoadSectors: binary.LittleEndian.Uint16(entry[6:]),
	}
	switch platform {
	case 0x00:
		e.Platform = "BIOS"
	case 0xef:
		e.Platform = "UEFI"
	}
	for _, f := range r.Files {
		if f.Size > 0 && f.start == int64(e.LBA)*sectorSize {
			e.Path = f.Path
		}
	}
	r.Boot = append(r.Boot, e)
}

// sum16 adds up the little-endian words of b.
func sum16(b []byte) (sum uint16) {
	for i := 0; i < len(b); i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	return sum
}
