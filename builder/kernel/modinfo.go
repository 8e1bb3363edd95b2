package kernel

import (
	"bytes"
	"debug/elf"
	"fmt"
	"strings"
)

// maxModinfo bounds a module's .modinfo section in bytes. Debian 12's largest,
// of gspca, has 62 kB.
const maxModinfo = 1 << 20

// modinfo is what a module says of itself (include/linux/module.h).
type modinfo struct {
	// name as the kernel has it, with '_'. Empty in kernels before 4.13.
	name     string
	depends  []string // names of modules, with '_'
	aliases  []string // patterns of modaliases
	softdeps []string // "pre: a b post: c"
	firmware []string // paths below lib/firmware
}

// readModinfo reads the section .modinfo of an ELF file: "key=value" strings
// with a NUL behind each.
func readModinfo(data []byte) (modinfo, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return modinfo{}, fmt.Errorf("%w: %w", ErrPackage, err)
	}
	s := f.Section(".modinfo")
	if s == nil || f.Type != elf.ET_REL || f.Class != elf.ELFCLASS64 {
		return modinfo{}, fmt.Errorf("%w: not a 64-bit module with a .modinfo section", ErrPackage)
	}
	if s.Type != elf.SHT_PROGBITS || s.Flags&elf.SHF_COMPRESSED != 0 || s.Size > maxModinfo {
		return modinfo{}, fmt.Errorf("%w: .modinfo section of %d bytes, type %v", ErrPackage, s.Size, s.Type)
	}
	text, err := s.Data()
	if err != nil {
		return modinfo{}, fmt.Errorf("%w: .modinfo: %w", ErrPackage, err)
	}
	return parseModinfo(string(text)), nil
}

// parseModinfo sorts the strings by their keys and drops those not needed.
func parseModinfo(text string) modinfo {
	var info modinfo
	for entry := range strings.SplitSeq(text, "\x00") {
		key, value, _ := strings.Cut(entry, "=")
		switch key {
		case "name":
			info.name = value
		case "depends":
			for name := range strings.SplitSeq(value, ",") {
				if name != "" {
					info.depends = append(info.depends, fold(name))
				}
			}
		case "alias":
			info.aliases = append(info.aliases, value)
		case "softdep":
			info.softdeps = append(info.softdeps, value)
		case "firmware":
			info.firmware = append(info.firmware, value)
		}
	}
	return info
}

// fold gives a module's name the letters that it is kept under.
func fold(name string) string { return strings.ReplaceAll(name, "-", "_") }
