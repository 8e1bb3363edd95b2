package fetch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

func TestMeasured(t *testing.T) {
	for size, want := range map[int]int64{300_000: 200_000, 50_000: 0} {
		bubble(t, func(t *testing.T, n *network) {
			m, _ := n.mirrors(t, data[:size], faults{evil.Slow(200_000)})
			if err := m.Object(t.Context(), object.OfBytes(data[:size]), make(file, size), nil); err != nil {
				t.Error(err)
			}
			if h := m.Health()[0]; h.Rate != want {
				t.Errorf("%+v", h)
			}
		})
	}
}

func TestProbe(t *testing.T) {
	const ms = time.Millisecond
	bubble(t, func(t *testing.T, n *network) {
		m, servers := n.mirrors(t, data,
			faults{evil.Silent()}, faults{evil.Late(50 * ms)}, faults{evil.Late(20 * ms)}, faults{evil.Status(404)}, faults{evil.HTML()})
		m.Add("http://nowhere/", servers[0].URL+"/")
		start := time.Now()
		m.Probe(t.Context(), "manifest.json")
		if took := time.Since(start); took != 20*ms || m.Sites()[0] != "http://c" {
			t.Errorf("%v after %s, want http://c first after 20ms", m.Sites(), took)
		}
		time.Sleep(time.Minute)
		if got, want := fmt.Sprint(m.Sites()), "[http://c http://b http://a http://d http://e http://nowhere/]"; got != want {
			t.Errorf("sites %s, want %s", got, want)
		}
		for i, h := range m.Health() {
			if good := i < 2; good != (h.Trouble == nil) || good != (h.FirstByte > 0) {
				t.Errorf("%+v", h)
			}
		}
		for _, s := range servers {
			if seen := s.Requests(); len(seen) != 1 || seen[0].URL.Path != "/manifest.json" || ranges(s) != "bytes=0-0" {
				t.Errorf("%s was asked %d times, for %q", s.URL, len(seen), ranges(s))
			}
		}
		time.Sleep(2 * time.Minute)
		for _, h := range m.Health() {
			if h.Trouble != nil {
				t.Errorf("%s: %v is not forgotten", h.Site, h.Trouble)
			}
		}
	})
	t.Run("given up", func(t *testing.T) {
		bubble(t, func(t *testing.T, n *network) {
			m, _ := n.mirrors(t, data, faults{evil.Silent()})
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			m.Probe(ctx, "manifest.json")
			if h := m.Health()[0]; h.Trouble != nil || ctx.Err() == nil {
				t.Errorf("%+v is blamed", h)
			}
		})
	})
	t.Run("nobody answers", func(t *testing.T) {
		bubble(t, func(t *testing.T, n *network) {
			m, _ := n.mirrors(t, data, faults{evil.Silent()}, faults{evil.Status(500)})
			start := time.Now()
			m.Probe(t.Context(), "manifest.json")
			if took := time.Since(start); took != 30*time.Second {
				t.Errorf("waited %s", took)
			}
		})
	})
}

func TestCondemned(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		m, servers := n.mirrors(t, data, nil, faults{evil.First(1, evil.Cut(10)), evil.After(2, evil.Status(404))})
		m.Condemn("http://a/", errors.New("bad signature"))
		for range 2 {
			if err := m.Object(t.Context(), object.OfBytes(data), make(file, len(data)), nil); err != nil {
				t.Fatal(err)
			}
		}
		if ranges(servers[0]) != "-" || ranges(servers[1]) != "- bytes=10- -" {
			t.Errorf("ranges %q and %q", ranges(servers[0]), ranges(servers[1]))
		}
		if h := m.Health()[1]; h.Site != "http://a" || !h.Condemned || h.Trouble.Error() != "bad signature" {
			t.Errorf("%+v", h)
		}
	})
}

func TestMirrorDocument(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		m, servers := n.mirrors(t, []byte("hello"), faults{evil.First(1, evil.HTML())}, faults{evil.Status(404)}, nil)
		for _, site := range m.Sites() {
			doc, err := m.Document(t.Context(), site, "manifest.json", 100)
			if (site == servers[2].URL) != (string(doc) == "hello" && err == nil) {
				t.Errorf("%s: %q, error %v", site, doc, err)
			}
		}
		if got := m.Sites()[2]; got != servers[0].URL {
			t.Errorf("the last is %s", got)
		}
		if _, err := m.Document(t.Context(), "http://nowhere", "x", 100); !errors.Is(err, ErrUnreachable) {
			t.Errorf("error %v", err)
		}
	})
}

func TestRank(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		m, _ := n.mirrors(t, data, nil, nil, nil)
		near, far, slow := m.all[0], m.all[1], m.all[2]
		near.firstByte, far.firstByte, slow.firstByte = 1, 2, 3
		rank := func(when, want string) {
			t.Helper()
			if got := strings.Join(m.Sites(), " "); got != want {
				t.Errorf("%s: %s, want %s", when, got, want)
			}
		}
		rank("probed", "http://a http://b http://c")
		far.rate, far.measured = 2000, time.Now()
		slow.rate, slow.measured = 1000, time.Now()
		rank("measured", "http://b http://c http://a")
		far.slow = true
		rank("found slow", "http://c http://a http://b")
		far.slow = false
		m.fail(far, errNoRoute)
		rank("resting", "http://c http://a http://b")
		time.Sleep(time.Second)
		rank("rested", "http://b http://c http://a")
		m.fail(far, errNoRoute)
		time.Sleep(2 * time.Second)
		rank("failed again", "http://c http://a http://b")
		time.Sleep(2 * time.Minute)
		rank("forgotten", "http://a http://b http://c")
	})
}
