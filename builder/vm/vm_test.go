package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// bootSector returns 64 KiB of a disk whose boot sector prints text on the
// first serial port, and again each time it has read a byte, until that is a q:
// then it resets the machine.
func bootSector(text string) []byte {
	code := []byte{
		0xfa,       // 00 cli
		0x31, 0xc0, // 01 xor ax,ax
		0x8e, 0xd8, // 03 mov ds,ax
		0xbe, 0x40, 0x7c, // 05 mov si,0x7c40    the text
		0xac,       // 08 lodsb
		0x84, 0xc0, // 09 test al,al
		0x74, 0x06, // 0b jz 0x13
		0xba, 0xf8, 0x03, // 0d mov dx,0x3f8
		0xee,       // 10 out dx,al
		0xeb, 0xf5, // 11 jmp 0x08
		0xba, 0xfd, 0x03, // 13 mov dx,0x3fd     line status
		0xec,       // 16 in al,dx
		0xa8, 0x01, // 17 test al,1        a byte is there
		0x74, 0xfb, // 19 jz 0x16
		0xba, 0xf8, 0x03, // 1b mov dx,0x3f8
		0xec,      // 1e in al,dx
		0x3c, 'q', // 1f cmp al,'q'
		0x75, 0xe2, // 21 jne 0x05
		0xb0, 0xfe, // 23 mov al,0xfe
		0xe6, 0x64, // 25 out 0x64,al      the keyboard controller resets
		0xf4, // 27 hlt
	}
	disk := make([]byte, 64<<10)
	copy(disk, code)
	copy(disk[0x40:510], text+"\x00")
	disk[510], disk[511] = 0x55, 0xaa
	return disk
}

// writeImage writes the boot sector's disk to a file whose name QEMU would take
// apart.
func writeImage(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a,b=c.img")
	if err := os.WriteFile(path, bootSector(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestMachine(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var raw bytes.Buffer
	image := writeImage(t, "\x1b[1mhello,\x1b[0m world\r\n")
	m, err := Start(ctx, Config{Image: image, Bus: USB, Serial: &raw, NICs: []NIC{{Model: "e1000e"}, {Model: "rtl8139"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	if got, err := m.Expect(ctx, "nothing", "world"); err != nil || got != "world" {
		t.Fatalf("%q, error %v", got, err)
	}
	var status struct{ Status string }
	if err := m.Execute(ctx, "query-status", nil, &status); err != nil || status.Status != "running" {
		t.Errorf("status %q, error %v", status.Status, err)
	}
	if err := m.Execute(ctx, "set_link", map[string]any{"name": "nic1", "up": false}, nil); err != nil {
		t.Error(err)
	}
	if err := m.Execute(ctx, "make_tea", nil, nil); err == nil || !strings.Contains(err.Error(), "make_tea has not been found") {
		t.Errorf("error %v, want QEMU's", err)
	}
	if err := m.Type("x"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Expect(ctx, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := m.Type("q"); err != nil {
		t.Fatal(err)
	}
	if err := m.Wait(); err != nil {
		t.Errorf("a reset ends with error %v", err)
	}
	if want := "hello, world\nhello, world\n"; m.Serial() != want {
		t.Errorf("serial text %q, want %q", m.Serial(), want)
	}
	if !strings.Contains(raw.String(), "\x1b[1mhello,\x1b[0m world\r\n") {
		t.Errorf("raw serial bytes %q", raw.String())
	}
	if _, err := m.Expect(ctx, "more"); err == nil || !strings.Contains(err.Error(), "the machine has ended") {
		t.Errorf("error %v, want that the machine has ended", err)
	}
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	m, err := Start(ctx, Config{Image: writeImage(t, "up\n"), Bus: USB})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Expect(ctx, "up"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := m.Expect(ctx, "more"); !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "has ended") {
		t.Errorf("error %v", err)
	}
	if err := m.Wait(); err != nil {
		t.Errorf("cancelling ends with error %v", err)
	}
	m.Stop()
}

func TestQEMUFails(t *testing.T) {
	m, err := Start(t.Context(), Config{Image: "/nowhere.iso"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	if _, err := m.Expect(t.Context(), "hello"); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("error %v, want QEMU's own", err)
	}
	if err := m.Wait(); err == nil {
		t.Error("no error")
	}
}

func TestNotInstalled(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := Start(t.Context(), Config{Image: "x"}); err == nil || !strings.Contains(err.Error(), "package qemu-system-x86") {
		t.Errorf("error %v, want the package's name", err)
	}
}

// TestNetboot lets iPXE fetch the boot sector by TFTP: as a network boot
// program it is loaded to the very place where a disk's would be.
func TestNetboot(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	image := writeImage(t, "from the network\n")
	m, err := Start(ctx, Config{Netboot: filepath.Dir(image), Bootfile: filepath.Base(image)})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Stop()
	if _, err := m.Expect(ctx, "from the network"); err != nil {
		t.Error(err)
	}
}

// TestUEFI wants the firmware to look at the stick, and to find that a BIOS boot
// sector is nothing for it.
func TestUEFI(t *testing.T) {
	for _, firmware := range []Firmware{UEFI, SecureBoot} {
		t.Run(string(firmware), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			m, err := Start(ctx, Config{Image: writeImage(t, "BIOS"), Bus: USB, Firmware: firmware})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Stop()
			if got, err := m.Expect(ctx, "BIOS", "BdsDxe: failed to load Boot0001 \"UEFI QEMU QEMU USB HARDDRIVE"); err != nil || got == "BIOS" {
				t.Errorf("%q, error %v", got, err)
			}
		})
	}
}
