package xen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// What Xen finds wrong, in the order in which it would: by a reset without a word, a
// line that is lost, or a panic.
var (
	errSilent = errors.New("a reset without output: the trampoline goes where there is no room")
	errNoRSDP = errors.New("panic: a valid RSDP was not found")
	errHangs  = errors.New("a hang: calls into a BIOS that is not there")
	errBoot   = errors.New("not started by multiboot2")
)

// seen is what Xen 4.17 makes of its memory when it starts.
type seen struct {
	options    string
	trampoline uint32 // where it puts its own
	loader     string
	modules    []moduleInfo // by their cooked lines
	memory     map[uint64]string
	tags       []uint32
	base       uint32
}

// memory is physical memory after kexec has put the segments in their places.
type memory struct{ plan *Plan }

// at returns n bytes from an address.
func (m memory) at(addr uint64, n int) []byte {
	out := make([]byte, n)
	for _, s := range m.plan.Segments {
		for i := range out {
			if a := addr + uint64(i); s.Addr <= a && a < s.Addr+s.Size && a-s.Addr < uint64(len(s.Data)) {
				out[i] = s.Data[a-s.Addr]
			}
		}
	}
	return out
}

func (m memory) u16(addr uint64) uint32 { return uint32(binary.LittleEndian.Uint16(m.at(addr, 2))) }
func (m memory) u32(addr uint64) uint32 { return binary.LittleEndian.Uint32(m.at(addr, 4)) }

// segment returns the one of that name.
func (p *Plan) segment(name string) *Segment {
	for i := range p.Segments {
		if p.Segments[i].Name == name {
			return &p.Segments[i]
		}
	}
	return nil
}

// start reads a plan as Xen 4.17 does, written after xen/arch/x86/boot/head.S,
// boot/reloc.c, setup.c and drivers/acpi/osl.c, and not after this package. The BIOS
// data area of a machine with a BIOS is one of 639 KiB.
func start(p *Plan, efi bool) (*seen, error) {
	m := memory{p}
	slots := p.Entry + atSlots
	if m.u32(slots) != 0x36d76289 || m.u32(slots+8) == 0 {
		return nil, errBoot
	}
	s, lower, err := m.tags(uint64(m.u32(slots + 4)))
	if err != nil {
		return nil, err
	}
	// trampoline_bios_setup: the lowest of what the BIOS data area and the loader say.
	ebda, base := uint32(0x9fc0), uint32(639<<10>>4)
	if efi {
		ebda, base = m.u16(0x40e), m.u16(0x413)<<10>>4
	}
	if ebda < 0x4000 || ebda > 0xa000 {
		ebda = 0xa000 - 64<<10>>4 // some default; without a BIOS nothing good
		if efi {
			return nil, errSilent
		}
	}
	top := min(ebda, base)
	if l := lower << 10 >> 4; l >= 0x4000 {
		top = min(top, l)
	}
	s.trampoline = top<<4 - 64<<10
	if from, to := m.u32(slots+12), m.u32(slots+16); efi {
		if from == 0 || to < ebda<<4 || to >= ebda<<4+1024 || to%16 != 0 || m.at(uint64(ebda<<4), 1)[0] == 0 {
			return nil, errNoRSDP
		}
		if !strings.Contains(" "+s.options+" ", " no-real-mode ") {
			return nil, errHangs
		}
		if len(s.modules) > 0 && !strings.Contains(s.modules[0].line, fmt.Sprintf("acpi_rsdp=%#x", from)) {
			return nil, errNoRSDP
		}
	}
	return s, nil
}

