package burn

import (
	"encoding/binary"
	"io"
)

// What a FAT32 file system of ours has (Microsoft's "FAT File System Specification",
// version 1.03).
const (
	fatReserved = 32 // sectors before the first table
	fatBackup   = 6  // the sector that holds a copy of the first
	fatRoot     = 2  // the cluster of the root directory
	fatFolder   = 3  // and that of the folder in it
	fatEnd      = 0x0fffffff
	fatDate     = 1<<5 | 1 // 1 January 1980
)

// fat32 is an empty FAT32 file system with a label and one folder. It is not
// go-diskfs' (1.9): that one's tables are two entries short of the last clusters, and
// the ".." of a folder in the root names cluster 2 where it has to be 0, which
// fsck.fat mends each time.
type fat32 struct {
	start, size int64 // of its partition, in bytes
	sector      int64
	id          uint32
	label       string // 11 characters
	folder      string // 8 capitals, shown as small letters
}

// cluster is how many bytes one has: as few as Windows takes for the size, at least a
// page, so that the tables stay small.
func (f fat32) cluster() int64 {
	switch {
	case f.size <= 260<<20:
		return f.sector
	case f.size <= 8<<30:
		return max(f.sector, 4<<10)
	case f.size <= 16<<30:
		return 8 << 10
	case f.size <= 32<<30:
		return 16 << 10
	}
	return 32 << 10
}

// table is how many sectors each of the two tables has: enough for all clusters that
// there would be without tables.
func (f fat32) table() int64 {
	clusters := f.size / f.cluster()
	return ((clusters+2)*4 + f.sector - 1) / f.sector
}

// head is how many bytes come before the clusters.
func (f fat32) head() int64 { return (fatReserved + 2*f.table()) * f.sector }

// write writes it: all that is read of an empty file system, and no more.
func (f fat32) write(w io.WriterAt) error {
	zeros, end := make([]byte, 1<<20), f.head()+2*f.cluster()
	for at := int64(0); at < end; at += int64(len(zeros)) {
		if _, err := w.WriteAt(zeros[:min(end-at, int64(len(zeros)))], f.start+at); err != nil {
			return err
		}
	}
	chain := make([]byte, f.sector)
	for i, next := range []uint32{0x0ffffff8, fatEnd, fatEnd, fatEnd} {
		binary.LittleEndian.PutUint32(chain[4*i:], next)
	}
	boot, info := f.boot(), f.info()
	for _, part := range []struct {
		at   int64
		data []byte
	}{
		{fatReserved * f.sector, chain}, {(fatReserved + f.table()) * f.sector, chain},
		{f.head(), append(f.entry(f.label, 0x08, 0), f.entry(f.folder, 0x10, fatFolder)...)},
		{f.head() + f.cluster(), append(f.entry(".", 0x10, fatFolder), f.entry("..", 0x10, 0)...)},
		{f.sector, info}, {(fatBackup + 1) * f.sector, info}, {fatBackup * f.sector, boot}, {0, boot},
	} {
		sectors := make([]byte, (int64(len(part.data))+f.sector-1)/f.sector*f.sector)
		copy(sectors, part.data)
		if _, err := w.WriteAt(sectors, f.start+part.at); err != nil {
			return err
		}
	}
	return nil
}

// boot is the first sector.
func (f fat32) boot() []byte {
	b, le := make([]byte, f.sector), binary.LittleEndian
	copy(b, "\xeb\x58\x90farboot ")
	le.PutUint16(b[11:], uint16(f.sector))
	b[13] = byte(f.cluster() / f.sector)
	le.PutUint16(b[14:], fatReserved)
	b[16], b[21] = 2, 0xf8 // tables; a fixed disk
	le.PutUint16(b[24:], 63)
	le.PutUint16(b[26:], 255)
	le.PutUint32(b[28:], uint32(f.start/f.sector))
	le.PutUint32(b[32:], uint32(f.size/f.sector))
	le.PutUint32(b[36:], uint32(f.table()))
	le.PutUint32(b[44:], fatRoot)
	le.PutUint16(b[48:], 1)
	le.PutUint16(b[50:], fatBackup)
	b[64], b[66] = 0x80, 0x29
	le.PutUint32(b[67:], f.id)
	copy(b[71:], f.label)
	copy(b[82:], "FAT32   ")
	copy(b[90:], "\xf4\xeb\xfd") // hlt: nothing boots from it
	b[510], b[511] = 0x55, 0xaa
	return b
}

// info is the second sector, which tells what is free.
func (f fat32) info() []byte {
	b, le := make([]byte, f.sector), binary.LittleEndian
	copy(b, "RRaA")
	copy(b[484:], "rrAa")
	le.PutUint32(b[488:], uint32((f.size-f.head())/f.cluster()-2))
	le.PutUint32(b[492:], fatFolder+1)
	le.PutUint32(b[508:], 0xaa550000)
	return b
}

// entry is one of a folder.
func (f fat32) entry(name string, attributes byte, cluster uint16) []byte {
	e := make([]byte, 32)
	copy(e, "           ")
	copy(e, name)
	e[11] = attributes
	if name == f.folder {
		e[12] = 0x08 // small letters
	}
	for _, at := range []int{16, 18, 24} {
		binary.LittleEndian.PutUint16(e[at:], fatDate)
	}
	binary.LittleEndian.PutUint16(e[26:], cluster)
	return e
}
