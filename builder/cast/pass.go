package cast

import (
	"context"
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/cast"
)

const (
	// batch is how many packets are sent at a time: at 1 Gbit/s 0.4 ms, and at
	// 10 Gbit/s one system call each 40 µs.
	batch = 32
	// around is what a packet takes on the wire beside a frame, in bytes: UDP, IPv4,
	// Ethernet with its preamble, checksum and gap.
	around = 8 + 20 + 14 + 24
	// late is how far a sender may be behind its rate and make up for it. Longer
	// bursts overrun switches and receivers.
	late = 5 * time.Millisecond
)

// pass sends chunks.
func (s *Sender) pass(ctx context.Context, pass int, runs cast.Runs) error {
	s.mu.Lock()
	s.now.State, s.now.Pass, s.now.Sent, s.now.Of, s.now.Rate = cast.Sending, pass, 0, 0, s.rate
	for _, run := range runs {
		s.now.Of += run.Last - run.First + 1
	}
	s.mu.Unlock()
	s.due = time.Now()
	if err := s.speak(true); err != nil {
		return err
	}
	told := time.Now()
	for _, run := range runs {
		for i := run.First; i <= run.Last; i++ {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := s.chunk(i); err != nil {
				return err
			}
			s.mu.Lock()
			s.now.Sent++
			s.mu.Unlock()
			if time.Since(told) >= time.Second {
				told = time.Now()
				s.learn()
				s.config.Progress(s.Room())
			}
		}
	}
	return s.flush()
}

// chunk sends one chunk. Its last packets may wait for the next one.
func (s *Sender) chunk(i int) error {
	img := s.config.Image
	size := img.Table[i]
	if int64(cap(s.buffer)) < size {
		s.buffer = make([]byte, size)
	}
	data := s.buffer[:size]
	if _, err := s.config.File.ReadAt(data, img.Start(i)); err != nil {
		return fmt.Errorf("chunk %d of the image: %w", i, err)
	}
	for k := 0; len(data) > 0; k++ {
		n := min(len(data), cast.PieceSize)
		f := cast.Frame{Session: img.Session(), Chunk: uint32(i), Piece: uint32(k), Data: data[:n]}
		s.packets = append(s.packets, f.Append(make([]byte, 0, cast.MaxFrame)))
		data = data[n:]
		if len(s.packets) == batch {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
	return nil
}

// flush sends what was collected, at the rate.
func (s *Sender) flush() error {
	if err := s.speak(false); err != nil {
		return err
	}
	bytes := 0
	for _, p := range s.packets {
		bytes += len(p) + around
	}
	now := time.Now()
	if wait := s.due.Sub(now); wait > 0 {
		time.Sleep(wait)
	} else if wait < -late {
		s.due = now.Add(-late)
	}
	s.mu.Lock()
	rate := s.rate
	s.mu.Unlock()
	s.due = s.due.Add(time.Duration(float64(bytes) * 8 / float64(rate) * float64(time.Second)))
	err := s.config.Send(s.packets)
	s.packets = s.packets[:0]
	return err
}

// loss is what a machine had reported when the rate was looked at last.
type loss struct{ pieces, lost int64 }

// learn fits the rate to what the machines lose: where more than half of them lose over
// 2 % it falls by a fifth, where none does it rises by a twentieth. One that is slower
// than the others loses more, and asks for it by HTTP.
func (s *Sender) learn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	heard, bad := 0, 0
	for name, m := range s.room {
		was := s.known[name]
		came, lost := m.Pieces-was.pieces, m.Lost-was.lost
		if came+lost < 2*batch {
			continue // not heard of since, or begins anew
		}
		s.known[name] = loss{m.Pieces, m.Lost}
		if heard++; 50*lost > came+lost {
			bad++
		}
	}
	s.now.Rate = s.rate
	switch top := s.config.Rate; {
	case !s.config.Learn || heard == 0:
	case 2*bad > heard:
		s.rate = max(s.rate*4/5, top/10)
	case bad == 0:
		s.rate = min(s.rate*21/20, top)
	}
}
