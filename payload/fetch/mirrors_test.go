package fetch

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// mirrors returns the servers a, b, c and so on with one list of faults each,
// all with the same data, as mirrors.
func (n *network) mirrors(t *testing.T, data []byte, faults ...[]evil.Fault) (*Mirrors, []*evil.Server) {
	var sites []string
	var servers []*evil.Server
	for i, f := range faults {
		s := n.serve(string(rune('a'+i)), evil.Content(bytes.Clone(data)), f...)
		servers, sites = append(servers, s), append(sites, s.URL)
	}
	log := func(format string, args ...any) {
		t.Logf("%s "+format, append([]any{time.Now().Format("04:05.000")}, args...)...)
	}
	return NewMirrors(n.client(), log, sites...), servers
}

// condemned joins the hosts that are.
func condemned(m *Mirrors) string {
	var hosts []string
	for _, h := range m.Health() {
		if h.Condemned {
			hosts = append(hosts, strings.TrimPrefix(h.Site, "http://"))
		}
	}
	slices.Sort(hosts)
	return strings.Join(hosts, " ")
}

type faults = []evil.Fault

// TestMirrors fetches 300 000 bytes from two or three mirrors.
func TestMirrors(t *testing.T) {
	const second = time.Second
	for _, tt := range []struct {
		name      string
		faults    []faults
		ranges    string // of the requests to a, b and so on
		least     time.Duration
		most      time.Duration
		condemned string
	}{
		{"good", []faults{{}, {}}, "- / ", 0, 0, ""},
		{"cut, and another goes on from there", []faults{{evil.Cut(150_000)}, {evil.ChangeETag()}}, "- / bytes=150000-", 0, 0, ""},
		{"cut, and another that has no ranges", []faults{{evil.Cut(150_000)}, {evil.IgnoreRange()}}, "- / bytes=150000-", 0, 0, ""},
		{"each cuts", []faults{{evil.Cut(100_000)}, {evil.Cut(100_000)}, {evil.Cut(100_000)}}, "- / bytes=100000- / bytes=200000-", 0, 0, ""},
		{"wrong bytes", []faults{{evil.Flip(12345)}, {}}, "- / -", 0, 0, "a"},
		{"wrong bytes, cut, then wrong bytes", []faults{{evil.First(1, evil.Cut(150_000)), evil.Flip(12345)}, {}},
			"- / bytes=150000- -", 0, 0, ""},
		{"right bytes, then wrong ones", []faults{{evil.Cut(150_000)}, {evil.Flip(12345)}, {}}, "- / bytes=150000- - / -", 0, 0, "b"},
		{"wrong range behind right bytes", []faults{{evil.Cut(150_000)}, {evil.Header("Content-Range", "bytes 0-299999/300000")}, {}},
			"- / bytes=150000- / bytes=150000-", 0, 0, "b"},
		{"too much behind right bytes", []faults{{evil.Cut(150_000)}, {evil.Endless()}, {}}, "- / bytes=150000- / -", 0, 0, "b"},
		{"busy for a minute", []faults{{evil.Header("Retry-After", "60"), evil.Status(503)}, {}}, "- / -", 0, 0, ""},
		{"too many requests", []faults{{evil.Header("Retry-After", "60"), evil.Status(429)}, {}}, "- / -", 0, 0, ""},
		{"not there", []faults{{evil.Status(404)}, {}}, "- / -", 0, 0, ""},
		{"web page", []faults{{evil.HTML()}, {}}, "- / -", 0, 0, ""},
		{"web page in the middle", []faults{{evil.Cut(150_000)}, {evil.HTML()}, {}}, "- / bytes=150000- / bytes=150000-", 0, 0, ""},
		{"redirect to another host", []faults{{evil.Redirect("http://portal/")}, {}}, "- / -", 0, 0, ""},
		{"silence", []faults{{evil.Silent()}, {}}, "- / -", 3 * second, 3 * second, ""},
		{"silence in the middle", []faults{{evil.Stall(150_000)}, {}}, "- / bytes=150000-", 3 * second, 3 * second, ""},
		{"silence everywhere, once", []faults{{evil.First(1, evil.Silent())}, {evil.First(1, evil.Silent())}}, "- - / -", 33 * second, 33 * second, ""},
		{"drip", []faults{{evil.Drip(second / 10)}, {}}, "- / bytes=30-", 3 * second, 4 * second, ""},
		{"slow", []faults{{evil.Slow(2000)}, {}}, "- / bytes=6000-", 3 * second, 4 * second, ""},
		{"slow, but nearly done", []faults{{evil.Bursts(100_000, 3*second/2)}, {evil.Slow(2000)}}, "- / ", 9 * second / 2, 9 * second / 2, ""},
		{"silent for a while, and another is slower", []faults{{evil.First(1, evil.Stall(200_000)), evil.Slow(20_000)}, {evil.Slow(2000)}},
			"- bytes=206000- / bytes=200000-", 20 * second, 22 * second, ""},
		{"slow, and another is slower", []faults{{evil.Slow(9000)}, {evil.Slow(2000)}}, "- bytes=33000- / bytes=27000-", 35 * second, 37 * second, ""},
		{"all are as slow", []faults{{evil.Slow(8000)}, {evil.Slow(8000)}, {evil.Slow(8000)}}, "- / bytes=24000- / bytes=48000-", 37 * second, 39 * second, ""},
		{"wrong bytes, slow and good", []faults{{evil.Flip(1)}, {evil.Slow(2000)}, {}}, "- / - / bytes=6000-", 3 * second, 4 * second, "a"},
		{"slow, wrong bytes and good", []faults{{evil.Slow(2000)}, {evil.Flip(1)}, {}}, "- / bytes=6000- - / -", 3 * second, 3 * second, "b"},
		{"dies at half and never comes back", []faults{{evil.First(1, evil.Cut(150_000)), evil.After(1, evil.Silent())}, {evil.Slow(20_000)}},
			"- / bytes=150000-", 7 * second, 8 * second, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				m, servers := n.mirrors(t, data, tt.faults...)
				dst := make(file, len(data))
				start := time.Now()
				if err := m.Object(t.Context(), object.OfBytes(data), dst, nil); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(dst, data) {
					t.Error("no error, but other bytes")
				}
				if took := time.Since(start); took < tt.least || took > tt.most {
					t.Errorf("took %s, want %s to %s", took, tt.least, tt.most)
				}
				var got []string
				for _, s := range servers {
					got = append(got, ranges(s))
					for _, r := range s.Requests() {
						if r.Header.Get("If-Range") != "" && s != servers[0] {
							t.Errorf("%s is asked for another server's version %s", s.URL, r.Header.Get("If-Range"))
						}
					}
				}
				if all := strings.Join(got, " / "); !strings.HasPrefix(all, tt.ranges) || strings.Trim(all[len(tt.ranges):], " /") != "" {
					t.Errorf("ranges %q, want %q", all, tt.ranges)
				}
				if got := condemned(m); got != tt.condemned {
					t.Errorf("condemned %q, want %q", got, tt.condemned)
				}
			})
		})
	}
}

