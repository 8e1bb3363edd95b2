package xen

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// realHeader is the multiboot2 header of Debian's Xen 4.17.7.
const realHeader = "d65052e80000000088000000a2aead170100000010000000040000000600000006000000080000000a0001001800000000002000ffffffff" +
	"0000200002000000040001000c00000002000000c2c2c2c20500010014000000000000000000000000000000c2c2c2c2" +
	"0700010008000000090001000c00000031d53d00c2c2c2c20000000008000000"

// hypervisor returns an ELF file with Debian's header: one part of 0x3a7000 bytes
// in memory at 2 MiB, as Debian's has, and a note.
func hypervisor(t testing.TB) []byte {
	t.Helper()
	header, err := hex.DecodeString(realHeader)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	file := make([]byte, 0x80, 0x2000)
	copy(file, "\x7fELF\x01\x01\x01")
	le.PutUint16(file[16:], 2)
	le.PutUint16(file[18:], 3)
	le.PutUint32(file[20:], 1)
	le.PutUint32(file[24:], 0x200000)
	le.PutUint32(file[28:], 52)
	le.PutUint16(file[40:], 52)
	le.PutUint16(file[42:], 32)
	le.PutUint16(file[44:], 2)
	copy(file[52:], words(1, 0x80, 0x200000, 0x200000, 0x1f80, 0x3a7000, 7, 0x40))
	copy(file[84:], words(4, 0x100, 0x1b6ec8, 0x1b6ec8, 0x24, 0x24, 4, 4))
	file = append(file, make([]byte, 0x18)...)
	file = append(file, header...)
	return file[:0x2000]
}

// config is Xen with dom0 and microcode.
func config(t testing.TB) Config {
	t.Helper()
	return Config{
		Hypervisor: hypervisor(t), Options: "console=com1 dom0_mem=512M",
		Modules: []Module{{"vmlinuz", "console=hvc0", 8222656}, {"initrd", "", 40810277}, {"module1", "a b", 1}},
	}
}

// sysfs returns a memory map as Linux shows it.
func sysfs(lines string) fstest.MapFS {
	files := fstest.MapFS{}
	for i, line := range strings.Split(strings.TrimSpace(lines), "\n") {
		f := strings.SplitN(strings.TrimSpace(line), " ", 3)
		dir := fmt.Sprintf("firmware/memmap/%d/", i)
		files[dir+"start"], files[dir+"end"], files[dir+"type"] =
			&fstest.MapFile{Data: []byte(f[0] + "\n")}, &fstest.MapFile{Data: []byte(f[1] + "\n")}, &fstest.MapFile{Data: []byte(f[2] + "\n")}
	}
	return files
}

// Maps of QEMU with 2 GiB, by SeaBIOS and by OVMF.
const (
	biosMap = `0x0 0x9fbff System RAM
		0x9fc00 0x9ffff Reserved
		0xf0000 0xfffff Reserved
		0x100000 0x7ffdbfff System RAM
		0x7ffdc000 0x7fffffff Reserved
		0xb0000000 0xbfffffff Reserved
		0xfed1c000 0xfed1ffff Reserved
		0xfffc0000 0xffffffff Reserved`
	uefiMap = `0x0 0x9ffff System RAM
		0x100000 0x7fffff System RAM
		0x800000 0x807fff ACPI Non-volatile Storage
		0x808000 0x80ffff System RAM
		0x810000 0x8fffff ACPI Non-volatile Storage
		0x900000 0x7e8ebfff System RAM
		0x7e8ec000 0x7eb6bfff Reserved
		0x7eb6c000 0x7eb7dfff ACPI Tables
		0x7eb7e000 0x7ebfdfff ACPI Non-volatile Storage
		0x7ebfe000 0x7effffff System RAM
		0xb0000000 0xbfffffff Reserved`
)

