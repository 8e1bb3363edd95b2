package fetch

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// data is 300 000 bytes that look like nothing.
var data = noise(300_000)

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// file is a destination in memory that refuses writes beyond its size.
type file []byte

func (f file) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > int64(len(f)) {
		return 0, io.ErrShortWrite
	}
	return copy(f[off:], p), nil
}

func TestObjectArrives(t *testing.T) {
	for _, tt := range []struct {
		name     string
		faults   []evil.Fault
		requests int
		ranges   string // the Range of each request
	}{
		{"good server", nil, 1, "-"},
		{"cut", []evil.Fault{evil.First(1, evil.Cut(1000))}, 2, "- bytes=1000-"},
		{"cut in chunks", []evil.Fault{evil.First(1, evil.Cut(1000)), evil.Chunked()}, 2, "- bytes=995-"},
		{"cut without a length", []evil.Fault{evil.First(1, evil.Cut(1000)), evil.CloseDelimited()}, 2, "- bytes=1000-"},
		{"cut again and again", []evil.Fault{evil.Cut(70_000)}, 5, "- bytes=70000- bytes=140000- bytes=210000- bytes=280000-"},
		{"nothing but the header", []evil.Fault{evil.First(4, evil.Cut(0))}, 5, "- - - - -"},
		{"cut, ranges ignored", []evil.Fault{evil.First(1, evil.Cut(1000)), evil.IgnoreRange()}, 2, "- bytes=1000-"},
		{"cut, file changed", []evil.Fault{evil.First(1, evil.Cut(1000)), evil.ChangeETag()}, 2, "- bytes=1000-"},
		{"cut behind the last byte", []evil.Fault{evil.Chunked(), evil.Cut(300_000 + 300*7)}, 1, "-"},
		{"stall", []evil.Fault{evil.First(2, evil.Stall(1000))}, 3, "- bytes=1000- bytes=2000-"},
		{"silence", []evil.Fault{evil.First(1, evil.Silent())}, 2, "- -"},
		{"drip", []evil.Fault{evil.First(1, evil.Drip(100*time.Millisecond))}, 2, "- bytes=300-"},
		{"drip at last", []evil.Fault{evil.First(1, evil.DripFrom(290_000, 100*time.Millisecond))}, 2, "- bytes=290600-"},
		{"slow, but fast enough", []evil.Fault{evil.Drip(time.Second / 1200)}, 1, "-"},
		{"busy", []evil.Fault{evil.First(4, evil.Status(503))}, 5, "- - - - -"},
		{"redirect", []evil.Fault{evil.First(3, evil.Redirect("/elsewhere?x"))}, 4, "- - - -"},
		{"header flood", []evil.Fault{evil.First(1, evil.HeaderFlood())}, 2, "- -"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				srv := n.serve("a", evil.Content(data), tt.faults...)
				dst := make(file, len(data))
				if err := n.client().Object(t.Context(), []string{srv.URL + "/o"}, object.OfBytes(data), dst, nil); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(dst, data) {
					t.Error("no error, but other bytes")
				}
				if got := ranges(srv); got != tt.ranges || len(srv.Requests()) != tt.requests {
					t.Errorf("%d requests with ranges %q, want %d with %q", len(srv.Requests()), got, tt.requests, tt.ranges)
				}
			})
		})
	}
}

// ranges joins the Range headers of all requests, "-" for none.
func ranges(s *evil.Server) string {
	var all []string
	for _, r := range s.Requests() {
		v := r.Header.Get("Range")
		if v == "" {
			v = "-"
		}
		all = append(all, v)
	}
	return strings.Join(all, " ")
}

