package handover

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf16"
)

// Device paths as OVMF and servers write them, shortened to the nodes that count.
var (
	diskPath  = []byte{4, 1, 8, 0, 1, 0, 0, 0, 4, 4, 8, 0, '\\', 0, 0, 0} // HD()/File()
	sataPath  = []byte{2, 1, 4, 0, 3, 18, 10, 0, 0, 0, 0xff, 0xff, 0, 0}  // PciRoot()/Sata()
	netPath   = []byte{2, 1, 4, 0, 3, 11, 6, 0, 1, 0, 3, 12, 4, 0}        // PciRoot()/MAC()/IPv4()
	httpPath  = []byte{2, 1, 4, 0, 3, 24, 4, 0}                           // PciRoot()/Uri()
	shellPath = []byte{4, 7, 4, 0, 4, 6, 4, 0}                            // Fv()/FvFile()
	biosNet   = []byte{5, 1, 8, 0, 6, 0, 0, 0}                            // BBS(Network)
	end       = []byte{0x7f, 0xff, 4, 0}
)

// option encodes a boot option.
func option(attributes uint32, title string, path []byte) []byte {
	path = slices.Concat(path, end)
	data := binary.LittleEndian.AppendUint32(nil, attributes)
	data = binary.LittleEndian.AppendUint16(data, uint16(len(path)))
	for _, u := range utf16.Encode([]rune(title + "\x00")) {
		data = binary.LittleEndian.AppendUint16(data, u)
	}
	return append(data, path...)
}

// row encodes 16-bit numbers.
func row(numbers ...uint16) []byte {
	var data []byte
	for _, n := range numbers {
		data = binary.LittleEndian.AppendUint16(data, n)
	}
	return data
}