func bios(t testing.TB) Machine {
	t.Helper()
	m, err := ReadMachine(sysfs(biosMap))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func uefi(t testing.TB) Machine {
	t.Helper()
	files := sysfs(uefiMap)
	files["firmware/efi/systab"] = &fstest.MapFile{Data: []byte("ACPI20=0x7eb7d014\nACPI=0x7eb7d000\nSMBIOS=0x7e9ab000\n")}
	files["kernel/boot_params/data"] = &fstest.MapFile{Data: gop()}
	m, err := ReadMachine(files)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// gop is screen_info of OVMF with a screen of 1280 x 800.
func gop() []byte {
	data := make([]byte, 4096)
	data[0x0f] = 0x70
	le := binary.LittleEndian
	le.PutUint16(data[0x12:], 1280)
	le.PutUint16(data[0x14:], 800)
	le.PutUint16(data[0x16:], 32)
	le.PutUint32(data[0x18:], 0xc0000000)
	le.PutUint16(data[0x24:], 5120)
	copy(data[0x26:], []byte{8, 16, 8, 8, 8, 0, 8, 24})
	return data
}

// places lists the segments, sorted by address.
func (p *Plan) places() []string {
	var all []string
	for _, s := range p.Segments {
		all = append(all, fmt.Sprintf("%07x+%x %s", s.Addr, s.Size, s.Name))
	}
	slices.Sort(all)
	return all
}

func TestPlaces(t *testing.T) {
	usual := []string{
		"0100000+1000 information", "0101000+1000 trampoline", "0200000+3a7000 Xen",
		"1000000+7d8000 vmlinuz", "17d8000+26ec000 initrd", "3ec4000+1000 module1",
	}
	p, err := New(bios(t), config(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(usual, p.places()); diff != "" || p.Entry != 0x101000 {
		t.Errorf("BIOS, entry %#x:\n%s", p.Entry, diff)
	}
	s, err := start(p, false)
	if err != nil || s.trampoline != 639<<10-64<<10 || s.base != 0 {
		t.Errorf("%v, Xen's trampoline at %#x, base %#x", err, s.trampoline, s.base)
	}
	if diff := cmp.Diff([]uint32{1, 2, 4, 6, 3, 3, 3, 0}, s.tags); diff != "" {
		t.Error(diff)
	}
	if m := s.modules[1]; m.start != 0x17d8000 || m.end != 0x17d8000+40810277 || s.memory[0x100000] != "0x7ffdc000 kind 1" {
		t.Errorf("initrd %+v, memory %v", m, s.memory)
	}

	p, err = New(uefi(t), config(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(append([]string{"0000000+1000 BIOS data area", "009f000+1000 extended BIOS data area"}, usual...), p.places()); diff != "" {
		t.Errorf("UEFI: %s", diff)
	}
	if s, err = start(p, true); err != nil {
		t.Fatal(err)
	}
	if s.trampoline != 0x8f000 || s.memory[0x9f000] != "0xa0000 kind 2" || s.memory[0] != "0x9f000 kind 1" || !slices.Contains(s.tags, 7) {
		t.Errorf("Xen's trampoline at %#x, memory %v, tags %d", s.trampoline, s.memory, s.tags)
	}
	if s.modules[0].line != "acpi_rsdp=0x7eb7d014 console=hvc0" {
		t.Errorf("dom0's line %q", s.modules[0].line)
	}
}

// TestRelocated: where Xen was made for there is no RAM, so it is moved, and told.
func TestRelocated(t *testing.T) {
	m := bios(t)
	m.Memory = m.Memory.reserve(0x300000, 0x1000)
	p, err := New(m, config(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := start(p, false)
	if err != nil || s.base != 0x400000 || p.segment("Xen").Addr != 0x400000 {
		t.Errorf("%v: base %#x, %q", err, s.base, p.places())
	}
	if got := binary.LittleEndian.Uint32(p.segment("trampoline").Data[atSlots+8:]); got != 0x400000 {
		t.Errorf("entry %#x", got)
	}
}

// TestRefusals: whatever cannot be is an error of its own kind.
func TestRefusals(t *testing.T) {
	with := func(offset int, b ...byte) func(*Machine, *Config) {
		return func(_ *Machine, c *Config) { copy(c.Hypervisor[offset:], b) }
	}
	reserve := func(start, size uint64) func(*Machine, *Config) {
		return func(m *Machine, _ *Config) { m.Memory = m.Memory.reserve(start, size) }
	}
	magic := uint32(headerMagic)
	fixed := with(0x98, words(magic, 0, 24, -(magic+24), 0, 8)...) // without tag 10
	for name, tc := range map[string]struct {
		spoil func(*Machine, *Config)
		want  error
		says  string
	}{
		"empty":           {func(_ *Machine, c *Config) { c.Hypervisor = nil }, ErrHeader, "none in the first 0"},
		"no ELF":          {with(0, 'M', 'Z'), ErrELF, "no ELF header"},
		"wrong class":     {with(4, 2), ErrELF, "class 2"},
		"big-endian":      {with(5, 2), ErrELF, "byte order 2"},
		"wrong machine":   {with(18, 62), ErrELF, "machine 62"},
		"no executable":   {with(16, 3), ErrELF, "type 3"},
		"program headers": {with(44, 65), ErrELF, "65 program headers"},
		"truncated table": {with(28, 0, 0, 1), ErrELF, "truncated"},
		"truncated ELF":   {func(_ *Machine, c *Config) { c.Hypervisor = c.Hypervisor[:0x1fff] }, ErrELF, "truncated"},
		"wrapped size":    {with(52+16, 0xff, 0xff, 0xff, 0xff), ErrELF, "truncated"},
		"memory too low":  {with(52+20, 0, 0x10, 0, 0), ErrELF, "part 0"},
		"part askew":      {with(52+12, 1), ErrELF, "part 0"},
		"part too high":   {with(52+12, 0, 0xf0, 0xff, 0xff), ErrELF, "part 0"},
		"entry":           {with(24, 0x80, 0x1f, 0x20), ErrELF, "0x201f80"},
		"two parts":       {with(84, words(1, 0x80, 0x200000, 0x201000, 0x1f80, 0x2000)...), ErrOverlap, "Xen at 0x201000"},
		"no header":       {with(0x98, 0), ErrHeader, "none in the first"},
		"checksum":        {with(0x98+12, 0), ErrHeader, "none in the first"},
		"wishes":          {with(0x98+24, 8), ErrHeader, "information 8"},
		"unknown tag":     {with(0x98+16, 3), ErrHeader, "tag 3"},
		"tag's size":      {with(0x98+20, 7), ErrHeader, "7 bytes"},
		"alignment":       {with(0x98+16+16+8+16, 1), ErrHeader, "alignment"},
		"Xen's place":     {func(m *Machine, c *Config) { fixed(m, c); reserve(0x300000, 0x1000)(m, c) }, ErrNotRAM, "Xen at 0x200000"},
		"Xen's room":      {reserve(0x200000, 0x7fdd0000), ErrNoRoom, "Xen"},
		"no low memory":   {reserve(0x100000, 0x100000), nil, ""}, // goes above Xen
		"large module":    {func(_ *Machine, c *Config) { c.Modules[1].Size = 3 << 30 }, ErrNoRoom, "initrd"},
		"more than half":  {func(_ *Machine, c *Config) { c.Modules[1].Size = 1 << 30 }, ErrNoRoom, "half"},
		"empty module":    {func(_ *Machine, c *Config) { c.Modules[1].Size = 0 }, ErrModules, "initrd is empty"},
		"long options":    {func(_ *Machine, c *Config) { c.Options = strings.Repeat("x", 1024) }, ErrLine, "1024 bytes of options"},
		"long line":       {func(_ *Machine, c *Config) { c.Modules[0].Args = strings.Repeat("x", 1024) }, ErrLine, "vmlinuz"},
		"many modules":    {func(_ *Machine, c *Config) { c.Modules = slices.Repeat(c.Modules[2:], 14) }, ErrModules, "17 segments"},
		"module list": {func(_ *Machine, c *Config) {
			c.Modules = slices.Repeat([]Module{{"m", strings.Repeat("x", 1000), 1}}, 60)
		}, ErrModules, "information"},
	} {
		t.Run(name, func(t *testing.T) {
			m, c := bios(t), config(t)
			tc.spoil(&m, &c)
			p, err := New(m, c)
			if !errors.Is(err, tc.want) || tc.want != nil && (p != nil || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("plan %t, error %v; want %v with %q", p != nil, err, tc.want, tc.says)
			}
			if err := Check(c.Hypervisor); (err != nil) != (tc.want == ErrELF || tc.want == ErrHeader) {
				t.Errorf("on whatever machine: %v", err)
			}
		})
	}
}

// TestRefusalsOfUEFI: what UEFI may leave no room for, or not tell.
func TestRefusalsOfUEFI(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(*Machine, *Config)
		want  error
	}{
		"first page":   {func(m *Machine, _ *Config) { m.Memory = m.Memory.reserve(0, 0x1000) }, ErrNoBDA},
		"low memory":   {func(m *Machine, _ *Config) { m.Memory = m.Memory.reserve(0x50000, 0x50000) }, ErrNoBDA},
		"in two":       {func(m *Machine, _ *Config) { m.Memory = m.Memory.reserve(0x80000, 0x1000) }, nil},
		"RSDP too far": {func(m *Machine, _ *Config) { m.RSDP = 4<<30 - 20 }, ErrRSDP},
		"no RSDP":      {func(m *Machine, _ *Config) { m.RSDP = 0 }, ErrRSDP},
		"line":         {func(_ *Machine, c *Config) { c.Modules[0].Args = strings.Repeat("x", 1010) }, ErrLine},
	} {
		m, c := uefi(t), config(t)
		tc.spoil(&m, &c)
		p, err := New(m, c)
		if !errors.Is(err, tc.want) || (p == nil) != (tc.want != nil) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
		if err == nil {
			if s, err := start(p, true); err != nil || s.trampoline != 0x8f000 {
				t.Errorf("%s: %v, trampoline %#x", name, err, s.trampoline)
			}
		}
	}
	for text, want := range map[string]error{"": ErrRSDP, "ACPI20=x\n": ErrRSDP, "ACPI=0x10\n": ErrRSDP, "MPS=1\nACPI20=0x7eb7d014": nil} {
		files := sysfs(uefiMap)
		files["firmware/efi/systab"] = &fstest.MapFile{Data: []byte(text)}
		if m, err := ReadMachine(files); !errors.Is(err, want) || err == nil && m.RSDP != 0x7eb7d014 {
			t.Errorf("systab %q: %v, RSDP %#x", text, err, m.RSDP)
		}
	}
}

func TestUnpack(t *testing.T) {
	want := hypervisor(t)
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	w.Write(want)
	w.Close()
	for _, data := range [][]byte{want, packed.Bytes()} {
		if got, err := Unpack(bytes.NewReader(data)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v, %d bytes", err, len(got))
		}
	}
	var bomb bytes.Buffer
	w, _ = gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	w.Write(make([]byte, maxHypervisor+1))
	w.Close()
	for name, data := range map[string][]byte{
		"nothing": nil, "cut": packed.Bytes()[:packed.Len()-9], "header": {0x1f, 0x8b, 8}, "bomb": bomb.Bytes(),
	} {
		if got, err := Unpack(bytes.NewReader(data)); !errors.Is(err, ErrELF) || got != nil {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}
