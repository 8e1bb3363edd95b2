package cast

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/cast"
)

// seed is of what is random; 0 is the clock.
var seed = flag.Uint64("cast.seed", 0, "seed of TestRoom")

// TestRoom lets 64 machines receive, each with troubles of its own by a seed, while
// somebody forges packets and, every other time, the sender dies. All have the image in
// the end, in memory that is bounded, and all are named.
func TestRoom(t *testing.T) {
	p := paint(t, 3<<20+777, 16<<10)
	first := *seed
	if first == 0 {
		first = uint64(time.Now().UnixNano())
	}
	for round, name := range []string{"poor machines", "the sender dies", "forged packets", "all together"} {
		t.Run(fmt.Sprintf("%s, -cast.seed=%d", name, first), func(t *testing.T) {
			bubble(t, p, func(t *testing.T, h *hall) {
				h.room(t, rand.New(rand.NewPCG(first, uint64(round))), round%2 == 1, round >= 2)
			})
		})
	}
}

// room is one cast to 64 machines.
func (h *hall) room(t *testing.T, r *rand.Rand, dies, forged bool) {
	const machines = 64
	if dies {
		h.dies = 1 + r.IntN(2*int(h.p.File.Size)/cast.PieceSize)
	}
	h.cast(Config{Machines: machines / 2, Wait: time.Minute})
	var running sync.WaitGroup
	running.Go(func() {
		room, err := h.sender.Run(t.Context())
		if err != nil && !(dies && errors.Is(err, errDead)) || err == nil && len(room.Machines) != machines {
			t.Errorf("%d machines: %v", len(room.Machines), err)
		}
	})
	var all []*machine
	for i := range machines {
		if i >= machines/2 { // they come late, while it is sent
			time.Sleep(time.Duration(r.IntN(10)) * time.Millisecond)
		}
		lost := []float64{0, 0.001, 0.01, 0.05, 0.3}[r.IntN(5)]
		write := []time.Duration{0, 0, 0, time.Millisecond, 30 * time.Millisecond}[r.IntN(5)]
		all = append(all, h.join(fmt.Sprintf("m%02d", i), lost, write))
		if forged && r.IntN(4) == 0 {
			h.forge(r)
		}
	}
	var total cast.Stats
	for _, m := range all {
		s := m.end(t, h.p)
		total.Cast, total.Fetched, total.Repaired = total.Cast+s.Cast, total.Fetched+s.Fetched, total.Repaired+s.Repaired
	}
	running.Wait()
	t.Logf("%d chunks by the cast, %d by HTTP alone, %d of %d bytes repaired", total.Cast, total.Fetched, total.Repaired, machines*h.p.File.Size)
	if total.Repaired > 2*machines*h.p.File.Size {
		t.Error("by HTTP came more than the image of each twice")
	}
}

// forge sends a piece of each chunk that is a lie, and words.
func (h *hall) forge(r *rand.Rand) {
	for i := range h.p.Table {
		f := cast.Frame{Session: h.p.Session(), Chunk: uint32(i), Piece: uint32(r.IntN(h.p.Pieces(i))), Data: make([]byte, min(cast.PieceSize, int(h.p.Table[i])))}
		for _, m := range h.machines {
			m.hear(f.Append(nil))
		}
	}
	word := cast.Frame{Session: h.p.Session(), Word: cast.Word{State: cast.State(1 + r.IntN(4))}}
	for _, m := range h.machines {
		m.hear(word.Append(nil))
	}
}

