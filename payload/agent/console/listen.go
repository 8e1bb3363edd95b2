package console

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/sys/unix"
)

// Heard is what came from one console. The first one from each console has no
// Data: it says that the console is being listened to.
type Heard struct {
	Console string // "ttyS0"
	Data    []byte // at most 64 bytes, as the line or the keyboard gave them
}

// Listen hears what is typed on the consoles until ctx ends. What was typed before
// is thrown away, and so is what nobody has taken when ctx ends. Once the channel
// is closed, which it is early where no console can be read, all of them are as
// deaf as before, and none is open for reading. Consoles that were not opened by
// [Open] are not listened to.
//
// It takes bytes as they come: without echo, without editing, without signals,
// and without a byte that could stop the output. A BREAK is ignored, and a byte
// that was received with an error is NUL.
func (c *Console) Listen(ctx context.Context) <-chan Heard {
	heard := make(chan Heard)
	var listening sync.WaitGroup
	for _, t := range c.named() {
		listening.Add(1)
		// Each by itself: opening a serial adapter that hangs takes seconds.
		guard.Go("console", func() error { return c.listen(ctx, t.name, heard) }, func(error) { listening.Done() })
	}
	guard.Go("console", func() error { listening.Wait(); close(heard); return nil }, func(error) {})
	return heard
}

// named returns the terminals that can be opened a second time.
func (c *Console) named() []*terminal {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.terminals), func(t *terminal) bool { return t.name == "" })
}

// listen hears one console until ctx ends or it cannot be read any more.
func (c *Console) listen(ctx context.Context, name string, heard chan<- Heard) error {
	f, err := c.open(name, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	before := setModes(f, raw)
	defer setModes(f, func(t *unix.Termios) { *t = before })
	stop := context.AfterFunc(ctx, func() { f.SetReadDeadline(time.Unix(1, 0)) }) //nolint:errcheck // then nothing waits
	defer stop()
	for data := []byte(nil); ; {
		select {
		case heard <- Heard{name, data}:
		case <-ctx.Done():
			return ctx.Err()
		}
		data = make([]byte, 64)
		n, err := f.Read(data)
		if err != nil || n == 0 {
			return err
		}
		data = data[:n]
	}
}

// Writer opens a console, by the name that [Heard] has, for what is shown on it as it
// is, between the lines of [Console.Printf]. To write there blocks while the console
// does not take it, or up to the file's deadline. The caller closes it.
func (c *Console) Writer(name string) (*os.File, error) {
	if !slices.ContainsFunc(c.named(), func(t *terminal) bool { return t.name == name }) {
		return nil, fmt.Errorf("console %q: %w", name, os.ErrNotExist)
	}
	return c.open(name, os.O_WRONLY)
}

// Show prints lines on one console, without a time. It returns at once, as
// [Console.Printf] does.
func (c *Console) Show(console string, lines ...string) {
	for _, t := range c.named() {
		if t.name != console {
			continue
		}
		for _, line := range lines {
			t.put(message{text: Clean(line) + "\n", at: c.uptime()})
		}
	}
}

// deaf has a terminal ignore what arrives on the line: neither is it echoed
// between the agent's lines, nor can one byte of noise (XOFF, 0x13) stop the
// output for good, nor can one become a signal.
func deaf(t *unix.Termios) {
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ISIG
	t.Iflag &^= unix.IXON | unix.IXOFF | unix.BRKINT
	t.Iflag |= unix.IGNBRK
}

// raw is deaf, but that each byte can be read at once and as it came.
func raw(t *unix.Termios) {
	deaf(t)
	t.Lflag &^= unix.ICANON | unix.IEXTEN
	t.Iflag &^= unix.ICRNL | unix.INLCR | unix.IGNCR | unix.ISTRIP | unix.PARMRK | unix.IGNPAR | unix.IUCLC
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
}

// setModes changes a terminal's modes, throws away what was typed and returns the
// modes from before. What is no terminal is left as it is.
func setModes(f *os.File, change func(*unix.Termios)) (before unix.Termios) {
	conn, err := f.SyscallConn()
	if err != nil {
		return before
	}
	_ = conn.Control(func(fd uintptr) { // a closed file has no line either
		t, err := unix.IoctlGetTermios(int(fd), unix.TCGETS)
		if err != nil {
			return
		}
		before = *t
		change(t)
		_ = unix.IoctlSetTermios(int(fd), unix.TCSETS, t)
		_ = unix.IoctlSetInt(int(fd), unix.TCFLSH, unix.TCIFLUSH)
	})
	return before
}
