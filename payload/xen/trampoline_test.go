package xen

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestTrampoline compares the machine code with what GNU as makes of the same
// instructions, and looks at what lies behind it.
func TestTrampoline(t *testing.T) {
	dir := t.TempDir()
	object, raw := filepath.Join(dir, "o"), filepath.Join(dir, "bin")
	for _, cmd := range [][]string{
		{"as", "--64", "-o", object, "testdata/trampoline.s"},
		{"objcopy", "-O", "binary", "-j", ".text", object, raw},
	} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s (Debian package binutils): %v\n%s", cmd[0], err, out)
		}
	}
	want, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	got := trampoline{info: 0x100000, entry: 0x200000, rsdpFrom: 0x7fb7e014, rsdpTo: 0x9f010}.encode()
	if len(want) > atGDT || !bytes.HasPrefix(got, want) {
		t.Errorf("code is\n%x, as makes\n%x", got[:atGDT], want)
	}
	if len(bytes.TrimRight(got[len(want):atGDT], "\x00")) != 0 {
		t.Error("between code and tables there is something")
	}
	if limit := binary.LittleEndian.Uint16(got[atGDTR:]); limit != 23 || !bytes.Equal(got[atSlots:atSlots+20],
		words(0x36d76289, 0x100000, 0x200000, 0x7fb7e014, 0x9f010)) {
		t.Errorf("limit %d, slots %x", limit, got[atSlots:])
	}
	if len(got) > pageSize || atStack < atSlots+20+64 {
		t.Errorf("%d bytes; the stack begins at %#x", len(got), atStack-64)
	}
}
