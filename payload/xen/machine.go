package xen

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Machine is what the firmware left behind.
type Machine struct {
	Memory Map
	// EFI tells that the firmware is UEFI, and RSDP where it has ACPI's root
	// pointer: a physical address, 0 where there is none.
	EFI  bool
	RSDP uint64
	// Screen is UEFI's; nil where there is none that could be described.
	Screen *Screen
}

const (
	efiDir     = "firmware/efi"
	systabFile = "firmware/efi/systab"
	screenFile = "kernel/boot_params/data"
)

// ReadMachine reads what the running kernel tells of the machine below /sys.
func ReadMachine(sysfs fs.FS) (Machine, error) {
	memory, err := readMap(sysfs)
	if err != nil {
		return Machine{}, err
	}
	m := Machine{Memory: memory}
	if _, err := fs.Stat(sysfs, efiDir); err == nil {
		m.EFI = true
	}
	if m.EFI {
		if m.RSDP, err = readRSDP(sysfs); err != nil {
			return Machine{}, err
		}
	}
	if params, err := fs.ReadFile(sysfs, screenFile); err == nil {
		m.Screen = parseScreen(params)
	}
	return m, nil
}

// readRSDP reads the address that UEFI's system table has for ACPI 2.0 and later.
func readRSDP(sysfs fs.FS) (uint64, error) {
	table, err := fs.ReadFile(sysfs, systabFile)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRSDP, err)
	}
	for line := range strings.Lines(string(table)) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), "ACPI20="); ok {
			addr, err := strconv.ParseUint(text, 0, 64)
			if err != nil {
				return 0, fmt.Errorf("%w: %w", ErrRSDP, err)
			}
			return addr, nil
		}
	}
	return 0, fmt.Errorf("%w: the firmware names none", ErrRSDP)
}

// What a BIOS has in the first 640 KiB, and Xen reads there
// (trampoline_bios_setup in xen/arch/x86/boot/head.S).
const (
	bdaEBDA  = 0x40e // segment of the extended data area
	bdaLower = 0x413 // KiB of memory below it
	lowFrom  = 0x40000
	lowTo    = 0xa0000
	// lowRoom is for Xen's trampoline and what it copies there, below the extended
	// data area.
	lowRoom = 64 << 10
	// rsdpOffset is in the first KiB of the extended data area, where the root
	// pointer is looked for at each multiple of 16 (ACPI 6.4, section 5.2.5.1).
	rsdpOffset = 0x10
)

// shim puts the data areas of a BIOS where UEFI has none, and returns where the
// root pointer is to be copied to.
func (p *placer) shim(m Machine) (rsdp uint32, err error) {
	if m.RSDP == 0 || m.RSDP > below4G-rsdpSize {
		return 0, fmt.Errorf("%w: at %#x, below 4 GiB it could be copied", ErrRSDP, m.RSDP)
	}
	for at := uint64(lowTo - pageSize); at >= lowFrom+lowRoom; at -= pageSize {
		if p.memory.ram(at-lowRoom, lowRoom+pageSize) {
			p.ebda = at
			break
		}
	}
	if p.ebda == 0 || !p.memory.ram(0, pageSize) {
		return 0, fmt.Errorf("%w: it takes the first page and %d KiB between %d and %d KiB", ErrNoBDA, (lowRoom+pageSize)>>10, lowFrom>>10, lowTo>>10)
	}
	bda := make([]byte, pageSize)
	binary.LittleEndian.PutUint16(bda[bdaEBDA:], uint16(p.ebda>>4))
	binary.LittleEndian.PutUint16(bda[bdaLower:], uint16(p.ebda>>10))
	for _, s := range []Segment{
		{Name: "BIOS data area", Addr: 0, Size: pageSize, Data: bda},
		{Name: "extended BIOS data area", Addr: p.ebda, Size: pageSize, Data: []byte{pageSize >> 10}},
	} {
		if err := p.take(s.Name, s.Addr, s.Size); err != nil {
			return 0, err
		}
		p.segments = append(p.segments, s)
	}
	p.memory = p.memory.reserve(p.ebda, pageSize)
	return uint32(p.ebda + rsdpOffset), nil
}
