package iso9660

import (
	"encoding/binary"
	"time"
)

// maxRecord is the longest directory record: its length is one byte and even.
const maxRecord = 254

// Flags of a directory record (ECMA-119 section 9.1.6).
const (
	flagFolder = 0x02
	flagMore   = 0x80 // the file goes on in the next record
)

// encodeFolder returns the directory records of d, in whole sectors, and the
// continuation areas that follow them. Their lengths do not depend on any LBA,
// so that layOut can use them before there are any.
func (m *Image) encodeFolder(d *node) (records, names []byte) {
	var recs, cont area
	at := func(offset, length int) []byte {
		where := d.lba + uint32(d.size/SectorSize) + uint32(offset/SectorSize)
		return continuation(where, offset%SectorSize, length)
	}
	self := m.attributes(d)
	if d == m.root {
		er := extensionsReference()
		self = append(sharingProtocol(), self...)
		self = append(self, at(cont.put(er), len(er))...)
	}
	recs.put(m.record("\x00", d.lba, d.size, flagFolder, self))
	recs.put(m.record("\x01", d.parent.lba, d.parent.size, flagFolder, m.attributes(d.parent)))
	for _, c := range d.children {
		use := append(m.attributes(c), alternateName(c.name)...)
		if recordSize(c.id)+len(use) > maxRecord {
			nm := alternateName(c.name)
			use = append(m.attributes(c), at(cont.put(nm), len(nm))...)
		}
		for _, r := range m.records(c, use) {
			recs.put(r)
		}
	}
	recs.fill()
	cont.fill()
	return recs, cont
}

// records returns the directory records of n: one, or one per extent of a file
// that is too large for one (ECMA-119 section 6.5.1).
func (m *Image) records(n *node, use []byte) [][]byte {
	if n.isFolder() {
		return [][]byte{m.record(n.id, n.lba, n.size, flagFolder, use)}
	}
	var all [][]byte
	lba, left := n.lba, n.size
	for left > maxExtent {
		all = append(all, m.record(n.id, lba, maxExtent, flagMore, use))
		lba += maxExtent / SectorSize
		left -= maxExtent
	}
	return append(all, m.record(n.id, lba, left, 0, use))
}

// record encodes one directory record (ECMA-119 section 9.1).
func (m *Image) record(id string, lba uint32, size int64, flags byte, use []byte) []byte {
	b := make([]byte, recordSize(id), maxRecord)
	both32(b[2:], lba)
	both32(b[10:], uint32(size))
	copy(b[18:], shortDate(m.opts.Epoch))
	b[25] = flags
	both16(b[28:], 1) // the first and only volume of the set
	b[32] = byte(len(id))
	copy(b[33:], id)
	b = append(b, use...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	b[0] = byte(len(b))
	return b
}

// recordSize is the length of a record before its system use area, in bytes.
func recordSize(id string) int { return (33 + len(id) + 1) &^ 1 }

// attributes encodes the PX and TF entries of n (RRIP 1.10 sections 4.1.1 and
// 4.1.6): type and permissions, link count, owner and group 0; modified,
// accessed and changed at the epoch.
func (m *Image) attributes(n *node) []byte {
	mode, links := uint32(0o100644), uint32(1)
	switch {
	case n.isFolder():
		mode, links = 0o040755, 2
		for _, c := range n.children {
			if c.isFolder() {
				links++
			}
		}
	case n.file.Mode&0o111 != 0:
		mode = 0o100755
	}
	px := make([]byte, 36)
	copy(px, "PX\x24\x01")
	both32(px[4:], mode)
	both32(px[12:], links)

	const modifyAccessChange = 0x0e
	tf := append([]byte("TF"), 5+3*7, 1, modifyAccessChange)
	for range 3 {
		tf = append(tf, shortDate(m.opts.Epoch)...)
	}
	return append(px, tf...)
}

// alternateName encodes the NM entries of name (RRIP 1.10 section 4.1.4). One
// entry is at most 255 bytes long, 5 of them not name.
func alternateName(name string) []byte {
	const most = 250
	var nm []byte
	for len(name) > most {
		nm = append(nm, 'N', 'M', 5+most, 1, 1) // 1: goes on
		nm = append(nm, name[:most]...)
		name = name[most:]
	}
	nm = append(nm, 'N', 'M', byte(5+len(name)), 1, 0)
	return append(nm, name...)
}

// sharingProtocol encodes the SP entry (SUSP 1.12 section 5.3).
func sharingProtocol() []byte { return []byte("SP\x07\x01\xbe\xef\x00") }

// continuation encodes a CE entry (SUSP 1.12 section 5.1): the system use area
// goes on for length bytes at offset in the sector lba.
func continuation(lba uint32, offset, length int) []byte {
	ce := make([]byte, 28)
	copy(ce, "CE\x1c\x01")
	both32(ce[4:], lba)
	both32(ce[12:], uint32(offset))
	both32(ce[20:], uint32(length))
	return ce
}

// extensionsReference encodes the ER entry (SUSP 1.12 section 5.5) with the
// texts that RRIP 1.10 section 4.3 prescribes.
func extensionsReference() []byte {
	const (
		id          = "RRIP_1991A"
		description = "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS"
		source      = "PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE.  SEE PUBLISHER IDENTIFIER IN PRIMARY VOLUME DESCRIPTOR FOR CONTACT INFORMATION."
	)
	er := []byte{'E', 'R', byte(8 + len(id) + len(description) + len(source)), 1,
		byte(len(id)), byte(len(description)), byte(len(source)), 1}
	return append(er, id+description+source...)
}

// both16 and both32 write v little-endian, then big-endian (ECMA-119 section 7.2.3).
func both16(b []byte, v uint16) {
	binary.LittleEndian.PutUint16(b, v)
	binary.BigEndian.PutUint16(b[2:], v)
}

func both32(b []byte, v uint32) {
	binary.LittleEndian.PutUint32(b, v)
	binary.BigEndian.PutUint32(b[4:], v)
}

// shortDate encodes t as directory records have it (ECMA-119 section 9.1.5).
func shortDate(t time.Time) []byte {
	t = t.UTC()
	return []byte{byte(t.Year() - 1900), byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()), 0}
}
