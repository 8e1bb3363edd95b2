package xz

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
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
		"short":   []byte("abcabcabcabcabcabc, abcabcd"),
		"zeros":   make([]byte, 3*maxPlain+12345),
		"noise":   noise,
		"records": records.Bytes(),
		"mixed":   mixed.Bytes(),
		"text":    bytes.Repeat([]byte("alias pci:v00008086d0000100Esv*sd*bc*sc*i* e1000\n"), 1000),
	}
}

func TestToolUnpacks(t *testing.T) {
	for name, data := range inputs() {
		packed := Encode(data)
		if !bytes.Equal(tool(t, packed), data) {
			t.Errorf("%s: differs after xz -dc", name)
		}
		if again := Encode(data); !bytes.Equal(packed, again) {
			t.Errorf("%s: packs differently the second time", name)
		}
		if limit := len(data) + len(data)/1000 + 100; len(packed) > limit {
			t.Errorf("%s: %d bytes became %d, want at most %d", name, len(data), len(packed), limit)
		}
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
