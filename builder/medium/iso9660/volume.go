package iso9660

import (
	"encoding/binary"
	"fmt"
	"time"
)

// descriptors returns the volume descriptors, one sector each.
func (m *Image) descriptors() [][]byte {
	all := [][]byte{m.primary()}
	if len(m.opts.Boot) > 0 {
		all = append(all, m.bootRecord())
	}
	return append(all, descriptor(255)) // the set's terminator
}

// descriptor returns a volume descriptor of the given type without content.
func descriptor(kind byte) []byte {
	b := make([]byte, SectorSize)
	b[0] = kind
	copy(b[1:], "CD001\x01")
	return b
}

// primary encodes the primary volume descriptor (ECMA-119 section 8.4).
func (m *Image) primary() []byte {
	b := descriptor(1)
	text := func(from, to int, s string) { copy(b[from:to], fmt.Sprintf("%-*s", to-from, s)) }
	text(8, 40, "") // system
	text(40, 72, m.opts.VolumeID)
	both32(b[80:], m.sectors)
	both16(b[120:], 1) // volumes in the set
	both16(b[124:], 1) // number of this one
	both16(b[128:], SectorSize)
	both32(b[132:], uint32(len(m.encodePathTable(binary.LittleEndian))))
	binary.LittleEndian.PutUint32(b[140:], m.pathTableL)
	binary.BigEndian.PutUint32(b[148:], m.pathTableM)
	copy(b[156:190], m.record("\x00", m.root.lba, m.root.size, flagFolder, nil))
	text(190, 318, "") // volume set
	text(318, 446, m.opts.Publisher)
	text(446, 813, "") // preparer, application and three files of texts
	copy(b[813:], longDate(m.opts.Epoch))
	copy(b[830:], longDate(m.opts.Epoch))
	copy(b[847:], longDate(time.Time{})) // never expires
	copy(b[864:], longDate(time.Time{})) // effective at once
	b[881] = 1                           // version of the file structure
	return b
}

// longDate encodes t as volume descriptors have it, in hundredths of a second
// and quarters of an hour from UTC (ECMA-119 section 8.4.26.1). The zero time
// means "not specified".
func longDate(t time.Time) []byte {
	if t.IsZero() {
		return []byte("0000000000000000\x00")
	}
	return []byte(t.UTC().Format("20060102150405") + "00\x00")
}

// bootRecord encodes the boot record volume descriptor (El Torito figure 7).
func (m *Image) bootRecord() []byte {
	b := descriptor(0)
	copy(b[7:], "EL TORITO SPECIFICATION")
	binary.LittleEndian.PutUint32(b[71:], m.bootCatalog)
	return b
}

// encodeBootCatalog encodes the validation entry, the default entry and one
// section for each further boot image (El Torito figures 2 to 5).
func (m *Image) encodeBootCatalog() []byte {
	const bootable = 0x88
	b := make([]byte, 0, SectorSize)
	for i, image := range m.opts.Boot {
		head, entry := make([]byte, 32), make([]byte, 32)
		if i == 0 {
			copy(head, []byte{0x01, byte(image.Platform)})
			copy(head[30:], "\x55\xaa")
			binary.LittleEndian.PutUint16(head[28:], -sum16(head))
		} else {
			more := byte(0x90)
			if i == len(m.opts.Boot)-1 {
				more = 0x91
			}
			copy(head, []byte{more, byte(image.Platform), 1, 0})
		}
		n := m.byPath[image.Path]
		entry[0] = bootable
		binary.LittleEndian.PutUint16(entry[6:], loadSectors(image, n.size))
		binary.LittleEndian.PutUint32(entry[8:], n.lba)
		b = append(append(b, head...), entry...)
	}
	return b
}

// loadSectors is the number that the boot catalog has for image.
func loadSectors(image BootImage, size int64) uint16 {
	all := (size + 511) / 512
	switch {
	case image.LoadSectors != 0:
		return image.LoadSectors
	case all > 0xffff:
		return 0
	}
	return uint16(all)
}

// sum16 adds up the little-endian words of b.
func sum16(b []byte) (sum uint16) {
	for i := 0; i < len(b); i += 2 {
		sum += binary.LittleEndian.Uint16(b[i:])
	}
	return sum
}

// encodePathTable lists the folders (ECMA-119 section 9.4) in one of the two
// byte orders that a volume has the table in.
func (m *Image) encodePathTable(order binary.AppendByteOrder) []byte {
	var b []byte
	for _, d := range m.folders {
		id := d.id
		if d == m.root {
			id = "\x00"
		}
		b = append(b, byte(len(id)), 0)
		b = order.AppendUint32(b, d.lba)
		b = order.AppendUint16(b, d.parent.number)
		b = append(b, id...)
		if len(id)%2 == 1 {
			b = append(b, 0)
		}
	}
	return b
}
