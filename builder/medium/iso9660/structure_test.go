package iso9660

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"
)

// Foreign readers take the little-endian half of every number and walk through
// folders. These tests look at what they leave out: the other half, the path
// tables, the order of records, link counts.

// image is a whole image in memory.
type image []byte

func (m image) sector(lba uint32) []byte { return m[int64(lba)*SectorSize:] }

// both reads a number that is there in both byte orders.
func both(t *testing.T, b []byte) uint32 {
	t.Helper()
	v := binary.LittleEndian.Uint32(b)
	if big := binary.BigEndian.Uint32(b[4:]); v != big {
		t.Errorf("number is %d little-endian and %d big-endian", v, big)
	}
	return v
}

// records splits a folder into its directory records.
func (m image) records(t *testing.T, lba uint32) [][]byte {
	t.Helper()
	size := both(t, m.sector(lba)[10:])
	if size%SectorSize != 0 {
		t.Errorf("folder at %d has %d bytes, not whole sectors", lba, size)
	}
	var all [][]byte
	for b := m.sector(lba)[:size]; len(b) > 0; {
		length := int(b[0])
		if length == 0 { // nothing more in this sector
			b = b[(len(b)-1)%SectorSize+1:]
			continue
		}
		if length%2 == 1 || length > (len(b)-1)%SectorSize+1 {
			t.Fatalf("folder at %d: record of %d bytes, %d are left in the sector", lba, length, (len(b)-1)%SectorSize+1)
		}
		all = append(all, b[:length])
		b = b[length:]
	}
	return all
}

func load(t *testing.T) image {
	p, _ := write(t, awkward(t), options())
	data, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRecords(t *testing.T) {
	m := load(t)
	pvd := m.sector(16)
	if got := both(t, pvd[80:]); int(got)*SectorSize != len(m) {
		t.Errorf("volume of %d sectors in an image of %d bytes", got, len(m))
	}
	var walk func(lba, parent uint32)
	walk = func(lba, parent uint32) {
		records := m.records(t, lba)
		if self, up := both(t, records[0][2:]), both(t, records[1][2:]); self != lba || up != parent {
			t.Errorf("folder at %d below %d says %d and %d", lba, parent, self, up)
		}
		folders, last := uint32(0), ""
		for _, r := range records[2:] {
			place := both(t, r[2:])
			both(t, r[10:])
			id := string(r[33:][:r[32]])
			if strings.TrimSuffix(last, ";1") >= strings.TrimSuffix(id, ";1") {
				t.Errorf("folder at %d: %q comes before %q", lba, last, id)
			}
			last = id
			if r[25]&flagFolder != 0 {
				folders++
				walk(place, lba)
			}
		}
		use := records[0][34:]
		if lba == both(t, pvd[156+2:]) {
			use = use[7:] // SP
		}
		if links := both(t, use[12:]); string(use[:2]) != "PX" || links != 2+folders {
			t.Errorf("folder at %d with %d folders: %s says %d links", lba, folders, use[:2], links)
		}
	}
	root := both(t, pvd[156+2:])
	walk(root, root)
}

func TestPathTables(t *testing.T) {
	m := load(t)
	pvd := m.sector(16)
	size := both(t, pvd[132:])
	little := m.sector(binary.LittleEndian.Uint32(pvd[140:]))[:size]
	big := m.sector(binary.BigEndian.Uint32(pvd[148:]))[:size]
	var places []uint32
	for len(little) > 0 {
		place, parent := binary.LittleEndian.Uint32(little[2:]), binary.LittleEndian.Uint16(little[6:])
		if binary.BigEndian.Uint32(big[2:]) != place || binary.BigEndian.Uint16(big[6:]) != parent || big[0] != little[0] {
			t.Fatalf("tables differ at folder %d", len(places)+1)
		}
		places = append(places, place)
		up := both(t, m.records(t, place)[1][2:])
		if int(parent) > len(places) || places[parent-1] != up {
			t.Errorf("folder %d at %d: parent %d does not lie at %d", len(places), place, parent, up)
		}
		step := 8 + (int(little[0])+1)&^1
		little, big = little[step:], big[step:]
	}
	if want := len(awkward(t).Dirs()) + 1; len(places) != want {
		t.Errorf("%d folders in the path table, %d in the tree", len(places), want)
	}
}
