package xen

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Numbers of the Multiboot2 specification 2.0, sections 3.3 to 3.6.
const (
	bootMagic = 0x36d76289 // in EAX

	tagEnd    = 0
	tagLine   = 1
	tagLoader = 2
	tagModule = 3
	tagMemory = 4
	tagMap    = 6
	tagVBE    = 7
	tagBase   = 21
)

// loader is what we call ourselves. A name that begins with "GRUB " would make Xen
// keep the first word of each line (loader_is_grub2 in xen/arch/x86/setup.c).
const loader = "farboot"

// first is the word that Xen drops from its own line.
const first = "xen"

// info is what Xen is told.
type info struct {
	options string
	modules []moduleInfo
	memory  Map
	lower   uint64 // bytes
	screen  *Screen
	base    uint32 // where Xen was moved to; 0 where it was not
}

// moduleInfo is what Xen is told of a module; end is the first byte behind it.
type moduleInfo struct {
	line       string
	start, end uint32
}

// forUEFI adds what Xen and dom0 have to know where no BIOS is. It goes to the
// front: behind "--" Xen's line is dom0's, and dom0's is that of its first process.
func (i *info) forUEFI(rsdp uint64) {
	// Calls into a BIOS that is not there would hang.
	i.options = strings.TrimSpace("no-real-mode " + i.options)
	if len(i.modules) > 0 {
		// dom0 sees neither the BIOS data area nor UEFI's tables.
		name, args, _ := strings.Cut(i.modules[0].line, " ")
		i.modules[0].line = strings.TrimSpace(fmt.Sprintf("%s acpi_rsdp=%#x %s", name, rsdp, args))
	}
}

// check refuses lines that Xen would cut. Their first words do not count.
func (i *info) check() error {
	if len(i.options) > maxLine {
		return fmt.Errorf("%w: %d bytes of options, it keeps %d", ErrLine, len(i.options), maxLine)
	}
	for _, m := range i.modules {
		if name, args, _ := strings.Cut(m.line, " "); len(args) > maxLine {
			return fmt.Errorf("%w: %d bytes for %s, it keeps %d", ErrLine, len(args), name, maxLine)
		}
	}
	return nil
}

// encode returns the information as Xen reads it. Tags 11 and 12 are not among it:
// by them Xen would think that it runs within UEFI, and stop.
func (i *info) encode() []byte {
	out := make([]byte, 8)
	out = appendTag(out, tagLine, text(strings.TrimSpace(first+" "+i.options)))
	out = appendTag(out, tagLoader, text(loader))
	out = appendTag(out, tagMemory, words(uint32(i.lower>>10), uint32(min(i.memory.from(1<<20)>>10, 1<<32-1))))
	out = appendTag(out, tagMap, i.ranges())
	for _, m := range i.modules {
		out = appendTag(out, tagModule, append(words(m.start, m.end), text(m.line)...))
	}
	if i.screen != nil {
		out = appendTag(out, tagVBE, i.screen.vbe())
	}
	if i.base != 0 {
		out = appendTag(out, tagBase, words(i.base))
	}
	out = appendTag(out, tagEnd, nil)
	binary.LittleEndian.PutUint32(out, uint32(len(out)))
	return out
}

// ranges is the memory map: size and version of an entry, then the entries.
func (i *info) ranges() []byte {
	out := words(24, 0)
	for _, r := range i.memory {
		out = binary.LittleEndian.AppendUint64(out, r.Start)
		out = binary.LittleEndian.AppendUint64(out, r.End-r.Start)
		out = append(out, words(uint32(r.Kind), 0)...)
	}
	return out
}

// appendTag adds a tag: type, size without padding, body; the next begins at a
// multiple of 8.
func appendTag(out []byte, kind uint32, body []byte) []byte {
	out = append(out, words(kind, uint32(8+len(body)))...)
	out = append(out, body...)
	return append(out, make([]byte, -len(out)&7)...)
}

// text is a string as multiboot has it.
func text(s string) []byte { return append([]byte(s), 0) }

// words are 32-bit numbers.
func words(all ...uint32) []byte {
	var out []byte
	for _, w := range all {
		out = binary.LittleEndian.AppendUint32(out, w)
	}
	return out
}
