package cast

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/fetch/evil"
)

// faults change what comes of a frame. Each may answer with no packet, or several.
var faults = map[string]func(r *rand.Rand, f Frame) []Frame{
	"1 % lost":  func(r *rand.Rand, f Frame) []Frame { return unless(r.Float64() < 0.01, f) },
	"5 % lost":  func(r *rand.Rand, f Frame) []Frame { return unless(r.Float64() < 0.05, f) },
	"70 % lost": func(r *rand.Rand, f Frame) []Frame { return unless(r.Float64() < 0.7, f) },
	"doubled":   func(_ *rand.Rand, f Frame) []Frame { return []Frame{f, f} },
	"altered": func(r *rand.Rand, f Frame) []Frame {
		if r.Float64() < 0.02 {
			f.Data = slices.Clone(f.Data)
			f.Data[r.IntN(len(f.Data))] ^= 1
		}
		return []Frame{f}
	},
	"forged": func(r *rand.Rand, f Frame) []Frame { // the first piece of each chunk, before the true one
		lie := f
		lie.Data = make([]byte, len(f.Data))
		return []Frame{lie, f}
	},
	"others": func(r *rand.Rand, f Frame) []Frame {
		other, far, long, short := f, f, f, f
		other.Session[0]++
		other.Data = make([]byte, len(f.Data))
		far.Chunk, long.Piece = 1<<31, 1<<31
		short.Data = f.Data[:len(f.Data)-1]
		if len(short.Data) == 0 {
			short = far
		}
		return []Frame{other, far, long, short, f}
	},
	"over and over": func(r *rand.Rand, f Frame) []Frame {
		return []Frame{f, {Session: f.Session, Word: Word{State: State(1 + r.IntN(4)), Port: 80}}}
	},
}

// unless returns a frame, or none.
func unless(lost bool, f Frame) []Frame {
	if lost {
		return nil
	}
	return []Frame{f}
}

// Each fault by itself, and all together, leaves the image.
func TestFaults(t *testing.T) {
	p := paint(t, 60)
	names := []string{"none", "all together"}
	for name := range faults {
		names = append(names, name)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			bubble(t, p, func(t *testing.T, w *world) {
				r := rand.New(rand.NewPCG(7, 7))
				m := w.machine(nil)
				m.start(all)
				for i := range p.Table {
					out := p.frames(i)
					for which, fault := range faults {
						if name != which && name != "all together" {
							continue
						}
						var next []Frame
						for _, f := range out {
							if f.Data == nil {
								next = append(next, f)
							} else {
								next = append(next, fault(r, f)...)
							}
						}
						out = next
					}
					m.send(out...)
				}
				m.word(Over)
				stats := m.finish(t)
				size := p.File.Size
				switch name {
				case "none", "doubled", "others", "over and over":
					if stats.Fetched != 0 || stats.Repaired != 0 {
						t.Errorf("%+v", stats)
					}
				case "1 % lost":
					if stats.Fetched > 2 || stats.Repaired > size*5/100 {
						t.Errorf("%+v", stats)
					}
				case "forged":
					if stats.Forged == 0 || stats.Repaired > size {
						t.Errorf("%+v of %d", stats, size)
					}
				case "all together":
					if stats.Repaired > 2*size { // what is lost of a forged chunk is repaired before it is found out
						t.Errorf("%+v of %d", stats, size)
					}
				}
			})
		})
	}
}

// Chunks may come in any order, from the middle on, twice, and interleaved.
func TestAnyOrder(t *testing.T) {
	p := paint(t, 30)
	bubble(t, p, func(t *testing.T, w *world) {
		m := w.machine(func(c *Config) { c.Limits.Memory = 1 << 20 })
		m.start(all)
		var out []Frame
		for i := range p.Table {
			out = append(out, p.frames(i)...)
		}
		rand.New(rand.NewPCG(1, 1)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		m.send(out...)
		if stats := m.finish(t); stats.Cast != len(p.Table) || stats.Repaired != 0 {
			t.Errorf("%+v", stats)
		}
	})
}

// Who comes late gets the rest by the cast, and waits for the next pass; what that does
// not bring it asks for.
func TestLate(t *testing.T) {
	p := paint(t, 40)
	bubble(t, p, func(t *testing.T, w *world) {
		m := w.machine(nil)
		m.start(all)
		for i := 20; i < 40; i++ {
			m.send(p.frames(i)...)
		}
		m.word(Asking)
		time.Sleep(2 * time.Second)
		if n := len(w.site.Requests()); n != 0 {
			t.Errorf("%d requests while it is asked", n)
		}
		for i := range 15 {
			m.send(p.frames(i)...)
		}
		m.word(Over)
		if stats := m.finish(t); stats.Cast != 35 || stats.Fetched != 6 {
			t.Errorf("%+v", stats)
		}
	})
}

// A sender that dies, that never was, or that only says so, is not waited for.
func TestDead(t *testing.T) {
	p := paint(t, 40)
	for name, c := range map[string]struct {
		cast  func(m *machine)
		least time.Duration
		most  time.Duration
	}{
		"at half": {func(m *machine) {
			for i := range 20 {
				m.send(p.frames(i)...)
			}
			m.send(p.frames(20)[:2]...)
		}, 5 * time.Second, 7 * time.Second},
		"never": {func(*machine) {}, 20 * time.Second, 21 * time.Second},
		"waits for ever": {func(m *machine) {
			for range 3600 {
				m.word(Waiting)
				time.Sleep(time.Second)
			}
		}, 15 * time.Minute, 16 * time.Minute},
		"sends what nobody needs": {func(m *machine) {
			m.send(p.frames(0)...)
			for range 3600 {
				m.send(p.frames(0)...)
				time.Sleep(time.Second)
			}
		}, 20 * time.Second, 22 * time.Second},
		"says this and that": {func(m *machine) {
			for i := range 3600 {
				m.word(State(1 + i%4))
				time.Sleep(time.Second / 4)
			}
		}, 20 * time.Second, 22 * time.Second},
		"waits after a chunk": {func(m *machine) {
			m.send(p.frames(0)...)
			for range 3600 {
				m.word(Waiting)
				time.Sleep(time.Second)
			}
		}, 20 * time.Second, 22 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, p, func(t *testing.T, w *world) {
				m := w.machine(nil)
				start := time.Now()
				m.start(all)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					c.cast(m)
				}()
				for n := 0; n < len(p.Table); {
					time.Sleep(time.Second / 10)
					m.mu.Lock()
					n = len(m.taken)
					m.mu.Unlock()
				}
				if took := time.Since(start); took < c.least || took > c.most {
					t.Errorf("took %s, want %s to %s", took, c.least, c.most)
				}
				<-sent
				m.finish(t)
			})
		})
	}
}

