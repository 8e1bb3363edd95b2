//go:build boot && long

package boottest

import (
	"flag"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/builder/cast"
	wire "github.com/farboot/farboot/payload/cast"
)

// What TestCast casts. Emulated machines that share two cores take some 8 MB/s together.
var (
	castSize = flag.Int("cast.mib", 1024, "size of TestCast's image in MiB")
	castRate = flag.String("cast.rate", "12Mbit", "rate at which TestCast casts")
)

// TestCast casts a large image to one machine and then to four, and to four with each
// trouble by itself and with all of them. Every machine has the image in the end. What
// the same takes for one is in the log.
func TestCast(t *testing.T) {
	l := newCastLab(t, *castSize)
	alone := l.room1(t, 1, trouble{})
	for _, c := range []struct {
		name string
		trouble
	}{
		{"none", trouble{}},
		{"5 % lost", trouble{lost: 0.05}},
		{"one comes late", trouble{late: true}},
		{"one is throttled", trouble{slow: true}},
		{"the sender dies", trouble{dies: true}},
		{"forged packets", trouble{forged: true}},
		{"all together", trouble{0.05, true, true, true, true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			took := l.room1(t, 4, c.trouble)
			t.Logf("four machines took %.0f s, one %.0f s: %.2f times as long", took.Seconds(), alone.Seconds(), took.Seconds()/alone.Seconds())
		})
	}
}

// trouble is what goes wrong in a room.
type trouble struct {
	lost                     float64
	late, slow, dies, forged bool
}

// room1 casts to some machines and checks their disks. It returns how long that took
// from the first packet on.
func (l *castLab) room1(t *testing.T, machines int, what trouble) time.Duration {
	t.Helper()
	var guests []*guest
	boot := func() {
		g := l.boot(t, len(guests))
		l.mu.Lock()
		defer l.mu.Unlock()
		g.lost = what.lost
		if what.slow && len(guests) == 1 {
			g.rate = 1e6 // bytes/s: two thirds of the cast, and less than a third of the others' HTTP
		}
		guests = append(guests, g)
	}
	first := machines
	if what.late {
		first--
	}
	for range first {
		boot()
	}
	if what.forged {
		defer l.forge(t)()
	}
	began, half := time.Now(), false
	took, err := l.cast(t, first, func(line string, kill func()) {
		if strings.HasPrefix(line, "pass 1: ") && !strings.Contains(line, " of ") {
			began = time.Now()
		}
		var pass, sent, of int
		if n, _ := fmt.Sscanf(line, "pass %d: %d of %d chunks", &pass, &sent, &of); n < 3 || half || 3*sent < of {
			return
		}
		half = true
		if len(guests) < machines {
			boot()
		}
		if what.dies {
			kill()
		}
	}, "--rate", *castRate)
	if err != nil && !what.dies {
		t.Error(err)
	}
	for _, g := range guests {
		g.check(t, l.image)
	}
	if what.dies {
		took = time.Since(began)
	}
	return took
}

// forge sends lies about all chunks, one after the other, until it is told to end.
func (l *castLab) forge(t *testing.T) (end func()) {
	t.Helper()
	src, err := cast.OpenSite(l.site, "")
	if err != nil {
		t.Fatal(err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		defer src.Close()
		runtime.LockOSThread() // which ends with this goroutine
		ns, err := unix.Open("/run/netns/"+l.ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(ns, unix.CLONE_NEWNET)
		}
		var way *cast.Wire
		if err == nil {
			way, err = cast.Dial(src.Group, "tap0", 1)
		}
		if err != nil {
			t.Errorf("forging: %v", err)
			return
		}
		defer way.Close()
		for i := 0; ; i = (i + 1) % len(src.Table) {
			lie := wire.Frame{Session: src.Session(), Chunk: uint32(i), Data: make([]byte, min(wire.PieceSize, int(src.Table[i])))}
			word := wire.Frame{Session: src.Session(), Word: wire.Word{State: wire.State(1 + i%4), Port: 9}}
			if err := way.Send([][]byte{lie.Append(nil), word.Append(nil)}); err != nil && !strings.Contains(err.Error(), net.ErrClosed.Error()) {
				t.Errorf("forging: %v", err)
				return
			}
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func() { close(done); <-ended }
}
