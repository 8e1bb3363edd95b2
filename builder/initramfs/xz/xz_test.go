package xz

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"testing"

	ulikunitz "github.com/ulikunitz/xz"
)

// tool unpacks packed with the xz command, which also checks the CRC32 and the
// index.
func tool(t testing.TB, packed []byte) []byte {
	t.Helper()
	path, err := exec.LookPath("xz")
	if err != nil {
		t.Fatal("xz is needed to judge the result; install the Debian package xz-utils")
	}
	cmd := exec.Command(path, "-dc")
	cmd.Stdin = bytes.NewReader(packed)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("xz -dc: %v", err)
	}
	return out
}

// inputs are contents of different kinds, from a seed.
func inputs() map[string][]byte {
	rnd := rand.New(rand.NewChaCha8([32]byte{1}))
	noise := make([]byte, 300_000)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	var records, mixed bytes.Buffer
	for i := range 60_000 { // like .rela sections: 24 bytes that differ a little
		fmt.Fprintf(&records, "%08d\x00\x00\x00\x00\x02\x00\x00\x00%c\xff\xff\xff", i*7, 'a'+rnd.IntN(9))
	}
	for i := range 40 { // compressed and plain chunks by turns
		mixed.Write(noise[i*5000 : i*7000])
		mixed.Write(records.Bytes()[:i*3000])
	}
	return map[string][]byte{
		// What lies beyond the window must not be used again.
		"window":  slices.Concat(noise, make([]byte, DictSize-len(noise)+1), noise, noise),
		"empty":   nil,
		"byte":    {0},
		"three":   []byte("abc"),
		"calls":   calls(rnd),
		"short":   []byte("abcabcabcabcabcabc, abcabcd"),
		"zeros":   make([]byte, 3*maxPlain+12345),
		"noise":   noise,
		"records": records.Bytes(),
		"mixed":   mixed.Bytes(),
		"text":    bytes.Repeat([]byte("alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000\n"), 1000),
	}
}

// calls is little but what looks like calls and their targets, near and far, one in the
// other.
func calls(rnd *rand.Rand) []byte {
	out := make([]byte, 200_000)
	for i := range out {
		out[i] = []byte{0xe8, 0xe9, 0x00, 0xff, 0x01, 0xfe, 0x80, byte(rnd.Uint32())}[rnd.IntN(8)]
	}
	return out
}

func TestToolUnpacks(t *testing.T) {
	for name, data := range inputs() {
		for how, encode := range map[string]func([]byte) []byte{"data": Encode, "program": EncodeProgram} {
			if how == "program" && len(data) > 1<<20 {
				continue // the filter is the same all along, and this takes seconds
			}
			packed := encode(data)
			if !bytes.Equal(tool(t, packed), data) {
				t.Errorf("%s as %s: differs after xz -dc", name, how)
			}
			if again := encode(data); !bytes.Equal(packed, again) {
				t.Errorf("%s as %s: packs differently the second time", name, how)
			}
			if limit := len(data) + len(data)/1000 + 100; len(packed) > limit {
				t.Errorf("%s as %s: %d bytes became %d, want at most %d", name, how, len(data), len(packed), limit)
			}
		}
	}
}

// A program becomes smaller, and is the same after xz has unpacked it: this test's own.
func TestProgram(t *testing.T) {
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	data = data[:min(len(data), 2<<20)] // most of it is code
	packed := EncodeProgram(data)
	if !bytes.Equal(tool(t, packed), data) {
		t.Error("differs after xz -dc")
	}
	if plain := len(Encode(data)); len(packed) > plain*97/100 {
		t.Errorf("%d bytes, %d without the filter", len(packed), plain)
	}
}

// TestSmallerThanOthers holds the reason why this package exists.
func TestSmallerThanOthers(t *testing.T) {
	data := inputs()["records"]
	var b bytes.Buffer
	w, err := ulikunitz.WriterConfig{DictCap: 1 << 20, CheckSum: ulikunitz.CRC32}.NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(Encode(data)); n > b.Len()*9/10 {
		t.Errorf("%d bytes, want less than nine tenths of %d", n, b.Len())
	}
}

// FuzzEncode holds that an independent decoder returns every input.
func FuzzEncode(f *testing.F) {
	for _, data := range inputs() {
		f.Add(data[:min(len(data), 2000)], uint16(3))
	}
	f.Add([]byte("ab"), uint16(40000))
	f.Fuzz(func(t *testing.T, seed []byte, times uint16) {
		data := bytes.Repeat(seed, min(int(times), 1+(1<<14)/(len(seed)+1)))
		r, err := ulikunitz.NewReader(bytes.NewReader(Encode(data)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes came back as %d: %v", len(data), len(got), err)
		}
	})
}