func TestObjectRefuses(t *testing.T) {
	for _, tt := range []struct {
		name     string
		faults   []evil.Fault
		requests int
		class    error
		text     string
	}{
		{"bit flip", []evil.Fault{evil.Flip(12345)}, 1, ErrCorrupt, "content has sha256"},
		{"endless", []evil.Fault{evil.Endless()}, 1, ErrCorrupt, "more than the promised 300000 bytes"},
		{"too long", []evil.Fault{evil.LyingLength(300_001)}, 1, ErrCorrupt, "more than the promised"},
		{"too short", []evil.Fault{evil.LyingLength(299_999)}, 1, ErrCorrupt, "ends after 299999 of 300000"},
		{"web page", []evil.Fault{evil.HTML()}, 1, ErrCorrupt, "got HTML (captive portal?)"},
		{"web page without a length", []evil.Fault{evil.CloseDelimited(), evil.HTML()}, 1, ErrCorrupt, "got HTML (captive portal?)"},
		{"wrong range", []evil.Fault{evil.First(1, evil.Cut(1000)), evil.Header("Content-Range", "bytes 0-299999/300000")}, 2, ErrCorrupt, `range "bytes 0-`},
		{"range not satisfiable", []evil.Fault{evil.First(1, evil.Cut(1000)), evil.After(1, evil.Status(416))}, 2, ErrRefused, "416"},
		{"not there", []evil.Fault{evil.Status(404)}, 1, ErrNotFound, "server answers 404 Not Found"},
		{"forbidden", []evil.Fault{evil.Status(403)}, 1, ErrNotFound, "403"},
		{"strange status", []evil.Fault{evil.Status(299)}, 1, ErrRefused, "server answers 299"},
		{"busy", []evil.Fault{evil.Status(500)}, 5, ErrUnreachable, "500 Internal Server Error (5 times)"},
		{"header flood", []evil.Fault{evil.HeaderFlood()}, 5, ErrUnreachable, "exceeded 65536 bytes"},
		{"silence", []evil.Fault{evil.Silent()}, 5, ErrUnreachable, "no answer within 30s"},
		{"stall", []evil.Fault{evil.Stall(0)}, 5, ErrUnreachable, "no data for 30s"},
		{"drip", []evil.Fault{evil.Drip(100 * time.Millisecond)}, 5, ErrUnreachable, "10 bytes/s, at least 1024 are waited for"},
		{"a byte each time", []evil.Fault{evil.Cut(1)}, 5, ErrUnreachable, "unexpected EOF (at byte 5 of 300000)"},
		{"start over each time", []evil.Fault{evil.IgnoreRange(), evil.Cut(200_000)}, 6, ErrUnreachable, "unexpected EOF (at byte 200000 of 300000) (6 times)"},
		{"start over, shorter", []evil.Fault{evil.IgnoreRange(), evil.First(1, evil.Cut(200_000)), evil.First(2, evil.Cut(100_000)), evil.Cut(170_000)},
			6, ErrUnreachable, "(at byte 170000 of 300000) (4 times)"},
		{"redirect loop", []evil.Fault{evil.Redirect("/o")}, 4, ErrRefused, "more than 3 redirects"},
		{"redirect to another host", []evil.Fault{evil.Redirect("http://b/o")}, 1, ErrRefused, `another server, "b"`},
		{"redirect to another port", []evil.Fault{evil.Redirect("http://a:22/o")}, 1, ErrRefused, `another server, "a:22"`},
		{"redirect to a file", []evil.Fault{evil.Redirect("file:///etc/passwd")}, 1, ErrRefused, `scheme "file"`},
		{"redirect with credentials", []evil.Fault{evil.Redirect("http://root:secret@a/o")}, 1, ErrRefused, "credentials"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				srv := n.serve("a", evil.Content(bytes.Clone(data)), tt.faults...)
				dst := make(file, len(data))
				err := n.client().Object(t.Context(), []string{srv.URL + "/o?token=secret"}, object.OfBytes(data), dst, nil)
				if !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("error %q, want %q with %q", err, tt.class, tt.text)
				}
				if err != nil && strings.Contains(err.Error(), "secret") {
					t.Errorf("the error tells a secret: %q", err)
				}
				if got := len(srv.Requests()); got != tt.requests {
					t.Errorf("%d requests, want %d", got, tt.requests)
				}
			})
		})
	}
}

func TestMismatchIsFound(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		srv := n.serve("a", evil.Content(data), evil.Flip(0))
		err := n.client().Object(t.Context(), []string{srv.URL}, object.OfBytes(data), make(file, len(data)), nil)
		if !errors.Is(err, object.ErrMismatch) || !errors.Is(err, ErrCorrupt) {
			t.Errorf("error %v, want a mismatch", err)
		}
	})
}