// TestStitchedTwice wants what is fetched after a stitched object went wrong not
// to be mixed again: a mirror that cuts objects into pieces and changes one of
// them gains nothing by it.
func TestStitchedTwice(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		m, servers := n.mirrors(t, data, faults{evil.Flip(1), evil.First(3, evil.Cut(100_000))}, nil)
		for range 2 {
			if err := m.Object(t.Context(), object.OfBytes(data), make(file, len(data)), nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
		}
		if got, want := ranges(servers[0])+" / "+ranges(servers[1]), "- - / bytes=100000- - -"; got != want || condemned(m) != "" {
			t.Errorf("ranges %q, condemned %q, want %q and none", got, condemned(m), want)
		}
	})
}

// TestOneMirror has one mirror that does what it can: nobody to be left for.
func TestOneMirror(t *testing.T) {
	for _, tt := range []struct {
		name   string
		faults faults
		ranges string
		class  error
	}{
		{"64 kbit/s and 600 ms away", faults{evil.Late(600 * time.Millisecond), evil.Slow(8000)}, "-", nil},
		{"just above the least rate", faults{evil.Slow(1100)}, "-", nil},
		{"a link that flaps", faults{evil.Bursts(15_000, 12*time.Second)}, "-", nil},
		{"a black hole behind the header", faults{evil.Stall(0)}, "- - - - -", ErrUnreachable},
		{"wrong bytes", faults{evil.Flip(1)}, "-", ErrCorrupt},
		{"web page", faults{evil.HTML()}, "-", ErrPortal},
		{"redirect to another host", faults{evil.Redirect("http://portal/")}, "-", ErrPortal},
		{"not there", faults{evil.Status(404)}, "-", ErrNotFound},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				m, servers := n.mirrors(t, data, tt.faults)
				err := m.Object(t.Context(), object.OfBytes(data), make(file, len(data)), nil)
				if !errors.Is(err, tt.class) || ranges(servers[0]) != tt.ranges {
					t.Errorf("error %v after %q, want %v after %q", err, ranges(servers[0]), tt.class, tt.ranges)
				}
			})
		})
	}
}

