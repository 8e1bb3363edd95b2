package fetch

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
)

// threePieces are the last three of data, from byte 100 000 on, and where they go.
func threePieces(got *bytes.Buffer) Pieces {
	return Pieces{
		Name: "f", Size: int64(len(data)), Offset: 100_000, Lens: []int64{50_000, 100_000, 50_000},
		Take: func(i int, piece []byte) error {
			at := []int{100_000, 150_000, 250_000}[i]
			if !bytes.Equal(piece, data[at:at+len(piece)]) {
				return errors.New("not this piece")
			}
			got.Write(piece)
			return nil
		},
	}
}

// away makes a server unreachable from its n-th request on, until a time that
// counts from the first of them.
func away(n int64, d time.Duration) evil.Fault {
	var asked atomic.Int64
	var since atomic.Pointer[time.Time]
	return func(next evil.Source) evil.Source {
		down := evil.Cut(0)(next)
		return func(r *http.Request) *evil.Answer {
			now := time.Now()
			if asked.Add(1) >= n && since.CompareAndSwap(nil, &now) || since.Load() != nil && now.Sub(*since.Load()) < d {
				return down(r)
			}
			return next(r)
		}
	}
}

// TestPieces reads 200 000 bytes behind 100 000 others, as TestMirrors does.
func TestPieces(t *testing.T) {
	const second = time.Second
	for _, tt := range []struct {
		name        string
		faults      []faults
		ranges      string
		least, most time.Duration
		condemned   string
	}{
		{"good", []faults{{}, {}}, "bytes=100000-299999 / ", 0, 0, ""},
		{"cut, and another goes on with the piece", []faults{{evil.Cut(60_000)}, {evil.ChangeETag()}}, "bytes=100000-299999 / bytes=150000-299999", 0, 0, ""},
		{"cut at the end of a piece", []faults{{evil.Cut(50_000)}, {}}, "bytes=100000-299999 / bytes=150000-299999", 0, 0, ""},
		{"an only one that cuts", []faults{{evil.Cut(110_000)}}, "bytes=100000-299999 bytes=150000-299999 bytes=250000-299999", 0, 3 * second, ""},
		{"wrong bytes", []faults{{evil.Flip(8 * 160_000)}, {}}, "bytes=100000-299999 / bytes=250000-299999", 0, 0, "a"},
		{"out of reach twice", []faults{{evil.First(2, evil.Cut(0))}}, "bytes=100000-299999 bytes=100000-299999 bytes=100000-299999", 1, 4 * second, ""},
		{"wrong bytes of one in its first piece, of the other in its last", []faults{{evil.First(1, evil.Flip(1))}, {evil.First(1, evil.Flip(8*160_000))}},
			"bytes=100000-299999 bytes=250000-299999 / bytes=100000-299999", 0, 0, "a b"},
		{"condemned, but the other is out of reach", []faults{{evil.First(1, evil.Flip(1))}, {evil.First(1, evil.Cut(60_000)), evil.After(1, evil.Cut(0))}},
			"bytes=100000-299999 bytes=150000-299999 / bytes=100000-299999", 0, 0, "a"},
		{"wrong range", []faults{{evil.Header("Content-Range", "bytes 100000-299999/300001")}, {}}, "bytes=100000-299999 / bytes=100000-299999", 0, 0, "a"},
		{"another file", []faults{{evil.Header("Content-Range", "bytes 0-199999/300000")}, {}}, "bytes=100000-299999 / bytes=100000-299999", 0, 0, "a"},
		{"no ranges", []faults{{evil.IgnoreRange()}, {}}, "bytes=100000-299999 / bytes=100000-299999", 0, 0, ""},
		{"not there", []faults{{evil.Status(404)}, {}}, "bytes=100000-299999 / bytes=100000-299999", 0, 0, ""},
		{"silence", []faults{{evil.Silent()}, {}}, "bytes=100000-299999 / bytes=100000-299999", 3 * second, 3 * second, ""},
		{"a web page for a while", []faults{{evil.First(8, evil.HTML())}}, strings.Repeat("bytes=100000-299999 ", 8) + "bytes=100000-299999", 20 * second, 150 * second, ""},
		{"out of reach for five minutes", []faults{{away(1, 300*second)}}, "bytes=100000-299999", 300 * second, 331 * second, ""},
		{"both out of reach for five minutes", []faults{{away(1, 300*second)}, {away(1, 300*second)}}, "bytes=100000-299999", 300 * second, 331 * second, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				m, servers := n.mirrors(t, data, tt.faults...)
				var got bytes.Buffer
				start := time.Now()
				if err := m.Pieces(t.Context(), threePieces(&got)); err != nil || !bytes.Equal(got.Bytes(), data[100_000:]) {
					t.Fatalf("%d bytes, %v", got.Len(), err)
				}
				if took := time.Since(start); took < tt.least || took > tt.most {
					t.Errorf("took %s, want %s to %s", took, tt.least, tt.most)
				}
				var all []string
				for _, s := range servers {
					all = append(all, ranges(s))
				}
				if got := strings.Join(all, " / "); !strings.HasPrefix(got, tt.ranges) || tt.most < 100*second && strings.Trim(got[len(tt.ranges):], " /") != "" {
					t.Errorf("ranges %q, want %q", got, tt.ranges)
				}
				if got := condemned(m); got != tt.condemned {
					t.Errorf("condemned %q, want %q", got, tt.condemned)
				}
			})
		})
	}
}

