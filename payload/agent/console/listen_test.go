package console

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/farboot/farboot/payload/agent/console/ptytest"
	"golang.org/x/sys/unix"
)

// openAll returns a Console over pseudo-terminals, their names and their
// master sides.
func openAll(t *testing.T, n int) (c *Console, names []string, masters []*os.File) {
	t.Helper()
	for range n {
		master, name := ptytest.Open(t)
		masters, names = append(masters, master), append(names, name)
	}
	c = fixed(Open(fstest.MapFS{activeFile: {Data: []byte(strings.Join(names, " "))}}, "/dev/pts"))
	if len(c.terminals) != n {
		t.Fatalf("%d of %d pseudo-terminals were opened", len(c.terminals), n)
	}
	return c, names, masters
}

// hear returns what comes from a console until it ends in suffix.
func hear(t *testing.T, heard <-chan Heard, name, suffix string) string {
	t.Helper()
	var got []byte
	for !bytes.HasSuffix(got, []byte(suffix)) {
		h, ok := <-heard
		if !ok {
			t.Fatalf("no console is heard any more, and %q came", got)
		}
		if h.Console == name {
			got = append(got, h.Data...)
		}
	}
	return string(got)
}

// begun waits until n consoles are listened to.
func begun(t *testing.T, heard <-chan Heard, n int) {
	t.Helper()
	for range n {
		if h := <-heard; h.Console == "" || h.Data != nil {
			t.Fatalf("%+v, want a console that begins", h)
		}
	}
}

// ended waits until the channel is closed.
func ended(heard <-chan Heard) {
	for range heard {
	}
}

// TestListen: bytes come as they were typed, from each console under its name,
// and what was typed before was not meant.
func TestListen(t *testing.T) {
	c, names, masters := openAll(t, 2)
	io.WriteString(masters[0], "typed before\n")
	ctx, cancel := context.WithCancel(t.Context())
	heard := c.Listen(ctx)
	begun(t, heard, 2)
	const hostile = "\x03\x1c\x1a\x04\x13\x11\x16\x7f\b\x15\x12\x00\xff\x1b[A\r\n\r" // ^C ^\ ^Z ^D ^S ^Q ^V DEL ^H ^U ^R NUL
	io.WriteString(masters[0], hostile+"!")
	if got := hear(t, heard, names[0], "!"); got != hostile+"!" {
		t.Errorf("heard %q, typed %q", got, hostile+"!")
	}
	io.WriteString(masters[1], "2b\r")
	if got := hear(t, heard, names[1], "\r"); got != "2b\r" {
		t.Errorf("heard %q on the second console", got)
	}
	io.WriteString(masters[0], "\x13") // stops nothing
	c.Show(names[0], "only \x1bhere")
	c.Printf("everywhere")
	cancel()
	ended(heard)
	if !c.Flush(10 * time.Second) {
		t.Error("the consoles are not done")
	}
	for i, want := range []string{"only ?here\r\n[   2.31] everywhere\r\n", "[   2.31] everywhere\r\n"} {
		got := make([]byte, 200)
		n, err := masters[i].Read(got)
		if string(got[:n]) != want {
			t.Errorf("console %d shows %q, %v; want %q", i, got[:n], err, want)
		}
	}
}

// handles counts this process's open files of a terminal.
func handles(t *testing.T, name string) (n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if target, _ := os.Readlink("/proc/self/fd/" + e.Name()); target == "/dev/pts/"+name {
			n++
		}
	}
	return n
}

// modes returns a terminal's, as far as they matter here.
func modes(t *testing.T, f *os.File) string {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("input %#x, output %#x, local %#x, characters %x", m.Iflag, m.Oflag, m.Lflag, m.Cc)
}

// TestDeafAgain: nothing is open for reading but while Listen hears, and then the
// terminal is as it was.
func TestDeafAgain(t *testing.T) {
	c, names, masters := openAll(t, 1)
	before := modes(t, masters[0])
	if n := handles(t, names[0]); n != 1 {
		t.Fatalf("%d files are open, want the one for output", n)
	}
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		heard := c.Listen(ctx)
		begun(t, heard, 1)
		if n := handles(t, names[0]); n != 2 || modes(t, masters[0]) == before {
			t.Errorf("while listening %d files are open, modes %s", n, modes(t, masters[0]))
		}
		cancel()
		ended(heard)
		if n := handles(t, names[0]); n != 1 {
			t.Errorf("%d files are open, want the one for output", n)
		}
		if after := modes(t, masters[0]); after != before {
			t.Errorf("modes are %s, were %s", after, before)
		}
	}
}

// TestListenNobodyTakes: ending does not wait for somebody to take what came.
func TestListenNobodyTakes(t *testing.T) {
	c, _, masters := openAll(t, 2)
	ctx, cancel := context.WithCancel(t.Context())
	heard := c.Listen(ctx)
	begun(t, heard, 2)
	for _, m := range masters {
		io.WriteString(m, strings.Repeat("x", 1000))
	}
	time.AfterFunc(10*time.Millisecond, cancel)
	<-ctx.Done()
	ended(heard)
}

// TestHangUp: a line that is gone leaves the others, and none is the end.
func TestHangUp(t *testing.T) {
	c, names, masters := openAll(t, 2)
	heard := c.Listen(t.Context())
	begun(t, heard, 2)
	masters[0].Close()
	io.WriteString(masters[1], "still here")
	hear(t, heard, names[1], "here")
	masters[1].Close()
	ended(heard)
	ended(New(io.Discard).Listen(t.Context()))
}

// TestListenAndDoNotRead: a console that is full can still be typed at.
func TestListenAndDoNotRead(t *testing.T) {
	c, names, masters := openAll(t, 1)
	for range 10 * queueLines {
		c.Printf("%s", strings.Repeat("x", 100))
	}
	if c.Flush(10 * time.Millisecond) {
		t.Fatal("the pseudo-terminal is not full")
	}
	ctx, cancel := context.WithCancel(t.Context())
	heard := c.Listen(ctx)
	begun(t, heard, 1)
	io.WriteString(masters[0], "2b\r")
	hear(t, heard, names[0], "2b\r")
	cancel()
	ended(heard)
}
