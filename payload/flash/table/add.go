package table

import (
	"fmt"
	"unicode/utf16"
)

// New is a partition that is to be added. Type and GUID are as they lie on the disk:
// the first three groups of a GUID's text have their bytes in reverse.
type New struct {
	Type, GUID [16]byte
	Name       string // at most 36 characters
	Most       int64  // bytes, a multiple of a MiB
}

// Add adds a partition from start to the end of a disk of size bytes, both rounded to
// whole MiB, or as long as it may be, and moves the backup to the disk's end. It takes a GPT with an entry to spare.
func (t *Table) Add(size, start int64, n New) (Partition, error) {
	if t.gpt == nil {
		return Partition{}, fmt.Errorf("%w: only a GPT takes one more partition", ErrTable)
	}
	name := utf16.Encode([]rune(n.Name))
	if len(name) > 36 {
		return Partition{}, fmt.Errorf("%w: name %q is too long", ErrTable, n.Name)
	}
	number := 0
	for i := range len(t.gpt.array) / t.gpt.entry {
		if [16]byte(t.gpt.array[i*t.gpt.entry:]) == [16]byte{} {
			number = i + 1
			break
		}
	}
	if number == 0 {
		return Partition{}, fmt.Errorf("%w: it is full", ErrTable)
	}
	if last, err := t.Last(); err == nil {
		start = max(start, last.End())
	}
	start = (start + align - 1) / align * align
	end := min(t.gpt.move(size/t.sector)/align*align, start+n.Most)
	if end <= start {
		return Partition{}, fmt.Errorf("%w: a disk of %d bytes has no room behind byte %d", ErrTable, size, start)
	}
	t.guard(size)
	e := t.gpt.array[(number-1)*t.gpt.entry:][:t.gpt.entry]
	clear(e)
	copy(e, n.Type[:])
	copy(e[16:], n.GUID[:])
	le.PutUint64(e[32:], uint64(start/t.sector))
	for i, c := range name {
		le.PutUint16(e[56+2*i:], c)
	}
	p := Partition{Number: number, Start: start, Size: end - start}
	t.gpt.setEnd(number, p.End()/t.sector-1)
	t.Partitions = append(t.Partitions, p)
	return p, nil
}