// Nobody has the right bytes: that is an error at once, with all that was tried.
func TestPiecesFail(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults []faults
		class  error
	}{
		{"wrong everywhere", []faults{{evil.Flip(1)}, {evil.Flip(2)}}, ErrCorrupt},
		{"wrong and not there", []faults{{evil.Flip(1)}, {evil.Status(404)}}, ErrCorrupt},
		{"not there", []faults{{evil.Status(404)}}, ErrNotFound},
		{"no ranges", []faults{{evil.IgnoreRange()}}, ErrRefused},
		{"too short", []faults{{evil.Status(416)}}, ErrRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				m, _ := n.mirrors(t, data, tt.faults...)
				var failed *Error
				if err := m.Pieces(t.Context(), threePieces(new(bytes.Buffer))); !errors.As(err, &failed) || len(failed.Attempts) != len(tt.faults) || !errors.Is(err, tt.class) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
	for class, fault := range map[error]evil.Fault{ErrCorrupt: evil.Flip(1), ErrNotFound: evil.Status(404), ErrRefused: evil.IgnoreRange()} {
		bubble(t, func(t *testing.T, n *network) { // one does not have it right, the other never comes back
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			defer cancel()
			m, _ := n.mirrors(t, data, faults{fault}, faults{evil.Cut(0)})
			start := time.Now()
			if err := m.Pieces(ctx, threePieces(new(bytes.Buffer))); !errors.Is(err, class) || !errors.Is(err, ErrUnreachable) {
				t.Errorf("error %v", err)
			}
			if took := time.Since(start); took < 2*time.Minute || took > 3*time.Minute {
				t.Errorf("%v: took %s", class, took)
			}
		})
	}
	bubble(t, func(t *testing.T, n *network) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		m, _ := n.mirrors(t, data, faults{evil.Cut(0)})
		if err := m.Pieces(ctx, threePieces(new(bytes.Buffer))); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		if err := NewMirrors(n.client(), nil).Pieces(t.Context(), threePieces(new(bytes.Buffer))); !errors.Is(err, ErrNotFound) {
			t.Errorf("no mirror: %v", err)
		}
	})
}

// A whole file is one piece, of a size that is not known beforehand; a site can be
// the file itself.
func TestPiecesWhole(t *testing.T) {
	for name, f := range map[string]struct {
		faults faults
		max    int64
		class  error
	}{
		"good":         {nil, 300_000, nil},
		"without size": {faults{evil.CloseDelimited()}, 300_000, nil},
		"too large":    {nil, 299_999, ErrCorrupt},
		"endless":      {faults{evil.Endless()}, 400_000, ErrCorrupt},
		"wrong":        {faults{evil.Flip(9)}, 300_000, ErrCorrupt},
		"not there":    {faults{evil.Status(404)}, 300_000, ErrNotFound},
	} {
		bubble(t, func(t *testing.T, n *network) {
			s := n.serve("a", evil.Content(bytes.Clone(data)), f.faults...)
			m := NewMirrors(n.client(), nil, s.URL+"/some/file")
			var got []byte
			err := m.Pieces(t.Context(), Pieces{Lens: []int64{f.max}, Take: func(_ int, p []byte) error {
				if !bytes.Equal(p, data) {
					return errors.New("not this file")
				}
				got = bytes.Clone(p)
				return nil
			}})
			if !errors.Is(err, f.class) || f.class == nil && !bytes.Equal(got, data) {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
			if path := s.Requests()[0].URL.Path; path != "/some/file" {
				t.Errorf("%s: asked for %s", name, path)
			}
		})
	}
}
