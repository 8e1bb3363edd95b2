package xen

import "fmt"

// placer finds room in a machine's memory.
type placer struct {
	memory   Map
	taken    []Range
	segments []Segment
	ebda     uint64 // where UEFI has it; 0 elsewhere
}

// lower is the size of the memory from 0 on, in bytes, as a BIOS would tell it.
func (p *placer) lower() uint64 {
	if p.ebda != 0 {
		return p.ebda
	}
	return min(p.memory.from(0), 640<<10)
}

// take puts a part where it has to be.
func (p *placer) take(what string, at, size uint64) error {
	size = pages(size)
	if !p.memory.ram(at, size) {
		return fmt.Errorf("%s at %#x, %d bytes: %w", what, at, size, ErrNotRAM)
	}
	for _, t := range p.taken {
		if at < t.End && t.Start < at+size {
			return fmt.Errorf("%s at %#x, %d bytes: %w", what, at, size, ErrOverlap)
		}
	}
	p.taken = append(p.taken, Range{Start: at, End: at + size})
	return nil
}

// lowest puts a part at the lowest multiple of align, a power of two, that has
// room for it between from and to.
//
// Modules lie low, from 16 MiB on, because Xen moves them up: it copies through
// windows in which the destination is always higher, so that one which overlaps
// its source from below is destroyed. Low ones are never overlapped.
func (p *placer) lowest(what string, size, align, from, to uint64) (uint64, error) {
	size = pages(size)
	for _, r := range p.memory {
		if r.Kind != RAM {
			continue
		}
		at := (max(r.Start, from) + align - 1) &^ (align - 1)
		for at < min(r.End, to) && size <= min(r.End, to)-at {
			next := p.behind(at, size)
			if next == at {
				return at, p.take(what, at, size)
			}
			at = (next + align - 1) &^ (align - 1)
		}
	}
	return 0, fmt.Errorf("%s, %d bytes between %#x and %#x: %w", what, size, from, to, ErrNoRoom)
}

// behind returns where the first part that is in the way ends, or at.
func (p *placer) behind(at, size uint64) uint64 {
	for _, t := range p.taken {
		if at < t.End && t.Start < at+size {
			return t.End
		}
	}
	return at
}

// image puts Xen where it was made for or, if there is no RAM and its header
// allows it, elsewhere. It returns how far it was moved.
func (p *placer) image(file []byte, x *image, h *header) (delta uint64, err error) {
	last := x.parts[len(x.parts)-1]
	base, end := x.base(), uint64(last.addr)+uint64(last.size)
	if h.relocatable && !p.memory.ram(base, pages(end-base)) {
		at, err := p.lowest("Xen", end-base, uint64(h.align), uint64(h.min), uint64(h.max))
		if err != nil {
			return 0, err
		}
		p.taken = p.taken[:len(p.taken)-1] // its parts follow
		delta = at - base
	}
	for _, part := range x.parts {
		at := uint64(part.addr) + delta
		if err := p.take("Xen", at, uint64(part.size)); err != nil {
			return 0, err
		}
		p.segments = append(p.segments, Segment{Name: "Xen", Addr: at, Size: pages(uint64(part.size)), Data: part.data})
	}
	return delta, nil
}

// check refuses what Linux would, with a better word for it
// (sanity_check_segment_list in kernel/kexec_core.c).
func (p *placer) check() error {
	var sum uint64
	for _, s := range p.segments {
		sum += s.Size
	}
	if half := p.memory.total() / 2; sum > half {
		return fmt.Errorf("%d bytes in all, Linux loads half of the memory, %d: %w", sum, half, ErrNoRoom)
	}
	if len(p.segments) > maxSegments {
		return fmt.Errorf("%d segments, Linux loads %d: %w", len(p.segments), maxSegments, ErrModules)
	}
	return nil
}