// TestNextURL asks five servers of which only the last is any good, and wants
// each of the others in its place.
func TestNextURL(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		flip := n.serve("flip", evil.Content(data), evil.First(1, evil.Cut(100_000)), evil.Flip(0))
		gone := n.serve("gone", evil.Content(data), evil.Status(404))
		busy := n.serve("busy", evil.Content(data), evil.Status(502))
		good := n.serve("good", evil.Content(data))
		urls := []string{flip.URL, gone.URL, busy.URL, "http://nowhere", good.URL}
		dst := make(file, len(data))
		if err := n.client().Object(t.Context(), urls, object.OfBytes(data), dst, nil); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(dst, data) || ranges(good) != "-" {
			t.Errorf("ranges %q from the good server, want the whole", ranges(good))
		}

		err := n.client().Object(t.Context(), urls[:4], object.OfBytes(data), dst, nil)
		failed, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatalf("error %v, want an *Error", err)
		}
		var got []string
		for _, a := range failed.Attempts {
			got = append(got, a.URL)
		}
		if want := "http://flip http://gone http://busy http://nowhere"; strings.Join(got, " ") != want {
			t.Errorf("attempts at %q, want %q", got, want)
		}
		for _, class := range []error{ErrCorrupt, ErrNotFound, ErrUnreachable, errNoRoute} {
			if !errors.Is(err, class) {
				t.Errorf("%q is not in the error %v", class, err)
			}
		}
	})
}

func TestBackoff(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		srv := n.serve("a", evil.Content(data), evil.Status(503))
		n.client().Object(t.Context(), []string{srv.URL}, object.OfBytes(data), file{}, nil)
		seen := srv.Requests()
		if len(seen) != DefaultLimits().Attempts {
			t.Errorf("asked %d times, want %d", len(seen), DefaultLimits().Attempts)
		}
		for i := 1; i < len(seen); i++ {
			gap, most := seen[i].At.Sub(seen[i-1].At), time.Second<<(i-1)
			if gap < most/2 || gap > most {
				t.Errorf("pause %d is %s, want %s to %s", i, gap, most/2, most)
			}
		}
	})
}

// Wrong bytes that look like a web page somewhere in the middle are no portal's:
// whoever sends them is to blame.
func TestPageInTheMiddle(t *testing.T) {
	d := &download{ref: object.OfBytes([]byte("0123456789abcdef")), dst: make(file, 16)}
	d.restart()
	err := d.copy(io.MultiReader(strings.NewReader("01234567"), strings.NewReader("<html>89")))
	if !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrPortal) {
		t.Errorf("copy = %v", err)
	}
}

// Two machines of a fleet do not come back in the same moment.
func TestPauseVaries(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 100 {
		seen[DefaultLimits().pause(3, 0)] = true
	}
	if len(seen) < 90 {
		t.Errorf("100 pauses have %d values", len(seen))
	}
}

func TestRetryAfter(t *testing.T) {
	for asked, want := range map[string]time.Duration{"20": 20 * time.Second, "86400": time.Minute} {
		bubble(t, func(t *testing.T, n *network) {
			srv := n.serve("a", evil.Content(data), evil.First(1, evil.Header("Retry-After", asked)), evil.First(1, evil.Status(429)))
			if err := n.client().Object(t.Context(), []string{srv.URL}, object.OfBytes(data), make(file, len(data)), nil); err != nil {
				t.Fatal(err)
			}
			seen := srv.Requests()
			if got := seen[1].At.Sub(seen[0].At); got != want {
				t.Errorf("asked for %s s: came back after %s, want %s", asked, got, want)
			}
		})
	}
}

func TestRequestHeader(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		srv := n.serve("a", evil.Content(data), evil.First(1, evil.Redirect("/p")), evil.First(1, evil.Cut(10)))
		if err := n.client().Object(t.Context(), []string{srv.URL + "/o?secret"}, object.OfBytes(data), make(file, len(data)), nil); err != nil {
			t.Fatal(err)
		}
		want := http.Header{"Accept-Encoding": {"identity"}, "User-Agent": {"farboot/1"}}
		for i, r := range srv.Requests() {
			if i == 2 {
				want.Set("Range", "bytes=10-")
				want.Set("If-Range", `"content"`)
			}
			if diff := cmp.Diff(want, r.Header); r.Method != http.MethodGet || diff != "" {
				t.Errorf("request %d is a %s; its header differs (-want +got):\n%s", i, r.Method, diff)
			}
		}
	})
}

