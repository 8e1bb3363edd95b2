package capture

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// FuzzExt alters bytes of two small file systems, with and without checksums: whatever
// stands there, what is called free lies within, and never covers the superblock or a
// bitmap.
func FuzzExt(f *testing.F) {
	var bases [][]byte
	for _, kind := range []string{"ext2", "ext4"} {
		path := filepath.Join(f.TempDir(), kind)
		noise(f, path, 2<<20)
		tool(f, "e2fsprogs", "mke2fs", "-q", "-F", "-E", "nodiscard", "-t", kind, path)
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		bases = append(bases, data)
	}
	f.Add(false, []byte{})
	f.Add(true, []byte{0, 4, 0x20, 1})
	f.Fuzz(func(t *testing.T, sums bool, patch []byte) {
		data := bytes.Clone(bases[0])
		if sums {
			data = bytes.Clone(bases[1])
		}
		for ; len(patch) >= 4; patch = patch[4:] { // three bytes of offset, one to add
			data[int(binary.BigEndian.Uint32(patch)>>8)%len(data)] ^= patch[3]
		}
		d := &Disk{Size: int64(len(data)), Sector: 512, stream: func(all []extent) io.Reader {
			var parts []io.Reader
			for _, e := range all {
				parts = append(parts, bytes.NewReader(data[e.start:e.end]))
			}
			return io.MultiReader(parts...)
		}}
		free, err := part{d, 0, d.Size}.ext()
		if err != nil {
			return
		}
		for _, e := range free {
			if e.start < superAt+superSize || e.end > d.Size || e.start >= e.end {
				t.Fatalf("%+v is called free", e)
			}
		}
	})
}
