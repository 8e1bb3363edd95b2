package esp

import (
	"encoding/binary"
	"errors"
)

// Offsets in a directory entry and values of its attribute byte (Microsoft FAT
// specification 1.03, "FAT Directory Structure").
const (
	entrySize = 32

	attrVolume   = 0x08
	attrFolder   = 0x10
	attrLongName = 0x0f

	// firstDate is 1980-01-01, the earliest that FAT can say: years from 1980,
	// month and day in 7, 4 and 5 bits.
	firstDate = 0<<9 | 1<<5 | 1
)

// volume gives access to the parts of a FAT16 image in memory.
type volume struct {
	fats [2][]byte
	data []byte // cluster 2 and what follows
}

// finish makes the image that go-diskfs wrote reproducible and clean.
func finish(image []byte) error {
	le := binary.LittleEndian
	reserved, perFAT := int(le.Uint16(image[14:])), int(le.Uint16(image[22:]))
	rootEntries := int(le.Uint16(image[17:]))
	if le.Uint16(image[11:]) != 512 || int(image[13])*512 != clusterSize || image[16] != 2 {
		return errors.New("esp: go-diskfs laid the file system out in another way than expected")
	}
	var v volume
	rest := image[reserved*512:]
	for i := range v.fats {
		v.fats[i], rest = rest[:perFAT*512], rest[perFAT*512:]
	}
	root := rest[:rootEntries*entrySize]
	v.data = rest[rootEntries*entrySize:]

	// go-diskfs reserves cluster 2 for a root folder as FAT32 has it; here it
	// is a lost cluster.
	v.free(2)
	v.finishFolder(root)
	return nil
}

// finishFolder sets the dates of every entry in a folder's clusters, and of
// everything below. go-diskfs gives files without content a cluster, which FAT
// does not allow: it is taken back.
func (v *volume) finishFolder(entries []byte) {
	for ; len(entries) >= entrySize && entries[0] != 0; entries = entries[entrySize:] {
		e := entries[:entrySize]
		attr, cluster := e[11], binary.LittleEndian.Uint16(e[26:])
		if attr&attrLongName == attrLongName {
			continue
		}
		for _, at := range []int{16, 18, 24} { // created, accessed, modified
			binary.LittleEndian.PutUint16(e[at:], firstDate)
		}
		clear(e[13:16])
		clear(e[22:24])
		switch {
		case attr&attrVolume != 0 || e[0] == '.':
		case attr&attrFolder != 0:
			v.finishChain(cluster)
		case binary.LittleEndian.Uint32(e[28:]) == 0:
			v.free(cluster)
			binary.LittleEndian.PutUint16(e[26:], 0)
		}
	}
}

// finishChain does finishFolder for a folder that starts at cluster. A folder's
// clusters can be taken one by one, as no entry crosses their borders.
func (v *volume) finishChain(cluster uint16) {
	for cluster >= 2 && cluster < 0xfff0 {
		at := int(cluster-2) * clusterSize
		v.finishFolder(v.data[at : at+clusterSize])
		cluster = binary.LittleEndian.Uint16(v.fats[0][2*int(cluster):])
	}
}

// free marks a cluster as unused, in both copies of the table.
func (v *volume) free(cluster uint16) {
	for _, fat := range v.fats {
		binary.LittleEndian.PutUint16(fat[2*int(cluster):], 0)
	}
}