// A room without troubles costs one pass and no HTTP.
func TestQuietRoom(t *testing.T) {
	p := paint(t, 3<<20, 16<<10)
	bubble(t, p, func(t *testing.T, h *hall) {
		h.cast(Config{Machines: 8, Wait: time.Hour, Rate: 50e6})
		start := time.Now()
		var all []*machine
		for i := range 8 {
			all = append(all, h.join(fmt.Sprint("m", i), 0, 0))
		}
		ended := make(chan error)
		go func() {
			room, err := h.sender.Run(t.Context())
			if room.Pass != 1 || len(room.Machines) != 8 {
				t.Errorf("%+v", room)
			}
			ended <- err
		}()
		for _, m := range all {
			m.end(t, p)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
		// What is sent takes its time by the rate, and no packet is sent twice.
		wire := time.Duration(float64(h.sent*(cast.MaxFrame+around)) * 8 / 50e6 * float64(time.Second))
		if took := time.Since(start); took < wire*9/10 || took > wire+15*time.Second {
			t.Errorf("took %s, on the wire %s", took, wire)
		}
		if h.served != 0 || int64(h.sent) > p.File.Size/cast.PieceSize+int64(len(p.Table))+100 {
			t.Errorf("%d bytes by HTTP, %d packets", h.served, h.sent)
		}
	})
}

// Who comes late has a second pass if others need it too, and HTTP if not.
func TestPasses(t *testing.T) {
	p := paint(t, 3<<20, 16<<10)
	for late, want := range map[int]int{1: 1, 3: 2} {
		bubble(t, p, func(t *testing.T, h *hall) {
			h.cast(Config{Machines: 1, Wait: time.Hour, Rate: 10e6})
			all := []*machine{h.join("first", 0, 0)}
			ended := make(chan int)
			go func() {
				room, err := h.sender.Run(t.Context())
				if err != nil {
					t.Error(err)
				}
				ended <- room.Pass
			}()
			for s := h.sender.Room(); s.Sent < 50; s = h.sender.Room() {
				time.Sleep(time.Millisecond)
			}
			for i := range late {
				all = append(all, h.join(fmt.Sprint("late", i), 0, 0))
			}
			for i, m := range all {
				if s := m.end(t, p); i > 0 && (s.Fetched > 1) != (late == 1) {
					t.Errorf("%d late: %+v", late, s)
				}
			}
			if pass := <-ended; pass != want {
				t.Errorf("%d late: %d passes, want %d", late, pass, want)
			}
		})
	}
}

// A machine that fails, that goes silent and that never comes is named.
func TestNames(t *testing.T) {
	p := paint(t, 1<<20, 16<<10)
	bubble(t, p, func(t *testing.T, h *hall) {
		h.cast(Config{Machines: 4, Wait: 30 * time.Second})
		good := h.join("good", 0, 0)
		report := func(s cast.Status) {
			s.Session = fmt.Sprintf("%x", p.Session())
			body, err := s.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if err := h.sender.take(body, "192.0.2.9:1"); err != nil {
				t.Error(err)
			}
		}
		report(cast.Status{Machine: "gone", Stage: cast.Receiving, Have: 10, Total: 40})
		report(cast.Status{Machine: "full", Stage: cast.Failed, Error: "disk is full"})
		go good.end(t, p)
		_, err := h.sender.Run(t.Context())
		if !errors.Is(err, ErrRoom) {
			t.Fatal(err)
		}
		for _, want := range []string{"2 of 3", "gone: silent since ", "25 %", "full: failed: disk is full"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q is not in %q", want, err)
			}
		}
	})
	if err := (Room{}).judge(0); !errors.Is(err, ErrRoom) {
		t.Error(err)
	}
	done := Machine{Status: cast.Status{Stage: cast.Done}}
	if err := (Room{Machines: []Machine{done}}).judge(2); !errors.Is(err, ErrRoom) {
		t.Error(err)
	}
	if err := (Room{Machines: []Machine{done}}).judge(1); err != nil {
		t.Error(err)
	}
}

// The rate falls where most lose packets, and not for one who is slow.
func TestLearn(t *testing.T) {
	p := paint(t, 1<<20, 16<<10)
	for name, c := range map[string]struct {
		lost []int64 // of 1000 pieces
		want int64
	}{
		"none":     {[]int64{0, 0, 0}, 100e6},
		"one":      {[]int64{500, 0, 0}, 80e6},
		"most":     {[]int64{500, 30, 0}, 64e6},
		"a little": {[]int64{5, 5, 5}, 80e6},
	} {
		s := New(Config{Image: p.Image, Rate: 100e6, Learn: true, Limits: DefaultLimits()})
		for i, lost := range c.lost {
			s.room[fmt.Sprint(i)] = &Machine{Status: cast.Status{Pieces: 1000 - lost, Lost: lost}}
		}
		s.rate = 80e6
		for range 20 {
			s.learn()
			if name == "none" || name == "a little" {
				for _, m := range s.room {
					m.Pieces += 1000 - c.lost[0]
					m.Lost += c.lost[0]
				}
			}
		}
		if name == "a little" {
			c.want = s.config.Rate // under 2 % is no trouble
		}
		if s.rate != c.want {
			t.Errorf("%s: %d, want %d", name, s.rate, c.want)
		}
	}
}

// What is sent to the Sender's address by strangers changes nothing.
func TestStrangers(t *testing.T) {
	p := paint(t, 1<<20, 16<<10)
	l := DefaultLimits()
	l.Machines = 2
	s := New(Config{Image: p.Image, Rate: 1e6, Limits: l})
	good := func(name string) string {
		body, err := cast.Status{Session: fmt.Sprintf("%x", p.Session()), Machine: name, Stage: cast.Receiving}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"POST", "/cast", good("a"), 204},
		{"POST", "/cast", good("b"), 204},
		{"POST", "/cast", good("c"), 400},
		{"POST", "/cast", good("a"), 204},
		{"POST", "/cast", strings.Replace(good("a"), fmt.Sprintf("%x", p.Session()), "0000000000000000", 1), 400},
		{"POST", "/cast", "{}", 400},
		{"POST", "/cast", good("a") + strings.Repeat(" ", cast.MaxStatus), 400},
		{"POST", "/", good("a"), 404},
		{"GET", "/cast", "", 405},
	} {
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if rec.Code != c.want {
			t.Errorf("%s %s %.40s: %d, want %d", c.method, c.path, c.body, rec.Code, c.want)
		}
	}
	if n := len(s.Room().Machines); n != 2 {
		t.Errorf("%d machines", n)
	}
	var _ http.Handler = s
}
