// Package console prints the agent's lines on every console of the machine,
// for whoever watches: a screen, a serial line, both.
//
// The main calls are [Open] and [Console.Printf]; [Console.Syslog] has the lines
// sent to a server as well, where the owner wants that. The package promises that
// printing never blocks the boot, however long a console does not read, and
// that no byte reaches a terminal but printable ASCII: what a server, a
// manifest or the firmware supplied cannot move a cursor, fake a second line
// or answer for the terminal.
//
// It reads from a console only while somebody is asked something, see
// [Console.Listen]: between menus there is nobody there whom the agent obeys, and
// the terminals are deaf.
package console

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/sys/unix"
)

const (
	// queueLines is how many lines wait for a console that does not read. At
	// 9600 baud and 80 characters a line that is half a minute.
	queueLines = 256
	// maxLine bounds one line, in bytes. The longest honest one quotes a kernel
	// command line, of which x86 takes 2047 (COMMAND_LINE_SIZE).
	maxLine = 4096
	// recentLines is how many lines are kept for a server that is named only
	// after they were printed: those from before the settings were read.
	recentLines = 32
	// activeFile lists the kernel's consoles ("tty0 ttyS0"), below /sys.
	activeFile = "class/tty/console/active"
)

// Console is the set of terminals that lines go to.
type Console struct {
	uptime func() time.Duration
	dev    *os.Root // where the terminals with a name are, if any

	mu        sync.Mutex
	terminals []*terminal
	recent    []message // the last lines that were printed
}

// Open opens all consoles that the kernel prints on, by the list in sysfs (the
// file tree of /sys) and the device nodes in dev, usually /dev; without a list,
// the one behind /dev/console. Consoles that cannot be opened are left out: a
// Console without any swallows what is printed.
func Open(sysfs fs.FS, dev string) *Console {
	active, err := fs.ReadFile(sysfs, activeFile)
	if err != nil {
		active = []byte("console")
	}
	c := New()
	if c.dev, err = os.OpenRoot(dev); err != nil {
		return c
	}
	for _, name := range strings.Fields(string(active)) {
		if f, err := c.open(name, os.O_WRONLY); err == nil {
			setModes(f, deaf)
			c.add(name, f)
		}
	}
	return c
}

// open opens a terminal.
func (c *Console) open(name string, how int) (*os.File, error) {
	// Non-blocking, so that Go waits in its poller and not in a thread;
	// O_NOCTTY, so that a hang-up of the line is no signal to PID 1.
	return c.dev.OpenFile(name, how|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}

// New returns a Console over writers, each of which may block for as long as it
// likes. A writer that is an *os.File is asked to drain by [Console.Flush].
func New(writers ...io.Writer) *Console {
	c := &Console{uptime: Uptime}
	for _, w := range writers {
		c.add("", w)
	}
	return c
}

// add adds a terminal. One without a name is only written to.
func (c *Console) add(name string, w io.Writer) {
	t := &terminal{
		name:  name,
		write: func(m message) { io.WriteString(w, m.text) }, // a console that fails has nobody to tell
		drain: func() { drain(w) },
		flush: math.MaxInt64,
		queue: make(chan message, queueLines),
	}
	c.terminals = append(c.terminals, t)
	guard.Go("console", t.run, func(error) {})
}

// Printf prints one line, headed by the seconds since power-on. It returns at
// once; a console whose queue is full loses the line, and says so later.
func (c *Console) Printf(format string, args ...any) {
	at := c.uptime()
	c.put(message{text: fmt.Sprintf("[%7.2f] %s\n", at.Seconds(), Clean(fmt.Sprintf(format, args...))), at: at})
}

// put queues a line for every terminal, in the same order for all.
func (c *Console) put(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.recent) == recentLines {
		c.recent = slices.Delete(c.recent, 0, 1)
	}
	c.recent = append(c.recent, m)
	for _, t := range c.terminals {
		t.put(m)
	}
}

// Flush waits until all lines have left the machine, at most for limit: a kexec
// throws away what still lies in the serial port's buffer. It reports whether
// every console was done in time. A server that does not take the last lines is
// given less time.
func (c *Console) Flush(limit time.Duration) bool {
	c.mu.Lock()
	terminals := slices.Clone(c.terminals)
	c.mu.Unlock()
	until, done := time.Now().Add(limit), true
	for _, t := range terminals {
		done = t.flushed(min(time.Until(until), t.flush)) && done
	}
	return done
}

// Uptime returns the time since power-on, or since the last kexec, as the kernel
// counts it (CLOCK_BOOTTIME: never set, never adjusted).
func Uptime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// Clean returns s fit for a terminal: printable ASCII stays, every other
// character becomes '?', and what exceeds the longest line is cut.
func Clean(s string) string {
	clean := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s[:min(len(s), maxLine)])
	if len(s) > maxLine {
		clean += "..."
	}
	return clean
}

// message is one line, or a request to say when all before it are out.
type message struct {
	text    string
	at      time.Duration // since power-on
	drained chan struct{}
}

// terminal is one console, or a server, with the lines that wait for it.
type terminal struct {
	name    string        // below Console.dev, or none
	write   func(message) // may take as long as it likes
	drain   func()
	flush   time.Duration // the most that a Flush waits for it
	queue   chan message
	dropped atomic.Int64
}

// put queues m, or counts it as dropped.
func (t *terminal) put(m message) {
	select {
	case t.queue <- m:
	default:
		t.dropped.Add(1)
	}
}

// run writes what is queued, for as long as the process lives.
// A line that breaks this program counts as dropped.
func (t *terminal) run() error {
	for m := range t.queue {
		if err := guard.Call("console", func() error { t.print(m); return nil }); err != nil {
			t.dropped.Add(1)
		}
	}
	return nil
}

// print writes a line, or says that all before it are out.
func (t *terminal) print(m message) {
	if m.drained != nil {
		defer close(m.drained)
	}
	if n := t.dropped.Swap(0); n > 0 {
		t.write(message{text: fmt.Sprintf("[ %d lines were dropped: this console did not read ]\n", n), at: m.at})
	}
	if m.drained != nil {
		t.drain()
	} else {
		t.write(m)
	}
}

// flushed waits until all that is queued is out, and tells whether it was in time.
func (t *terminal) flushed(limit time.Duration) bool {
	expired, done := time.After(limit), make(chan struct{})
	select {
	case t.queue <- message{drained: done}:
	case <-expired:
		return false
	}
	select {
	case <-done:
		return true
	case <-expired:
		return false
	}
}

// drain waits until the terminal behind w has sent its buffer.
func drain(w io.Writer) {
	f, ok := w.(*os.File)
	if !ok {
		return
	}
	if raw, err := f.SyscallConn(); err == nil {
		// TCSBRK with a non-zero argument is tcdrain(3), see ioctl_tty(2).
		_ = raw.Control(func(fd uintptr) { _ = unix.IoctlSetInt(int(fd), unix.TCSBRK, 1) })
	}
}
