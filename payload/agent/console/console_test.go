package console

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/farboot/farboot/payload/agent/console/ptytest"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// buffer is a bytes.Buffer for two goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// stuck is a console that reads nothing until it is released.
type stuck struct {
	buffer
	release chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	<-s.release
	return s.buffer.Write(p)
}

// fixed makes c print the same time on every line.
func fixed(c *Console) *Console {
	c.uptime = func() time.Duration { return 2310 * time.Millisecond }
	return c
}

func TestPrintf(t *testing.T) {
	var a, b buffer
	c := fixed(New(&a, &b))
	c.Printf("network: %s: %s via %s (%s)", "eth0", "10.0.2.15/24", "10.0.2.2", "virtio_net")
	if !c.Flush(10 * time.Second) {
		t.Fatal("Flush: not done within 10 s")
	}
	want := "[   2.31] network: eth0: 10.0.2.15/24 via 10.0.2.2 (virtio_net)\n"
	for _, got := range []string{a.String(), b.String()} {
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// One console that does not read holds up neither the caller nor the other
// console, and says later how much it missed.
func TestBlockedConsole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var good buffer
		blocked := &stuck{release: make(chan struct{})}
		c := fixed(New(blocked, &good))
		start := time.Now()
		const lines = queueLines + 50
		for i := range lines {
			c.Printf("line %d", i)
			synctest.Wait()
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("printing took %v, want no time at all", waited)
		}
		if got := strings.Count(good.String(), "\n"); got != lines {
			t.Errorf("the good console has %d lines, want %d", got, lines)
		}
		if c.Flush(3 * time.Second) {
			t.Error("Flush reported a blocked console as drained")
		}
		if waited := time.Since(start); waited != 3*time.Second {
			t.Errorf("Flush gave up after %v, want 3 s", waited)
		}
		close(blocked.release)
		synctest.Wait()
		c.Printf("the last")
		synctest.Wait()
		got := blocked.String()
		// One line was being written and queueLines waited.
		if want := fmt.Sprintf("[ %d lines were dropped", lines-queueLines-1); !strings.Contains(got, want) {
			t.Errorf("no %q in the blocked console's output:\n%.400s", want, got)
		}
		if !strings.HasSuffix(got, "the last\n") {
			t.Errorf("the blocked console does not go on: ...%q", got[len(got)-40:])
		}
		for _, term := range c.terminals {
			close(term.queue)
		}
	})
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain ~ text!":           "plain ~ text!",
		"\x1b[2J\x1b]0;owned\x07": "?[2J?]0;owned?",
		"a\r\n[   0.00] faked":    "a??[   0.00] faked",
		"bidi \u202e, nul \x00":   "bidi ?, nul ?",
		"bad \xff\xfe, del \x7f":  "bad ??, del ?",
		"caf\u00e9 \u009b5m":      "caf? ?5m",
	} {
		if got := Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := len(Clean(strings.Repeat("x", 1<<20))); got > maxLine+3 {
		t.Errorf("a line of 1 MiB became %d bytes, want at most %d", got, maxLine+3)
	}
}

// A server-supplied value cannot start a line that looks like the agent's.
func TestPrintfIsOneLine(t *testing.T) {
	var out buffer
	c := fixed(New(&out))
	c.Printf("manifest: %v", fmt.Errorf("bad\n[   9.99] handing over: evil\x1b[1A"))
	c.Flush(10 * time.Second)
	if got := out.String(); strings.Count(got, "\n") != 1 || strings.ContainsRune(got, 0x1b) {
		t.Errorf("got %q, want one clean line", got)
	}
}

// Open finds the consoles by the kernel's list, and a full pseudo-terminal that
// nobody reads blocks nothing.
func TestOpen(t *testing.T) {
	dev := t.TempDir()
	master, name := ptytest.Open(t)
	if err := os.Symlink("/dev/null", filepath.Join(dev, "escape")); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dev, "tty0")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	sysfs := fstest.MapFS{activeFile: {Data: []byte("tty0 escape ttyS9\n")}}
	c := fixed(Open(sysfs, dev))
	if len(c.terminals) != 1 {
		t.Fatalf("%d consoles were opened, want tty0 alone", len(c.terminals))
	}
	c.Printf("hello")
	c.Flush(10 * time.Second)
	got := make([]byte, 100)
	n, _ := reader.Read(got)
	if want := "[   2.31] hello\n"; string(got[:n]) != want {
		t.Errorf("tty0 got %q, want %q", got[:n], want)
	}

	if err := os.Symlink("tty0", filepath.Join(dev, "console")); err != nil {
		t.Fatal(err)
	}
	if c := Open(fstest.MapFS{}, dev); len(c.terminals) != 1 {
		t.Errorf("without a list %d consoles were opened, want /dev/console", len(c.terminals))
	}

	pty := Open(fstest.MapFS{activeFile: {Data: []byte(name)}}, "/dev/pts")
	if len(pty.terminals) != 1 {
		t.Fatalf("%s was not opened", name)
	}
	for range 10 * queueLines {
		pty.Printf("%s", strings.Repeat("x", 100))
	}
	if pty.Flush(50 * time.Millisecond) {
		t.Error("a pseudo-terminal that nobody reads was flushed")
	}
	go io.Copy(io.Discard, master)
	if !pty.Flush(10 * time.Second) {
		t.Error("the pseudo-terminal was read but not flushed")
	}
}
