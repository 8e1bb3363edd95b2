package xen

import (
	"bytes"
	"errors"
	"testing"
	"testing/fstest"
)

func FuzzELF(f *testing.F) {
	f.Add(hypervisor(f))
	f.Add(hypervisor(f)[:0x90])
	f.Add([]byte("\x7fELF\x02\x01\x01"))
	f.Fuzz(func(t *testing.T, file []byte) {
		x, err := parseELF(file)
		if err != nil {
			if x != nil || !errors.Is(err, ErrELF) {
				t.Fatalf("%v, %v", x, err)
			}
			return
		}
		for _, p := range x.parts {
			if uint64(len(p.data)) > uint64(p.size) || p.addr%pageSize != 0 || uint64(p.addr)+uint64(p.size) > below4G {
				t.Fatalf("part of %d bytes in %d at %#x", len(p.data), p.size, p.addr)
			}
		}
	})
}

func FuzzHeader(f *testing.F) {
	f.Add(hypervisor(f)[0x98:0x120])
	f.Add(words(headerMagic, 0, 24, 0x17adaf12, 0, 8))
	f.Fuzz(func(t *testing.T, tags []byte) {
		magic, size := uint32(headerMagic), uint32(16+len(tags))
		for _, file := range [][]byte{tags, append(words(magic, 0, size, -(magic+size)), tags...)} {
			h, err := parseHeader(file)
			if (h == nil) != (err != nil) || err != nil && !errors.Is(err, ErrHeader) {
				t.Fatalf("%v, %v", h, err)
			}
			if h != nil && h.relocatable && h.align < pageSize {
				t.Fatalf("alignment %#x", h.align)
			}
		}
	})
}

// FuzzMap also holds a plan against the map that it was made from: all of it lies in
// RAM, and apart.
func FuzzMap(f *testing.F) {
	f.Add("0x0", "0x9fbff", "System RAM", "0x100000", "0xbfffffff", "System RAM", true)
	f.Add("0x0", "0x9ffff", "System RAM", "0x100000", "0x7fffff", "ACPI Tables", false)
	f.Add("0", "18446744073709551615", "Reserved", "0x10", "0x1", "", false)
	f.Fuzz(func(t *testing.T, start1, end1, kind1, start2, end2, kind2 string, efi bool) {
		file := func(s string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(s)} }
		files := fstest.MapFS{
			"firmware/memmap/0/start": file(start1), "firmware/memmap/0/end": file(end1), "firmware/memmap/0/type": file(kind1),
			"firmware/memmap/1/start": file(start2), "firmware/memmap/1/end": file(end2), "firmware/memmap/1/type": file(kind2),
			"firmware/memmap/2/start": file("0x100000000"), "firmware/memmap/2/end": file("0x13fffffff"), "firmware/memmap/2/type": file("System RAM"),
		}
		if efi {
			files["firmware/efi/systab"] = file("ACPI20=0x1000")
		}
		m, err := ReadMachine(files)
		if err != nil {
			if !errors.Is(err, ErrMap) {
				t.Fatal(err)
			}
			return
		}
		p, err := New(m, config(t))
		if err != nil {
			return
		}
		for i, s := range p.Segments {
			if !m.Memory.ram(s.Addr, s.Size) || s.Addr%pageSize != 0 || s.Size%pageSize != 0 || uint64(len(s.Data)) > s.Size {
				t.Fatalf("%s at %#x, %#x bytes, in %v", s.Name, s.Addr, s.Size, m.Memory)
			}
			for _, o := range p.Segments[:i] {
				if s.Addr < o.Addr+o.Size && o.Addr < s.Addr+s.Size {
					t.Fatalf("%s at %#x and %s at %#x", s.Name, s.Addr, o.Name, o.Addr)
				}
			}
		}
		if _, err := start(p, efi); err != nil {
			t.Fatalf("Xen: %v, in %v", err, m.Memory)
		}
	})
}

func FuzzScreen(f *testing.F) {
	f.Add(gop())
	f.Add(make([]byte, 4096))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, params []byte) {
		s := parseScreen(params)
		if s == nil {
			return
		}
		if got := s.vbe(); len(got) != 776 || !bytes.HasPrefix(got[8:], []byte("VESA")) || got[8+512+25] > 32 {
			t.Fatalf("%+v is %x", s, got)
		}
	})
}