// tags reads the multiboot2 information.
func (m memory) tags(at uint64) (s *seen, lower uint32, err error) {
	s = &seen{memory: map[uint64]string{}}
	var lines []string
	total := uint64(m.u32(at))
	for off := uint64(8); off < total; {
		kind, size := m.u32(at+off), uint64(m.u32(at+off+4))
		if size < 8 {
			return nil, 0, errBoot
		}
		body := m.at(at+off+8, int(size-8))
		le := binary.LittleEndian
		s.tags = append(s.tags, kind)
		switch kind {
		case 0:
			if off+8 != total {
				return nil, 0, errBoot
			}
		case 1:
			s.options = cString(body)
		case 2:
			s.loader = cString(body)
		case 3:
			s.modules = append(s.modules, moduleInfo{start: le.Uint32(body), end: le.Uint32(body[4:])})
			lines = append(lines, cString(body[8:]))
		case 4:
			lower = le.Uint32(body)
		case 6:
			for e := body[8:]; len(e) >= 24; e = e[24:] {
				s.memory[le.Uint64(e)] = fmt.Sprintf("%#x kind %d", le.Uint64(e)+le.Uint64(e[8:]), le.Uint32(e[16:]))
			}
		case 11, 12:
			return nil, 0, errBoot // "Bootloader shutdown EFI x64 boot services!"
		case 21:
			s.base = le.Uint32(body)
		}
		off += (size + 7) / 8 * 8
	}
	s.options = s.cook(s.options)
	for i, line := range lines {
		s.modules[i].line = s.cook(line)
	}
	return s, lower, nil
}

// cook is cmdline_cook of setup.c.
func (s *seen) cook(line string) string {
	line = strings.TrimLeft(line, " ")
	if rest, ok := strings.CutPrefix(s.loader, "GRUB "); ok && !strings.HasPrefix(rest, "0") {
		return line
	}
	_, line, _ = strings.Cut(line, " ")
	return strings.TrimLeft(line, " ")
}

// cString is the text up to a zero.
func cString(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// TestWhatXenWouldMiss takes away one part of the hand-over at a time: each is what
// makes a machine fall silent.
func TestWhatXenWouldMiss(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*Plan)
		want  error
	}{
		"nothing":      {func(*Plan) {}, nil},
		"no BDA":       {func(p *Plan) { p.segment("BIOS data area").Data = make([]byte, pageSize) }, errSilent},
		"no EBDA":      {func(p *Plan) { p.segment("extended BIOS data area").Data = []byte{0} }, errNoRSDP},
		"no copy":      {func(p *Plan) { clear(p.segment("trampoline").Data[atSlots+12:][:4]) }, errNoRSDP},
		"copy astray":  {func(p *Plan) { p.segment("trampoline").Data[atSlots+16]++ }, errNoRSDP},
		"wrong magic":  {func(p *Plan) { p.segment("trampoline").Data[atSlots]++ }, errBoot},
		"no end":       {func(p *Plan) { p.segment("information").Data[0] += 8 }, errBoot},
		"no real mode": {func(p *Plan) { replace(p, "no-real-mode", "no-surreal-x") }, errHangs},
		"GRUB's name":  {func(p *Plan) { replace(p, "farboot", "GRUB 20") }, nil},
		"no RSDP":      {func(p *Plan) { replace(p, "acpi_rsdp", "acpi_rsdq") }, errNoRSDP},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := New(uefi(t), config(t))
			if err != nil {
				t.Fatal(err)
			}
			tc.spoil(p)
			s, err := start(p, true)
			if !errors.Is(err, tc.want) {
				t.Fatalf("Xen: %v, want %v", err, tc.want)
			}
			if whole := s != nil && s.options == "no-real-mode console=com1 dom0_mem=512M"; err == nil && whole != (name == "nothing") {
				t.Errorf("options %q", s.options)
			}
		})
	}
}

// TestFirstWord: without a word in front of them Xen's options lose their first.
func TestFirstWord(t *testing.T) {
	p, err := New(bios(t), config(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := start(p, false)
	if err != nil || s.options != "console=com1 dom0_mem=512M" || s.modules[0].line != "console=hvc0" || s.modules[1].line != "" || s.modules[2].line != "a b" {
		t.Fatalf("%v: options %q, modules %+v", err, s.options, s.modules)
	}
	replace(p, "xen console=com1", "console=com1    ")
	if s, err = start(p, false); err != nil || s.options != "dom0_mem=512M" {
		t.Errorf("%v: without the first word options are %q; is it read as Xen does?", err, s.options)
	}
}

// replace changes text of the information into text of the same length.
func replace(p *Plan, from, to string) {
	info := p.segment("information")
	info.Data = []byte(strings.Replace(string(info.Data), from, to, 1))
}
