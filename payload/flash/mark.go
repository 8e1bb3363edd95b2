package flash

import (
	"bytes"
	"fmt"
	"hash/crc32"

	"github.com/farboot/farboot/payload/flash/table"
	"github.com/farboot/farboot/payload/object"
)

// state is what a disk holds before it is written.
type state int

const (
	foreign state = iota // something else, or another image of ours
	begun                // this image in part, and nothing boots
	marked               // this image, or what its system has made of it
)

const (
	// markSize is how much of a disk a mark takes, in bytes: what a disk writes at
	// once or not at all.
	markSize = 512
	// markRoom is how many bytes must be zeros for a mark to be put at their end:
	// what looks free may be the padding of something that ends there.
	markRoom = 4096
)

// newMark returns a mark. People find it by strings(1).
func newMark(word string, image object.ID, at int64) []byte {
	mark := make([]byte, markSize)
	text := fmt.Sprintf("farboot flash 1 %s image=%s at=%d ", word, image, at)
	copy(mark, fmt.Sprintf("%ssum=%08x\n", text, crc32.ChecksumIEEE([]byte(text))))
	return mark
}

// parseMark returns what a whole mark at this place says.
func parseMark(sector []byte, at int64) (word string, image object.ID, ok bool) {
	if !bytes.HasPrefix(sector, []byte("farboot flash 1 ")) {
		return "", object.ID{}, false
	}
	var name string
	if _, err := fmt.Sscanf(string(sector), "farboot flash 1 %s image=%s at=", &word, &name); err != nil {
		return "", object.ID{}, false
	}
	image, err := object.ParseID(name)
	return word, image, err == nil && bytes.Equal(sector, newMark(word, image, at))
}

// begunMarks fills what is held back from a disk while it is not written: no
// firmware takes it for anything, and since each sector is different a disk that
// keeps other bytes in the same place is found out.
func begunMarks(to []byte, image object.ID, at int64) {
	for i := 0; i < len(to); i += markSize {
		copy(to[i:], newMark("begun", image, at+int64(i)))
	}
}

// findMark tells what the marks in the first MiB of a disk say, and whether there
// is one of another image that was done.
func findMark(head []byte, image object.ID) (held state, other bool) {
	boots := !isZero(head[:markSize])
	for at := 0; at < len(head); at += markSize {
		word, of, ok := parseMark(head[at:at+markSize], int64(at))
		switch {
		case !ok:
		case of == image && boots && word == "done":
			return marked, false
		case of == image && !boots:
			return begun, false
		case boots && word == "done":
			other = true
		}
	}
	return foreign, other
}

// isZero tells whether all bytes are zero.
func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// place finds where an image has room for the mark: at the end of what lies
// between its table and its first partition. It returns 0 where it has none.
func place(head []byte, t *table.Table) int64 {
	start, end := t.Gap()
	if const9660 := 32 << 10; string(head[const9660+1:const9660+6]) == "CD001" { // ECMA-119, 8.4.2
		end = min(end, int64(const9660)) // what follows is no gap
	}
	at := end&^(markRoom-1) - markSize
	room := at + markSize - markRoom
	if room < start {
		return 0
	}
	_, _, old := parseMark(head[at:at+markSize], at) // of the disk that the image was copied from
	if !isZero(head[room:at]) || !old && !isZero(head[at:at+markSize]) {
		return 0
	}
	return at
}

// CheckImage tells whether an image, by its first MiB, can be flashed to disks with
// sectors of 512 bytes and known again afterwards. Whoever publishes an image can
// so be told before any machine is.
func CheckImage(head []byte) error {
	full := make([]byte, table.Head)
	copy(full, head)
	_, _, err := examine(full, 512)
	return err
}

// examine reads the table of an image and finds the place for its mark.
func examine(head []byte, sector int) (*table.Table, int64, error) {
	t, err := table.Parse(head, sector)
	if err != nil {
		return nil, 0, fmt.Errorf("%w: %w", ErrImage, err)
	}
	mark := place(head, t)
	if mark == 0 && t.ID == "" {
		return nil, 0, fmt.Errorf("%w: it has neither a disk ID nor 4096 free bytes before its first partition, so that a disk with it could not be known again", ErrImage)
	}
	return t, mark, nil
}