// TestCutOften has a mirror that needs ten requests, and one of wrong bytes before
// it: what came of those must not stand for progress.
func TestCutOften(t *testing.T) {
	for want, wrong := range map[int]faults{
		10: {evil.Flip(1)},
		19: {evil.Flip(1), evil.After(1, evil.Status(404)), evil.First(1, evil.Cut(70_000))}, // 9 of them stitched
	} {
		bubble(t, func(t *testing.T, n *network) {
			data := noise(700_000)
			m, servers := n.mirrors(t, data, wrong, faults{evil.Cut(70_000)})
			if err := m.Object(t.Context(), object.OfBytes(data), make(file, len(data)), nil); err != nil {
				t.Error(err)
			}
			if seen := len(servers[1].Requests()); seen != want {
				t.Errorf("%d requests, want %d", seen, want)
			}
		})
	}
}

// TestMeasured wants a rate of what took less than a span, if it was large enough.
// TestMirrorsRest has mirrors that fail over and over, and wants each to have
// its own doubling pause, and all to be named.
func TestMirrorsRest(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		m, servers := n.mirrors(t, data, faults{evil.Status(500)}, faults{evil.Header("Retry-After", "3600"), evil.Status(503)})
		m.Add("http://nowhere")
		err := m.Object(t.Context(), object.OfBytes(data), make(file, len(data)), nil)
		for _, text := range []string{"http://a/objects/", "500", "http://b/objects/", "503", "http://nowhere/objects/", errNoRoute.Error()} {
			if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), text) {
				t.Errorf("error %v, want %q with %q", err, ErrUnreachable, text)
			}
		}
		for i, s := range servers {
			seen := s.Requests()
			if len(seen) != 5 {
				t.Errorf("%d requests to %s, want 5", len(seen), s.URL)
			}
			for k := 1; k < len(seen); k++ {
				most := time.Second << (k - 1)
				least := most / 2
				if i == 1 {
					least, most = time.Minute, time.Minute
				}
				if gap := seen[k].At.Sub(seen[k-1].At); gap < least || gap > most {
					t.Errorf("pause %d of %s is %s, want %s to %s", k, s.URL, gap, least, most)
				}
			}
		}
	})
}

// TestNameErrors wants a name that cannot be looked up to be told from a server
// that cannot be reached.
func TestNameErrors(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.serve("good", evil.Content(data))
		dial := func(c *config) {
			c.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
				if addr == "bad:80" {
					return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "bad", IsNotFound: true}}
				}
				return n.dial(ctx, network, addr)
			}
		}
		c := New(DefaultLimits(), dial)
		defer c.Close()
		m := NewMirrors(c, nil, "http://bad")
		err := m.Object(t.Context(), object.OfBytes(data), make(file, len(data)), nil)
		if _, ok := errors.AsType[*net.DNSError](err); !ok || !errors.Is(err, ErrUnreachable) {
			t.Errorf("error %v, want one of the name", err)
		}
		m.Add("http://good/")
		if err := m.Object(t.Context(), object.OfBytes(data), make(file, len(data)), nil); err != nil {
			t.Error(err)
		}
	})
}

