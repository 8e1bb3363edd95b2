package xen

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// Numbers of the ELF specification (TIS ELF 1.2, "ELF Header" and "Program
// Header"), for files of 32 bits.
const (
	elfHeader  = 52 // bytes
	elfProgram = 32
	elfLoad    = 1  // PT_LOAD
	maxProgram = 64 // program headers; Xen has 2
)

// image is a hypervisor's file.
type image struct {
	entry uint32
	parts []part // by address, none empty
}

// part is what is loaded into one stretch of memory.
type part struct {
	addr uint32
	data []byte
	size uint32 // in memory, at least len(data)
}

// base is the lowest address.
func (x *image) base() uint64 { return uint64(x.parts[0].addr) }

// parseELF reads an executable of 32 bits for x86, as multiboot loads it.
func parseELF(file []byte) (*image, error) {
	fail := func(format string, args ...any) (*image, error) {
		return nil, fmt.Errorf("%w: %w", ErrELF, fmt.Errorf(format, args...))
	}
	le := binary.LittleEndian
	switch {
	case len(file) < elfHeader || string(file[:4]) != "\x7fELF":
		return fail("no ELF header in %d bytes", len(file))
	case file[4] != 1 || file[5] != 1:
		return fail("class %d and byte order %d, want 32 bits and little-endian", file[4], file[5])
	case le.Uint16(file[16:]) != 2 || le.Uint16(file[18:]) != 3:
		return fail("type %d for machine %d, want an executable for x86", le.Uint16(file[16:]), le.Uint16(file[18:]))
	case le.Uint16(file[42:]) != elfProgram || le.Uint16(file[44:]) > maxProgram:
		return fail("%d program headers of %d bytes", le.Uint16(file[44:]), le.Uint16(file[42:]))
	}
	x := &image{entry: le.Uint32(file[24:])}
	table, count := uint64(le.Uint32(file[28:])), uint64(le.Uint16(file[44:]))
	if table+count*elfProgram > uint64(len(file)) {
		return fail("truncated: %d bytes, the program headers end at %d", len(file), table+count*elfProgram)
	}
	for i := range count {
		head := file[table+i*elfProgram:][:elfProgram]
		offset, size, memory := uint64(le.Uint32(head[4:])), uint64(le.Uint32(head[16:])), le.Uint32(head[20:])
		if le.Uint32(head) != elfLoad || memory == 0 {
			continue
		}
		if offset+size > uint64(len(file)) {
			return fail("truncated: %d bytes, part %d ends at %d", len(file), i, offset+size)
		}
		addr := le.Uint32(head[12:])
		if size > uint64(memory) || addr%pageSize != 0 || uint64(addr)+uint64(memory) > below4G {
			return fail("part %d: %d bytes for %d at %#x", i, size, memory, addr)
		}
		x.parts = append(x.parts, part{addr, file[offset : offset+size], memory})
	}
	slices.SortFunc(x.parts, func(a, b part) int { return int(int64(a.addr) - int64(b.addr)) })
	if !slices.ContainsFunc(x.parts, func(p part) bool { return x.entry >= p.addr && x.entry-p.addr < uint32(len(p.data)) }) {
		return fail("it begins at %#x, where nothing is loaded", x.entry)
	}
	return x, nil
}