// Who holds a part of the image already takes nothing of it.
func TestResume(t *testing.T) {
	p := paint(t, 20)
	bubble(t, p, func(t *testing.T, w *world) {
		m := w.machine(nil)
		m.start(func(i int) bool { return i%2 == 1 })
		for i := range p.Table {
			m.send(p.frames(i)...)
		}
		if err := m.end(); err != nil || len(m.taken) != 10 || m.Stats().Cast != 10 {
			t.Errorf("%v, %v", err, m.taken)
		}
	})
}

// A flood of single forged pieces keeps nobody from receiving, and costs no requests
// for chunks that are whole on the wire.
func TestFlood(t *testing.T) {
	p := paint(t, 200)
	bubble(t, p, func(t *testing.T, w *world) {
		m := w.machine(nil)
		m.start(all)
		r := rand.New(rand.NewPCG(1, 2))
		for i := range p.Table {
			for _, f := range p.frames(i) {
				m.send(f)
				ahead := i + 20 + r.IntN(100)
				if ahead < len(p.Table) { // pieces of what comes later, which are over by then
					lie := p.frames(ahead)[0]
					lie.Data = make([]byte, len(lie.Data))
					m.send(lie)
				}
			}
		}
		m.word(Over)
		stats := m.finish(t)
		if stats.Repaired > p.File.Size/4 || stats.Cast < 160 {
			t.Errorf("too much came by HTTP: %+v of %d", stats, p.File.Size)
		}
	})
}

// That it is over is not believed of one who says so among others, and of a chunk that
// is not sent a piece says nothing.
func TestNotOver(t *testing.T) {
	p := paint(t, 10)
	bubble(t, p, func(t *testing.T, w *world) {
		m := w.machine(nil)
		m.start(all)
		for i := range 1000 {
			if i%100 == 0 {
				m.word(Waiting)
				if all := p.frames(i / 100); len(all) > 2 {
					m.send(all[0])
				}
			}
			m.word(Over)
			time.Sleep(10 * time.Millisecond)
		}
		if n := len(w.site.Requests()); n != 0 {
			t.Errorf("%d requests while the sender waits", n)
		}
		start := time.Now()
		m.word(Over)
		m.finish(t)
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("over after %s", took)
		}
	})
}

// A disk that is slow loses packets, and nothing else; its memory is bounded.
func TestSlowDisk(t *testing.T) {
	p := paint(t, 60)
	bubble(t, p, func(t *testing.T, w *world) {
		m := w.machine(nil)
		go func() {
			m.result <- m.Receive(t.Context(), all, func(i int, data []byte) error {
				time.Sleep(20 * time.Millisecond)
				m.mu.Lock()
				defer m.mu.Unlock()
				m.taken[i]++
				copy(m.disk[p.Index.Start(i):], data)
				return nil
			})
		}()
		for i := range p.Table {
			m.send(p.frames(i)...)
		}
		m.word(Over)
		if stats := m.finish(t); stats.Fetched == 0 || stats.Cast == 0 {
			t.Errorf("%+v", stats)
		}
	})
}

// Where no site has a chunk right, or none can be reached, that is the error, and not
// a byte of it is handed on.
func TestNoSite(t *testing.T) {
	p := paint(t, 10)
	for name, c := range map[string]struct {
		fault evil.Fault
		want  error
	}{
		"wrong bytes": {evil.Flip(80), fetch.ErrCorrupt},
		"not there":   {evil.Status(404), fetch.ErrNotFound},
		"silent":      {evil.Silent(), ErrStalled},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, p, func(t *testing.T, w *world) {
				m := w.machine(nil)
				m.start(all)
				for i := range 5 {
					m.send(p.frames(i)...)
				}
				m.word(Over)
				if err := m.end(); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
				for i := range m.taken {
					if at := p.Index.Start(i); string(m.disk[at:at+p.Index.Len(i)]) != string(p.data[at:at+p.Index.Len(i)]) {
						t.Errorf("chunk %d is wrong", i)
					}
				}
			}, c.fault)
		})
	}
}

// What the disk says is the error.
func TestDiskFull(t *testing.T) {
	p := paint(t, 10)
	bubble(t, p, func(t *testing.T, w *world) {
		m := w.machine(nil)
		go func() {
			m.result <- m.Receive(t.Context(), all, func(int, []byte) error { return errDisk })
		}()
		m.send(p.frames(3)...)
		if err := m.end(); !errors.Is(err, errDisk) {
			t.Error(err)
		}
		last := w.posts.all
		if len(last) != 0 {
			t.Errorf("posted %+v, to nobody", last)
		}
	})
}