// firmware makes a folder as efivarfs shows it.
func firmware(t *testing.T, variables map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range variables {
		data = append(binary.LittleEndian.AppendUint32(nil, 7), data...)
		if err := os.WriteFile(filepath.Join(dir, name+"-"+efiGlobal), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// machine has what a server with disks and network has, in an order, and was
// started by current.
func machine(current uint16, order ...uint16) map[string][]byte {
	return map[string][]byte{
		"BootCurrent": row(current), "BootOrder": row(order...),
		"Boot0000": option(0x109, "UiApp", shellPath),
		"Boot0001": option(1, "UEFI stick", sataPath),
		"Boot0002": option(1, "PXE IPv4", netPath),
		"Boot0003": option(1, "HTTP", httpPath),
		"Boot0004": option(0, "switched off", diskPath),
		"Boot0005": option(1, "EFI Internal Shell", shellPath),
		"Boot0006": option(1, "debian\x1b[2J", diskPath),
		"Boot000A": option(1, "UEFI second disk", sataPath),
		"Boot000B": option(1, "legacy LAN", biosNet),
	}
}

func TestBootNext(t *testing.T) {
	for name, tc := range map[string]struct {
		variables map[string][]byte
		title     string
		next      uint16
	}{
		"after ours":     {machine(1, 0, 1, 2, 3, 4, 5, 6, 10), "debian[2J", 6},
		"from the start": {machine(10, 6, 1, 10), "debian[2J", 6},
		"hexadecimal":    {machine(6, 1, 6, 11, 10), "UEFI second disk", 10},
		"not in order":   {machine(9, 7, 10, 6), "UEFI second disk", 10},
		"forgotten":      {machine(1, 1, 8, 6), "debian[2J", 6},
	} {
		t.Run(name, func(t *testing.T) {
			dir := firmware(t, tc.variables)
			title, err := BootNext(dir)
			if err != nil || title != tc.title {
				t.Errorf("%q, %v; want %q", title, err, tc.title)
			}
			data, err := os.ReadFile(filepath.Join(dir, "BootNext-8be4df61-93ca-11d2-aa0d-00e098032b8c"))
			if want := append([]byte{7, 0, 0, 0}, row(tc.next)...); err != nil || !slices.Equal(data, want) {
				t.Errorf("wrote %x (%v); want %x", data, err, want)
			}
		})
	}
}

func TestBootNextRefuses(t *testing.T) {
	without := func(name string) map[string][]byte {
		m := machine(1, 1, 6)
		delete(m, name)
		return m
	}
	damaged := func(path []byte) map[string][]byte {
		m := machine(1, 1, 6)
		m["Boot0006"] = option(1, "x", path)
		return m
	}
	for name, tc := range map[string]struct {
		variables map[string][]byte
		want      string
	}{
		"BIOS":         {nil, "no EFI variable BootCurrent"},
		"no order":     {without("BootOrder"), "no EFI variable BootOrder"},
		"two currents": {map[string][]byte{"BootCurrent": row(1, 2)}, "2 numbers"},
		"only us":      {machine(1, 1), "none of 1"},
		"only network": {machine(1, 0, 1, 2, 3, 4, 5, 11), "none of 7"},
		"node of 0":    {damaged([]byte{4, 1, 0, 0}), "none of 2"},
		"node beyond":  {damaged([]byte{4, 1, 200, 0}), "none of 2"},
		"too large":    {map[string][]byte{"BootCurrent": make([]byte, maxOption)}, "EFI variable BootCurrent"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := firmware(t, tc.variables)
			title, err := BootNext(dir)
			if !errors.Is(err, ErrFirmware) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%q, %v; want %q", title, err, tc.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "BootNext-"+efiGlobal)); err == nil {
				t.Error("BootNext was written")
			}
		})
	}
}

// TestOptionsOfOVMF: boot options as a firmware wrote them, with two disks and a
// network card on virtio.
func TestOptionsOfOVMF(t *testing.T) {
	for text, want := range map[string]bool{
		"090100002c0055006900410070007000000004071400c9bdb87cebf8344faaea3ee4af6516a10406140021aa2c4614760345836e8ab6f46623317fff0400":                                                                                                                                                                                                                                 false, // UiApp
		"010000001600550045004600490020004e006f006e002d0042006c006f0063006b00200042006f006f007400200044006500760069006300650020003200000002010c00d041030a000000000101060000037fff04004eac0881119f594d850ee21a522c59b2":                                                                                                                                                 true,  // UEFI Non-Block Boot Device 2
		"010000003b005500450046004900200050005800450076003400200028004d00410043003a003500320035003400300030003100320033003400350036002900000002010c00d041030a00000000010106000002030b25005254001234560000000000000000000000000000000000000000000000000000017fff04004eac0881119f594d850ee21a522c59b2":                                                                   false, // UEFI PXEv4 (MAC:525400123456)
		"010000005a0055004500460049002000480054005400500076003400200028004d00410043003a003500320035003400300030003100320033003400350036002900000002010c00d041030a00000000010106000002030b2500525400123456000000000000000000000000000000000000000000000000000001030c1b000000000000000000000000000000000000000000000000031804007fff04004eac0881119f594d850ee21a522c59b2": false, // UEFI HTTPv4 (MAC:525400123456)
		"010000002c00450046004900200049006e007400650072006e0061006c0020005300680065006c006c00000004071400c9bdb87cebf8344faaea3ee4af6516a10406140083a5047c3e9e1c4fad65e05268d0b4d17fff0400":                                                                                                                                                                             false, // EFI Internal Shell
	} {
		data, err := hex.DecodeString(text)
		if title, ok := leadsAway(data); err != nil || ok != want {
			t.Errorf("%q leads away: %t (%v)", title, ok, err)
		}
	}
}

// FuzzBootOption: what firmware holds is from outside.
func FuzzBootOption(f *testing.F) {
	for _, path := range [][]byte{diskPath, sataPath, netPath, shellPath} {
		f.Add(option(1, "title", path))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if title, ok := leadsAway(data); ok && strings.ContainsAny(title, "\x00\n\x1b\x7f") {
			t.Errorf("title %q", title)
		}
	})
}
