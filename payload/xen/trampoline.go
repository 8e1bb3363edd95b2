package xen

import (
	"bytes"
	"encoding/binary"
)

// trampoline is the code between Linux and Xen: a page that is called in 64-bit
// mode and jumps in 32-bit mode, as multiboot wants it (section 3.5, "I386 machine
// state").
type trampoline struct {
	info, entry uint32
	// rsdpFrom and rsdpTo are where ACPI's root pointer is, and where Xen looks
	// for it. Linux does not let us read it (IO_STRICT_DEVMEM), so it is copied
	// here; 0 copies nothing.
	rsdpFrom, rsdpTo uint32
}

// Places in the page.
const (
	atGDT   = 0xa0  // 3 descriptors
	atGDTR  = 0xb8  // limit and base of the GDT, 10 bytes
	atSlots = 0xc8  // 5 words: magic, info, entry, rsdpFrom, rsdpTo
	atStack = 0x120 // the stack's upper end; 64 bytes are below it
	// rsdpSize is the size of ACPI's root pointer (ACPI 6.4, section 5.2.5.3).
	rsdpSize = 36
)

// encode returns the page. Linux enters at its start with CS and data selectors of
// its own GDT, memory mapped one to one, interrupts off, all registers but RSP zero,
// and tables of limit 0 (arch/x86/kernel/relocate_kernel_64.S). Nobody promises a
// stack. The code finds out by itself where it lies: each address is relative to
// its base, in RBX.
func (t trampoline) encode() []byte {
	var c code
	c.bits64()
	c.bits32()
	c.pad(atGDT)
	for _, descriptor := range []uint64{
		0,
		0x00cf9a000000ffff, // 8: code, 32 bits, all 4 GiB
		0x00cf92000000ffff, // 16: data, the same
	} {
		c.Write(binary.LittleEndian.AppendUint64(nil, descriptor))
	}
	c.Write([]byte{3*8 - 1, 0}) // the GDTR's limit; the code fills in the base
	c.pad(atSlots)
	c.Write(words(bootMagic, t.info, t.entry, t.rsdpFrom, t.rsdpTo))
	c.pad(atStack)
	return c.Bytes()
}

// code is machine code that grows.
type code struct{ bytes.Buffer }

func (c *code) add(b ...byte) { c.Write(b) }

// word adds 32 bits.
func (c *code) word(w uint32) { c.Write(words(w)) }

// pad adds zeros up to that place.
func (c *code) pad(to int) { c.Write(make([]byte, to-c.Len())) }

// bits64 takes a stack and tables, and leaves for bits32.
func (c *code) bits64() {
	c.add(0xfa)             // cli
	c.add(0xfc)             // cld
	c.add(0x48, 0x8d, 0x1d) // lea rbx, [rip - 9]: the base
	c.word(^uint32(9) + 1)
	c.add(0x48, 0x8d, 0xa3) // lea rsp, [rbx + stack]
	c.word(atStack)
	c.add(0x48, 0x8d, 0x83) // lea rax, [rbx + gdt]
	c.word(atGDT)
	c.add(0x48, 0x89, 0x83) // mov [rbx + gdtr + 2], rax: in 64-bit mode the base has 8 bytes
	c.word(atGDTR + 2)
	c.add(0x0f, 0x01, 0x93) // lgdt [rbx + gdtr]
	c.word(atGDTR)
	c.add(0x48, 0x8d, 0x83) // lea rax, [rbx + bits32]
	c.word(uint32(c.Len()) + 4 + 5)
	c.add(0x6a, 0x08) // push 8: the code selector
	c.add(0x50)       // push rax
	c.add(0x48, 0xcb) // retfq
}

// bits32 is in 32-bit mode, with paging at first.
func (c *code) bits32() {
	c.add(0xb8) // mov eax, 16: the data selector
	c.word(0x10)
	c.add(0x8e, 0xd8)       // mov ds, eax
	c.add(0x8e, 0xc0)       // mov es, eax
	c.add(0x8e, 0xd0)       // mov ss, eax
	c.add(0x8e, 0xe0)       // mov fs, eax
	c.add(0x8e, 0xe8)       // mov gs, eax
	c.add(0x0f, 0x20, 0xc0) // mov eax, cr0
	c.add(0x25)             // and eax, ~PG
	c.word(0x7fffffff)
	c.add(0x0f, 0x22, 0xc0) // mov cr0, eax
	c.add(0xb9)             // mov ecx, EFER
	c.word(0xc0000080)
	c.add(0x0f, 0x32) // rdmsr
	c.add(0x25)       // and eax, ~LME
	c.word(0xfffffeff)
	c.add(0x0f, 0x30)       // wrmsr
	c.add(0x31, 0xc0)       // xor eax, eax
	c.add(0x0f, 0x22, 0xe0) // mov cr4, eax

	// No paging any more: the root pointer is read wherever it is.
	c.add(0x8b, 0xb3) // mov esi, [ebx + rsdpFrom]
	c.word(atSlots + 12)
	c.add(0x85, 0xf6) // test esi, esi
	c.add(0x74, 0x0d) // jz behind the copy
	c.add(0x8b, 0xbb) // mov edi, [ebx + rsdpTo]
	c.word(atSlots + 16)
	c.add(0xb9) // mov ecx, 9
	c.word(rsdpSize / 4)
	c.add(0xf3, 0xa5) // rep movsd

	c.add(0x8b, 0x83) // mov eax, [ebx + magic]
	c.word(atSlots)
	c.add(0x8b, 0x8b) // mov ecx, [ebx + entry]
	c.word(atSlots + 8)
	c.add(0x8b, 0x9b) // mov ebx, [ebx + info]: the base is gone with it
	c.word(atSlots + 4)
	c.add(0xff, 0xe1) // jmp ecx
}