// TestCondemned wants a condemned mirror to be asked last, but to be asked.
// TestMirrorDocument wants a site whose document could not be had to be no
// longer the first for objects.
func TestMirrorsEnd(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		m, _ := n.mirrors(t, data, faults{evil.Silent()}, faults{evil.Silent()})
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		start := time.Now()
		err := m.Object(ctx, object.OfBytes(data), make(file, len(data)), nil)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 5*time.Second {
			t.Errorf("error %v after %s, want the deadline's after 5s", err, time.Since(start))
		}
		if err := m.Object(t.Context(), object.OfBytes(data), full{}, nil); err == nil {
			t.Error("no error")
		}
		if err := NewMirrors(n.client(), nil).Object(t.Context(), object.OfBytes(data), file{}, nil); !errors.Is(err, ErrNotFound) {
			t.Errorf("error %v without mirrors, want %q", err, ErrNotFound)
		}
	})
}

// TestObjects wants at most three at a time, and the first failure to end all.
func TestObjects(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		var now, most atomic.Int32
		content := evil.Content(data)
		n.listen("a:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			time.Sleep(time.Second)
			content.ServeHTTP(w, r)
		}))
		m := NewMirrors(n.client(), nil, "http://a")
		var wants []Want
		for range 7 {
			wants = append(wants, Want{Ref: object.OfBytes(data), To: make(file, len(data))})
		}
		if err := m.Objects(t.Context(), wants...); err != nil || most.Load() != 3 {
			t.Errorf("error %v, %d at a time", err, most.Load())
		}
		for i, want := range wants {
			if !bytes.Equal(want.To.(file), data) {
				t.Errorf("object %d is not there", i)
			}
		}
		most.Store(0)
		wants[1].To = full{}
		start := time.Now()
		if err := m.Objects(t.Context(), wants...); err == nil || errors.Is(err, context.Canceled) || time.Since(start) > 2*time.Second {
			t.Errorf("error %v after %s", err, time.Since(start))
		}
	})
}

// TestAnyMirrors gives three mirrors faults by chance, the last one none worse
// than being late or slow. The object arrives, within minutes, and the last
// mirror keeps its name.
func TestAnyMirrors(t *testing.T) {
	for seed := range uint64(100) {
		bubble(t, func(t *testing.T, n *network) {
			r := rand.New(rand.NewPCG(seed, 0))
			some := func() evil.Fault {
				at := r.IntN(len(data))
				return []evil.Fault{
					evil.Cut(at), evil.Stall(at), evil.Silent(), evil.Slow(500 + r.IntN(20_000)), evil.CloseDelimited(),
					evil.Chunked(), evil.Endless(), evil.Flip(8 * at), evil.Flip(at), evil.ChangeETag(), evil.IgnoreRange(),
					evil.Status([]int{404, 429, 500, 503}[at%4]), evil.HTML(), evil.Redirect("/again"), evil.HeaderFlood(),
					evil.DripFrom(at, time.Second), evil.Bursts(at+1, 10*time.Second), evil.LyingLength(int64(at)),
				}[r.IntN(18)]
			}
			bad := func() (f faults) {
				for range 1 + r.IntN(3) {
					switch at := r.IntN(4); r.IntN(3) {
					case 0:
						f = append(f, evil.First(at, some()))
					case 1:
						f = append(f, evil.After(at, some()))
					default:
						f = append(f, some())
					}
				}
				return f
			}
			good := faults{evil.Late(time.Duration(r.IntN(2000)) * time.Millisecond), evil.Slow(20_000 + r.IntN(1000_000))}
			m, _ := n.mirrors(t, data, bad(), bad(), good)
			start := time.Now()
			for i := range 3 {
				dst := make(file, len(data))
				if err := m.Object(t.Context(), object.OfBytes(data), dst, nil); err != nil || !bytes.Equal(dst, data) {
					t.Errorf("seed %d, object %d: error %v, or other bytes", seed, i, err)
				}
			}
			if took := time.Since(start); took > 3*time.Minute {
				t.Errorf("seed %d: took %s", seed, took)
			}
			if strings.Contains(condemned(m), "c") {
				t.Errorf("seed %d: the good mirror is condemned", seed)
			}
		})
	}
}

// TestRank wants a measured rate to count before the time to the first byte, one
// failure to leave it, a second to end it, and time to do the same.
