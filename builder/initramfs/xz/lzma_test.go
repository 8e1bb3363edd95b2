package xz

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
)

// TestFinish: one beginning serves several ends, and xz unpacks each.
func TestFinish(t *testing.T) {
	for name, data := range inputs() {
		t.Run(name, func(t *testing.T) {
			data = data[:min(len(data), 1<<20)]
			begun := Begin(data)
			// Were begun changed by one end, the next would show it.
			for _, tail := range []string{"", "\x00", "set root=1\nset prefix=x\n", "set root=2\nset prefix=x\n", string(data[:min(len(data), 5000)])} {
				stream, err := Finish(begun, []byte(tail))
				if err != nil {
					t.Fatal(err)
				}
				want := slices.Concat(data, []byte(tail))
				header := binary.LittleEndian.AppendUint32([]byte{(pb*5+lp)*9 + lc}, DictSize)
				header = binary.LittleEndian.AppendUint64(header, uint64(len(want)))
				if got := tool(t, append(header, stream...)); !bytes.Equal(got, want) {
					t.Errorf("with a tail of %d bytes xz unpacks %d bytes, want %d", len(tail), len(got), len(want))
				}
			}
		})
	}
}

// TestFinishRefuses what Begin has not made.
func TestFinishRefuses(t *testing.T) {
	begun := Begin([]byte("some bytes"))
	odd := bytes.Clone(begun)
	odd[21] = states
	for name, bad := range map[string][]byte{"nothing": nil, "cut": begun[:saved-1], "no state": odd} {
		if _, err := Finish(bad, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
