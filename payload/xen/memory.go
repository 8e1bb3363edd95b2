package xen

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Kind is what a range of memory is for, by the numbers of E820 (ACPI 6.4,
// section 15) that multiboot uses, too.
type Kind uint32

const (
	RAM      Kind = 1
	Reserved Kind = 2
	Tables   Kind = 3 // of ACPI
	NVS      Kind = 4 // of ACPI, to be kept
	Unusable Kind = 5
)

// kinds are the names of Linux (e820_type_to_string in arch/x86/kernel/e820.c).
// All others are reserved.
var kinds = map[string]Kind{
	"System RAM": RAM, "ACPI Tables": Tables, "ACPI Non-volatile Storage": NVS, "Unusable memory": Unusable,
}

// Range is a stretch of physical memory; End is the first byte behind it.
type Range struct {
	Start, End uint64
	Kind       Kind
}

// Map is a machine's memory: in order, without overlaps, and where two ranges of
// one kind touch they are one.
type Map []Range

const (
	memmapDir = "firmware/memmap"
	// maxRanges bounds the map: Linux keeps 128 and 3 for each NUMA node
	// (E820_MAX_ENTRIES), of which large machines have 64.
	maxRanges = 512
)

// readMap reads the firmware's memory map below /sys, where each range is a folder
// with start, end and type (Documentation/ABI/testing/sysfs-firmware-memmap). It is
// the firmware's own: Linux has not taken from it what it uses itself.
func readMap(sysfs fs.FS) (Map, error) {
	dirs, err := fs.ReadDir(sysfs, memmapDir)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMap, err)
	}
	if len(dirs) > maxRanges {
		return nil, fmt.Errorf("%w: %d ranges, at most %d", ErrMap, len(dirs), maxRanges)
	}
	var all []Range
	for _, dir := range dirs {
		r, err := readRange(sysfs, path.Join(memmapDir, dir.Name()))
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrMap, dir.Name(), err)
		}
		all = append(all, r)
	}
	return newMap(all)
}

// readRange reads one range.
func readRange(sysfs fs.FS, dir string) (Range, error) {
	var text [3]string
	for i, name := range []string{"start", "end", "type"} {
		data, err := fs.ReadFile(sysfs, path.Join(dir, name))
		if err != nil {
			return Range{}, err
		}
		text[i] = strings.TrimSpace(string(data))
	}
	start, err := strconv.ParseUint(text[0], 0, 64)
	last, err2 := strconv.ParseUint(text[1], 0, 64)
	if err := cmp.Or(err, err2); err != nil {
		return Range{}, err
	}
	if last < start || last == 1<<64-1 {
		return Range{}, fmt.Errorf("it goes from %#x to %#x", start, last)
	}
	return Range{start, last + 1, cmp.Or(kinds[text[2]], Reserved)}, nil
}

// newMap puts ranges in order.
func newMap(all []Range) (Map, error) {
	slices.SortFunc(all, func(a, b Range) int { return cmp.Compare(a.Start, b.Start) })
	var m Map
	for _, r := range all {
		last := len(m) - 1
		switch {
		case last >= 0 && r.Start < m[last].End:
			return nil, fmt.Errorf("%w: %w at %#x", ErrMap, ErrOverlap, r.Start)
		case last >= 0 && r.Start == m[last].End && r.Kind == m[last].Kind:
			m[last].End = r.End
		default:
			m = append(m, r)
		}
	}
	if !slices.ContainsFunc(m, func(r Range) bool { return r.Kind == RAM }) {
		return nil, fmt.Errorf("%w: %w", ErrMap, errors.New("no RAM in it"))
	}
	return m, nil
}

// ram tells whether the whole range is RAM.
func (m Map) ram(start, size uint64) bool {
	return slices.ContainsFunc(m, func(r Range) bool {
		return r.Kind == RAM && r.Start <= start && start < r.End && size <= r.End-start
	})
}

// from returns how much RAM follows on an address.
func (m Map) from(addr uint64) uint64 {
	for _, r := range m {
		if r.Kind == RAM && r.Start <= addr && addr < r.End {
			return r.End - addr
		}
	}
	return 0
}

// total is how much RAM there is.
func (m Map) total() uint64 {
	var sum uint64
	for _, r := range m {
		if r.Kind == RAM {
			sum += r.End - r.Start
		}
	}
	return sum
}

// reserve returns the map with a part of its RAM reserved.
func (m Map) reserve(start, size uint64) Map {
	var out Map
	for _, r := range m {
		if r.Kind != RAM || start < r.Start || start >= r.End {
			out = append(out, r)
			continue
		}
		for _, part := range []Range{{r.Start, start, RAM}, {start, start + size, Reserved}, {start + size, r.End, RAM}} {
			if part.Start < part.End {
				out = append(out, part)
			}
		}
	}
	return out
}
