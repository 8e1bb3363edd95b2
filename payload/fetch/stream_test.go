package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// readFrom reads a stream from an offset to its end.
func readFrom(t *testing.T, s *Stream, offset int64) ([]byte, error) {
	t.Helper()
	r, err := s.Open(t.Context(), offset)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	return io.ReadAll(r)
}

// TestStream reads 300 000 bytes, from some byte on, as TestMirrors does.
func TestStream(t *testing.T) {
	const second = time.Second
	for _, tt := range []struct {
		name   string
		from   int64
		faults []faults
		ranges string
		most   time.Duration
	}{
		{"good", 0, []faults{{}, {}}, "- / ", 0},
		{"from the middle", 150_000, []faults{{}, {}}, "bytes=150000- / ", 0},
		{"from the middle, without ranges", 150_000, []faults{{evil.IgnoreRange()}}, "bytes=150000-", 0},
		{"from the end", 300_000, []faults{{}}, "", 0},
		{"cut, and another goes on from there", 0, []faults{{evil.Cut(150_000)}, {}}, "- / bytes=150000-", 0},
		{"cut, and another that has no ranges", 0, []faults{{evil.Cut(150_000)}, {evil.IgnoreRange()}}, "- / bytes=150000-", 0},
		{"wrong range", 0, []faults{{evil.Cut(150_000)}, {evil.Header("Content-Range", "bytes 0-299999/300000")}, {}}, "- / bytes=150000- / bytes=150000-", 0},
		{"too much", 0, []faults{{evil.LyingLength(300_001)}, {}}, "- / -", 0},
		{"not there", 0, []faults{{evil.Status(404)}, {}}, "- / -", 0},
		{"busy", 0, []faults{{evil.Status(503)}, {}}, "- / -", 0},
		{"web page", 0, []faults{{evil.HTML()}, {}}, "- / -", 0},
		{"silence in the middle", 0, []faults{{evil.Stall(150_000)}, {}}, "- / bytes=150000-", 3 * second},
		{"slow", 0, []faults{{evil.Slow(2000)}, {}}, "- / bytes=6000-", 4 * second},
		{"an only one that cuts ten times", 0, []faults{{evil.Cut(80_000)}}, "- bytes=80000- bytes=160000- bytes=240000-", 10 * second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				m, servers := n.mirrors(t, data, tt.faults...)
				start := time.Now()
				got, err := readFrom(t, m.Stream(object.OfBytes(data)), tt.from)
				if err != nil || !bytes.Equal(got, data[tt.from:]) {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
				if took := time.Since(start); took > tt.most {
					t.Errorf("took %s, want at most %s", took, tt.most)
				}
				var all []string
				for _, s := range servers {
					all = append(all, ranges(s))
				}
				if got := strings.Join(all, " / "); !strings.HasPrefix(got, tt.ranges) || strings.Trim(got[len(tt.ranges):], " /") != "" {
					t.Errorf("ranges %q, want %q", got, tt.ranges)
				}
			})
		})
	}
}

// Where nobody is left the read fails with all that was tried, and a canceled one
// ends.
func TestStreamFails(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		m, _ := n.mirrors(t, data, faults{evil.Status(404)}, faults{evil.Cut(0)})
		_, err := readFrom(t, m.Stream(object.OfBytes(data)), 0)
		var failed *Error
		if !errors.As(err, &failed) || len(failed.Attempts) < 2 || !errors.Is(err, ErrNotFound) || !errors.Is(err, ErrUnreachable) {
			t.Errorf("error %v", err)
		}
		if _, err := m.Stream(object.OfBytes(data)).Open(t.Context(), 300_001); err == nil {
			t.Error("a byte behind the end can be read")
		}
	})
	bubble(t, func(t *testing.T, n *network) {
		m, _ := n.mirrors(t, data, faults{evil.Stall(1000)})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := m.Stream(object.OfBytes(data)).Open(ctx, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if n, err := io.Copy(io.Discard, r); n != 1000 || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
}

// Who gave wrong bytes alone is condemned and not asked again; of several, each is
// asked alone until one is found.
func TestStreamWrong(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		m, servers := n.mirrors(t, data, faults{evil.Flip(12345)}, faults{})
		s := m.Stream(object.OfBytes(data))
		if s.Wrong(io.ErrUnexpectedEOF) {
			t.Error("bytes of nobody are somebody's fault")
		}
		if got, err := readFrom(t, s, 0); err != nil || bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if !s.Wrong(io.ErrUnexpectedEOF) || condemned(m) != "a" {
			t.Errorf("condemned %q, want a", condemned(m))
		}
		if got, err := readFrom(t, s, 0); err != nil || !bytes.Equal(got, data) || ranges(servers[0]) != "-" {
			t.Errorf("%d bytes, %v; a was asked for %q", len(got), err, ranges(servers[0]))
		}
		if s.Wrong(io.ErrUnexpectedEOF) {
			t.Error("somebody is left after all were wrong")
		}
	})
	bubble(t, func(t *testing.T, n *network) { // both had a part in it
		m, _ := n.mirrors(t, data, faults{evil.First(1, evil.Cut(150_000))}, faults{evil.Flip(200_000 * 8)})
		s := m.Stream(object.OfBytes(data))
		for tries := 0; ; tries++ {
			got, err := readFrom(t, s, 0)
			if err != nil || tries > 3 {
				t.Fatalf("%d tries, %v", tries, err)
			}
			if bytes.Equal(got, data) {
				break
			}
			if !s.Wrong(io.ErrUnexpectedEOF) {
				t.Fatal("nobody is left")
			}
		}
		if got := condemned(m); strings.Contains(got, "a") {
			t.Errorf("condemned %q", got)
		}
	})
}

// A reader that is slow is nobody's fault, and one that goes away ends the request.
func TestStreamSlowReader(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		m, servers := n.mirrors(t, data, faults{}, faults{})
		r, err := m.Stream(object.OfBytes(data)).Open(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		for {
			time.Sleep(20 * time.Second)
			if _, err := io.CopyN(&got, r, 100_000); err != nil {
				break
			}
		}
		if r.Close(); !bytes.Equal(got.Bytes(), data) || ranges(servers[0]) != "-" || ranges(servers[1]) != "" {
			t.Errorf("%d bytes, asked for %q and %q", got.Len(), ranges(servers[0]), ranges(servers[1]))
		}
		if r, err = m.Stream(object.OfBytes(data)).Open(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if h := m.Health()[0]; h.Trouble != nil {
			t.Errorf("trouble %v", h.Trouble)
		}
	})
}