// TestPerSecond is about 10 GB in 3 s, which counted in nanoseconds pass 2^63.
func TestPerSecond(t *testing.T) {
	if got := perSecond(10e9, 3*time.Second); got != 3333333333 {
		t.Errorf("%d bytes/s", got)
	}
}

func TestValidator(t *testing.T) {
	const date = "Sat, 21 Nov 2026 12:00:00 GMT"
	for want, header := range map[string]http.Header{
		`"strong"`: {"Etag": {`"strong"`}, "Last-Modified": {date}},
		date:       {"Etag": {`W/"weak"`}, "Last-Modified": {date}},
		"":         {"Etag": {`W/"weak"`}},
	} {
		if got := validator(header); got != want {
			t.Errorf("%v: %q, want %q", header, got, want)
		}
	}
}

func TestCancel(t *testing.T) {
	for name, faults := range map[string][]evil.Fault{
		"while waiting for an answer": {evil.Silent()},
		"while reading":               {evil.Stall(1000)},
		"while backing off":           {evil.Header("Retry-After", "60"), evil.Status(503)},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				srv := n.serve("a", evil.Content(data), faults...)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				start := time.Now()
				err := n.client().Object(ctx, []string{srv.URL, srv.URL}, object.OfBytes(data), make(file, len(data)), nil)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
					t.Errorf("error %v after %s, want the deadline's after 5s", err, time.Since(start))
				}
			})
		})
	}
}

// full is a destination without room.
type full struct{}

func (full) WriteAt([]byte, int64) (int, error) { return 0, syscall.ENOSPC }

func TestDestinationFails(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		srv := n.serve("a", evil.Content(data))
		err := n.client().Object(t.Context(), []string{srv.URL, srv.URL}, object.OfBytes(data), full{}, nil)
		if !errors.Is(err, syscall.ENOSPC) || len(srv.Requests()) != 1 {
			t.Errorf("error %v after %d requests, want ENOSPC after 1", err, len(srv.Requests()))
		}
	})
}

// slow is a destination that takes longer for each write than a server may.
type slow struct{ file }

func (s slow) WriteAt(p []byte, off int64) (int, error) {
	time.Sleep(time.Minute)
	return s.file.WriteAt(p, off)
}

func TestSlowDestinationIsNotTheServersFault(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		srv := n.serve("a", evil.Content(data[:50_000]))
		err := n.client().Object(t.Context(), []string{srv.URL}, object.OfBytes(data[:50_000]), slow{make(file, 50_000)}, nil)
		if err != nil || len(srv.Requests()) != 1 {
			t.Errorf("error %v after %d requests, want none after 1", err, len(srv.Requests()))
		}
	})
}

func TestProgress(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		srv := n.serve("a", evil.Content(data), evil.First(1, evil.Cut(100_000)))
		var last int64
		err := n.client().Object(t.Context(), []string{srv.URL}, object.OfBytes(data), make(file, len(data)), func(done int64) {
			if done <= last {
				t.Errorf("progress from %d to %d", last, done)
			}
			last = done
		})
		if err != nil || last != int64(len(data)) {
			t.Errorf("error %v, progress ends at %d, want %d", err, last, len(data))
		}
	})
}

func TestEmptyObject(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		srv := n.serve("a", evil.Content(nil))
		if err := n.client().Object(t.Context(), []string{srv.URL}, object.OfBytes(nil), file{}, nil); err != nil {
			t.Error(err)
		}
		if err := n.client().Object(t.Context(), nil, object.OfBytes(nil), file{}, nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("error %v without URLs, want %q", err, ErrNotFound)
		}
	})
}

func TestParallel(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		srv := n.serve("a", evil.Content(data), evil.First(5, evil.Cut(150_000)), evil.Chunked())
		c := n.client()
		errs := make(chan error)
		for range 10 {
			go func() {
				dst := make(file, len(data))
				err := c.Object(t.Context(), []string{srv.URL}, object.OfBytes(data), dst, nil)
				if err == nil && !bytes.Equal(dst, data) {
					err = errors.New("no error, but other bytes")
				}
				errs <- err
			}()
		}
		for range 10 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}
