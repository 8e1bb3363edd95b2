package menu

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/console/ptytest"
	"golang.org/x/sys/unix"
)

const rows, cols = 24, 80

// terminal is a terminal of 80x24 that knows no control sequences: it shows what
// even the simplest one does. It wraps behind the 80th column.
type terminal struct {
	master *os.File

	mu      sync.Mutex
	screen  [rows][]byte
	strange []byte // control characters but CR and LF
	changed chan struct{}
}

// show returns a terminal that reads what is printed on a pseudo-terminal.
func show(master *os.File) *terminal {
	t := &terminal{master: master, changed: make(chan struct{}, 1)}
	go io.Copy(t, master) //nolint:errcheck // ends with the terminal
	return t
}

func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range p {
		last := &t.screen[rows-1]
		if b == '\n' || len(*last) == cols && b >= ' ' {
			copy(t.screen[:], t.screen[1:])
			*last = nil
		}
		switch {
		case b >= ' ' && b <= '~':
			*last = append(*last, b)
		case b != '\r' && b != '\n':
			t.strange = append(t.strange, b)
		}
	}
	select {
	case t.changed <- struct{}{}:
	default:
	}
	return len(p), nil
}

// text returns what is on the screen.
func (t *terminal) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var lines []string
	for _, line := range t.screen {
		lines = append(lines, string(line))
	}
	return strings.TrimLeft(strings.Join(lines, "\n"), "\n")
}

// await waits until the screen shows text.
func (t *terminal) await(ctx context.Context, test *testing.T, text string) {
	test.Helper()
	for !strings.Contains(t.text(), text) {
		select {
		case <-t.changed:
		case <-ctx.Done():
			test.Fatalf("the screen does not show %q:\n%s", text, t.text())
		}
	}
}

// fill prints on a terminal until it takes no more.
func fill(t *testing.T, name string) {
	t.Helper()
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for err == nil {
		_, err = unix.Write(fd, []byte(strings.Repeat("x", 100)))
	}
	if err != unix.EAGAIN {
		t.Fatal(err)
	}
}

// TestTerminals shows a menu on three terminals at once. The first reads nothing at
// all and is full; on the second nonsense is typed; on the third the choice is made.
// The agent goes on printing meanwhile, as drivers that come late make it do.
func TestTerminals(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var names []string
	var masters []*os.File
	for range 3 {
		master, name := ptytest.Open(t)
		names, masters = append(names, name), append(masters, master)
	}
	c := console.Open(fstest.MapFS{"class/tty/console/active": {Data: []byte(strings.Join(names, " "))}}, "/dev/pts")
	fill(t, "/dev/pts/"+names[0])
	noisy, good := show(masters[1]), show(masters[2])
	m := items(40)
	m.Time = time.Hour
	type end struct {
		name, by string
		err      error
	}
	done := make(chan end, 1)
	go func() {
		var e end
		e.name, e.by, e.err = Choose(ctx, c, m)
		done <- e
	}()
	// The pages, as they are seen: the whole of the first, its title included.
	for _, screen := range []*terminal{noisy, good} {
		screen.await(ctx, t, "Enter alone shows the next page.")
		screen.await(ctx, t, "in 3600 s.")
		for _, want := range []string{"[page 1 of 3] What shall this machine boot?\n  01b  Entry 1 (entry-1)\n", "\n  16v  Entry 16 (entry-16)\n"} {
			if !strings.Contains(screen.text(), want) {
				t.Errorf("no %q on the screen:\n%s", want, screen.text())
			}
		}
	}
	io.WriteString(masters[1], "\x13\x00\xff\x1b[B\x03\x1a\x1c\rid\r")
	c.Printf("hardware: eth9 is late")
	noisy.await(ctx, t, "hardware: eth9 is late") // in spite of XOFF
	select {
	case e := <-done:
		t.Fatalf("noise has chosen: %+v", e)
	default:
	}
	io.WriteString(masters[2], "40g\r")
	if e := <-done; e != (end{"entry-40", names[2], nil}) {
		t.Errorf("%+v", e)
	}
	for _, screen := range []*terminal{noisy, good} {
		screen.await(ctx, t, "menu: 40g entry-40, chosen on "+names[2])
		if len(screen.strange) > 0 {
			t.Errorf("control characters %q were printed", screen.strange)
		}
	}
	// Deaf again: nothing that is typed shows up.
	io.WriteString(masters[2], "echo\r01a\r")
	c.Printf("the end")
	good.await(ctx, t, "the end")
	if strings.Contains(good.text(), "echo") {
		t.Errorf("the terminal echoes:\n%s", good.text())
	}
}
