package xen

import (
	"encoding/binary"
	"fmt"
)

// Numbers of the Multiboot2 specification 2.0, section 3.1.
const (
	headerMagic = 0xe85250d6
	headerRoom  = 32 << 10 // in which the whole header lies
	headerAlign = 8

	headEnd      = 0
	headInfo     = 1 // tags of the information that it wants
	headAligned  = 6 // modules begin at pages; they do
	headRelocate = 10
	headOptional = 1 // flag: the loader may pass over the tag
)

// header is what a hypervisor asks of its loader.
type header struct {
	// relocatable says that it may be loaded elsewhere: between min and max, at a
	// multiple of align.
	relocatable     bool
	min, max, align uint32
}

// parseHeader finds and reads the multiboot2 header of a file.
func parseHeader(file []byte) (*header, error) {
	le := binary.LittleEndian
	room := file[:min(len(file), headerRoom)]
	for at := 0; at+16 <= len(room); at += headerAlign {
		head := room[at:]
		if le.Uint32(head) != headerMagic || le.Uint32(head)+le.Uint32(head[4:])+le.Uint32(head[8:])+le.Uint32(head[12:]) != 0 {
			continue
		}
		size := le.Uint32(head[8:])
		if arch := le.Uint32(head[4:]); arch != 0 {
			return nil, fmt.Errorf("%w: it is for architecture %d, want 0 (i386)", ErrHeader, arch)
		}
		if size < 16 || uint64(size) > uint64(len(head)) {
			return nil, fmt.Errorf("%w: %d bytes", ErrHeader, size)
		}
		return parseTags(head[16:size])
	}
	return nil, fmt.Errorf("%w: none in the first %d bytes", ErrHeader, len(room))
}

// parseTags reads the header's tags.
func parseTags(tags []byte) (*header, error) {
	le, h := binary.LittleEndian, new(header)
	for len(tags) >= 8 {
		kind, flags, size := le.Uint16(tags), le.Uint16(tags[2:]), le.Uint32(tags[4:])
		if size < 8 || uint64(size) > uint64(len(tags)) {
			return nil, fmt.Errorf("%w: tag %d has %d bytes", ErrHeader, kind, size)
		}
		body := tags[8:size]
		switch {
		case kind == headEnd:
			return h, nil
		case kind == headRelocate && len(body) == 16:
			*h = header{true, le.Uint32(body), le.Uint32(body[4:]), le.Uint32(body[8:])}
			if h.align < pageSize || h.align&(h.align-1) != 0 {
				return nil, fmt.Errorf("%w: alignment %#x", ErrHeader, h.align)
			}
		case flags&headOptional != 0 || kind == headAligned:
		case kind == headInfo:
			if err := parseWishes(body); err != nil {
				return nil, err
			}
		default: // among them the addresses that would prevail over those of ELF
			return nil, fmt.Errorf("%w: it demands tag %d, which is not known here", ErrHeader, kind)
		}
		tags = tags[min(uint64(len(tags)), (uint64(size)+headerAlign-1)/headerAlign*headerAlign):]
	}
	return nil, fmt.Errorf("%w: it has no end", ErrHeader)
}

// parseWishes refuses a header that cannot do without what it will not get.
func parseWishes(body []byte) error {
	for ; len(body) >= 4; body = body[4:] {
		switch wish := binary.LittleEndian.Uint32(body); wish {
		case tagLine, tagLoader, tagModule, tagMemory, tagMap:
		default:
			return fmt.Errorf("%w: it wants information %d, which is not given here", ErrHeader, wish)
		}
	}
	return nil
}
