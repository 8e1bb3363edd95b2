package grub

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

// Kinds of object that can follow the kernel (include/grub/kernel.h).
const (
	objectELF    = 0
	objectConfig = 2
	objectPrefix = 3
)

const (
	moduleMagic      = 0x676d696d // "mimg"
	moduleInfoSize   = 12         // magic, offset of the first object, total size
	objectHeaderSize = 8          // kind, size including this header
)

// buildPayload returns what the decompressor unpacks to linkAddress: the kernel
// and behind it the modules, in the order of grub-mkimage. The tail follows.
func buildPayload(src fs.FS, modules []string, tail int) ([]byte, error) {
	payload, err := loadKernel(src)
	if err != nil {
		return nil, err
	}
	names, err := closure(src, modules)
	if err != nil {
		return nil, err
	}
	var objects []byte
	for _, name := range names {
		module, err := fs.ReadFile(src, name+".mod")
		if err != nil {
			return nil, fmt.Errorf("grub: %w", err)
		}
		objects = appendObject(objects, objectELF, module)
	}
	for _, field := range []uint32{moduleMagic, moduleInfoSize, uint32(moduleInfoSize + len(objects) + tail)} {
		payload = binary.LittleEndian.AppendUint32(payload, field)
	}
	return append(payload, objects...), nil
}

// tail returns the last objects of the payload: the early configuration and the
// prefix.
func (c CoreConfig) tail() []byte {
	var objects []byte
	if c.Config != "" {
		objects = appendObject(objects, objectConfig, append([]byte(c.Config), 0))
	}
	return appendObject(objects, objectPrefix, append([]byte(c.Prefix), 0))
}

// checkCoreConfig refuses what would end as a truncated string in the image.
func checkCoreConfig(c CoreConfig) error {
	if !strings.HasPrefix(c.Prefix, "/") {
		return fmt.Errorf("grub: prefix %q: want an absolute path", c.Prefix)
	}
	if strings.Contains(c.Prefix+c.Config, "\x00") {
		return errors.New("grub: NUL byte in prefix or early configuration")
	}
	return nil
}

// appendObject appends an object with its header, padded to 4 bytes.
func appendObject(to []byte, kind uint32, data []byte) []byte {
	pad := -len(data) & 3
	to = binary.LittleEndian.AppendUint32(to, kind)
	to = binary.LittleEndian.AppendUint32(to, uint32(objectHeaderSize+len(data)+pad))
	to = append(to, data...)
	return append(to, make([]byte, pad)...)
}

// loadKernel lays the sections of kernel.img out as they lie in memory, from
// linkAddress on and without the bss.
func loadKernel(src fs.FS) ([]byte, error) {
	raw, err := fs.ReadFile(src, "kernel.img")
	if err != nil {
		return nil, fmt.Errorf("grub: %w", err)
	}
	image, err := elf.NewFile(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("grub: kernel.img: %w", err)
	}
	if image.Class != elf.ELFCLASS32 || image.Machine != elf.EM_386 {
		return nil, fmt.Errorf("grub: kernel.img: %v %v, want 32 bit x86", image.Class, image.Machine)
	}
	var memory []byte
	for _, s := range image.Sections {
		if memory, err = loadSection(memory, s); err != nil {
			return nil, fmt.Errorf("grub: kernel.img: section %s: %w", s.Name, err)
		}
	}
	if len(memory) == 0 || memory[0] == 0 {
		return nil, fmt.Errorf("grub: kernel.img: no code at %#x", linkAddress)
	}
	return memory, nil
}

// loadSection puts one section at its place in memory. A bss only has to fit.
func loadSection(memory []byte, s *elf.Section) ([]byte, error) {
	if s.Flags&elf.SHF_ALLOC == 0 || (s.Type != elf.SHT_PROGBITS && s.Type != elf.SHT_NOBITS) {
		return memory, nil
	}
	if s.Addr < linkAddress+uint64(len(memory)) || s.Addr > maxKernelEnd || s.Size > maxKernelEnd-s.Addr {
		return nil, fmt.Errorf("lies at %#x+%#x, want between %#x and %#x", s.Addr, s.Size, linkAddress+len(memory), maxKernelEnd)
	}
	if s.Type == elf.SHT_NOBITS {
		return memory, nil
	}
	data, err := s.Data()
	if err != nil {
		return nil, err
	}
	gap := int(s.Addr-linkAddress) - len(memory)
	memory = append(memory, make([]byte, gap)...)
	return append(memory, data...), nil
}
