package fetch

import (
	"bytes"
	"errors"
	"testing"

	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// kept is a destination that can be read: its first n bytes are there.
type kept struct {
	file
	n *int
}

func (k kept) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(k.file[:*k.n]).ReadAt(p, off)
}

func (k kept) WriteAt(p []byte, off int64) (int, error) {
	*k.n = max(*k.n, int(off)+len(p))
	return k.file.WriteAt(p, off)
}

func TestResume(t *testing.T) {
	for _, tt := range []struct {
		name   string
		n      int // how many bytes an earlier call has left
		flip   int // which of them is wrong, or -1
		faults []evil.Fault
		ranges string
	}{
		{"nothing left", 0, -1, nil, "-"},
		{"half left", 150_000, -1, nil, "bytes=150000-"},
		{"all left", len(data), -1, nil, ""},
		{"half left, cut", 150_000, -1, []evil.Fault{evil.First(1, evil.Cut(1000))}, "bytes=150000- bytes=151000-"},
		{"half left, ranges ignored", 150_000, -1, []evil.Fault{evil.IgnoreRange()}, "bytes=150000-"},
		{"wrong half left", 150_000, 7, nil, "bytes=150000- -"},
		{"wrong half left, cut", 150_000, 7, []evil.Fault{evil.First(1, evil.Cut(1000))}, "bytes=150000- bytes=151000- -"},
		{"all left, but wrong", len(data), 7, nil, "-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				srv := n.serve("a", evil.Content(data), tt.faults...)
				gone := n.serve("b", evil.Content(nil), evil.Status(404))
				dst := kept{bytes.Clone(data), &tt.n}
				if tt.flip >= 0 {
					dst.file[tt.flip] ^= 1
				}
				clear(dst.file[tt.n:])
				err := n.client().Object(t.Context(), []string{gone.URL, srv.URL}, object.OfBytes(data), dst, nil)
				if err != nil || !bytes.Equal(dst.file, data) {
					t.Errorf("error %v, or other bytes", err)
				}
				if got := ranges(srv); got != tt.ranges {
					t.Errorf("ranges %q, want %q", got, tt.ranges)
				}
			})
		})
	}
	t.Run("corrupt server", func(t *testing.T) {
		bubble(t, func(t *testing.T, n *network) {
			srv := n.serve("a", evil.Content(data), evil.Flip(8*100_000))
			half := 150_000
			err := n.client().Object(t.Context(), []string{srv.URL}, object.OfBytes(data), kept{bytes.Clone(data), &half}, nil)
			if !errors.Is(err, ErrCorrupt) || ranges(srv) != "bytes=150000- -" {
				t.Errorf("got %v after %q", err, ranges(srv))
			}
		})
	})
}

// TestResumeCutOften wants wrong bytes that were left not to stand for progress.
func TestResumeCutOften(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		data := noise(700_000)
		srv := n.serve("a", evil.Content(data), evil.Cut(70_000))
		left := len(data) - 1
		err := n.client().Object(t.Context(), []string{srv.URL}, object.OfBytes(data), kept{make(file, len(data)), &left}, nil)
		if seen := len(srv.Requests()); err != nil || seen != 11 {
			t.Errorf("error %v after %d requests, want none after 11", err, seen)
		}
	})
}
