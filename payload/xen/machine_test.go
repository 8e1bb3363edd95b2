package xen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestReadMap(t *testing.T) {
	m, err := readMap(sysfs(`0x100000000 0x13fffffff System RAM
		0x0 0x9fbff System RAM
		0x9fc00 0x9ffff Reserved
		0xa0000 0xfffff Device Reserved
		0x100000 0x7fffff System RAM
		0x800000 0x80ffff System RAM
		0x810000 0x81ffff ACPI Tables
		0x820000 0x82ffff ACPI Non-volatile Storage
		0x830000 0x83ffff Unusable memory
		0x840000 0x84ffff Persistent Memory`))
	want := Map{
		{0, 0x9fc00, RAM}, {0x9fc00, 0x100000, Reserved}, {0x100000, 0x810000, RAM}, {0x810000, 0x820000, Tables},
		{0x820000, 0x830000, NVS}, {0x830000, 0x840000, Unusable}, {0x840000, 0x850000, Reserved}, {0x100000000, 0x140000000, RAM},
	}
	if diff := cmp.Diff(want, m); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	for name, text := range map[string]string{
		"overlap":    "0x0 0xfff System RAM\n0xfff 0x1fff Reserved",
		"twice":      "0x0 0xfff System RAM\n0x0 0xfff System RAM",
		"backwards":  "0x1000 0xffe System RAM",
		"no number":  "0x0 end System RAM",
		"whole":      "0x0 0xffffffffffffffff System RAM",
		"no RAM":     "0x0 0xfff Reserved",
		"too many":   strings.Repeat("0x0 0xfff System RAM\n", 513),
		"no numbers": "x y System RAM",
	} {
		if m, err := readMap(sysfs(text)); !errors.Is(err, ErrMap) || m != nil {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	if _, err := readMap(sysfs("0x0 0xfff System RAM\n0xfff 0x1fff Reserved")); !errors.Is(err, ErrOverlap) {
		t.Errorf("overlap: %v", err)
	}
	files := sysfs("0x0 0xfff System RAM")
	delete(files, "firmware/memmap/0/end")
	for _, files := range []fstest.MapFS{{}, files} {
		if _, err := ReadMachine(files); !errors.Is(err, ErrMap) {
			t.Error(err)
		}
	}
}

// TestReserve: what is cut out of RAM leaves the rest, and nothing empty.
func TestReserve(t *testing.T) {
	m := Map{{0, 0x4000, RAM}, {0x4000, 0x5000, Reserved}}
	for at, want := range map[uint64]Map{
		0:      {{0, 0x1000, Reserved}, {0x1000, 0x4000, RAM}, m[1]},
		0x1000: {{0, 0x1000, RAM}, {0x1000, 0x2000, Reserved}, {0x2000, 0x4000, RAM}, m[1]},
		0x3000: {{0, 0x3000, RAM}, {0x3000, 0x4000, Reserved}, m[1]},
		0x4000: m,
	} {
		if diff := cmp.Diff(want, m.reserve(at, 0x1000)); diff != "" {
			t.Errorf("at %#x: %s", at, diff)
		}
	}
}

// TestScreen compares the VBE answers, field by field, with the screen of OVMF.
func TestScreen(t *testing.T) {
	s := parseScreen(gop())
	want := &Screen{Base: 0xc0000000, Width: 1280, Height: 800, Depth: 32, Pitch: 5120, Colors: [8]byte{8, 16, 8, 8, 8, 0, 8, 24}}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Fatal(diff)
	}
	out := s.vbe()
	control, mode, le := out[8:520], out[520:], binary.LittleEndian
	got := fmt.Sprintf("%s version %#x memory %d, attributes %#x pitch %d, %d x %d of %d, base %#x", control[:4], le.Uint16(control[4:]),
		le.Uint16(control[18:]), le.Uint16(mode), le.Uint16(mode[16:]), le.Uint16(mode[18:]), le.Uint16(mode[20:]), mode[25], le.Uint32(mode[40:]))
	if want := "VESA version 0x300 memory 63, attributes 0x9b pitch 5120, 1280 x 800 of 32, base 0xc0000000"; got != want || len(out) != 776 {
		t.Errorf("%d bytes: %s, want %s", len(out), got, want)
	}
	if !bytes.Equal(mode[31:39], want.Colors[:]) || len(bytes.Trim(out[:8], "\x00")) != 0 {
		t.Errorf("colours %d", mode[31:39])
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"short":     func(b []byte) []byte { return b[:63] },
		"text":      func(b []byte) []byte { b[0x0f] = 1; return b },
		"BIOS":      func(b []byte) []byte { b[0x0f] = 0x23; return b },
		"too high":  func(b []byte) []byte { b[0x3a] = 1; return b },
		"no base":   func(b []byte) []byte { clear(b[0x18:0x1c]); return b },
		"beyond":    func(b []byte) []byte { b[0x1b] = 0xff; b[0x1a] = 0xf0; return b },
		"pitch":     func(b []byte) []byte { b[0x25] = 1; return b },
		"no height": func(b []byte) []byte { clear(b[0x14:0x16]); return b },
		"depth":     func(b []byte) []byte { b[0x16] = 64; return b },
	} {
		if s := parseScreen(spoil(gop())); s != nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
