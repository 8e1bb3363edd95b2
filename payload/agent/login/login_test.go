package login

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/console/ptytest"
	"github.com/farboot/farboot/payload/agent/toolbox"
	"golang.org/x/sys/unix"
)

// hash is of "open sesame", by mkpasswd -m sha-512 -R 1000.
const (
	right = "open sesame"
	hash  = "$6$rounds=1000$saltsalt$/IiX/CoEcxCZ9SksEXnbjfCT1LGvD4z5OpJkaFYl/T37OAwuKZ8I8BixDhruhPLkw6lS7dw/6wQWgQnGo7lLg/"
)

// desk is a machine with some consoles and a room.
type desk struct {
	*Room
	t      *testing.T
	seats  []*terminal
	served chan error

	mu    sync.Mutex
	lines []string
}

// furnish makes one.
func furnish(t *testing.T, consoles int, idle time.Duration, change func(*Limits)) *desk {
	t.Helper()
	d := &desk{t: t, served: make(chan error, 1)}
	p := toolbox.NewProcesses("")
	limits := DefaultLimits()
	limits.Wrong = 100 * time.Millisecond
	if change != nil {
		change(&limits)
	}
	var err error
	d.Room, err = New(Config{Hash: hash, Processes: p, Dir: t.TempDir(), Env: []string{"FARBOOT_ENTRY=rescue", "HISTFILE=", "HOME=" + t.TempDir()}, Greeting: "welcome\n", Log: d.log, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	var active []string
	for range consoles {
		s := newTerminal(t)
		d.seats = append(d.seats, s)
		active = append(active, s.name)
	}
	c := console.Open(fstest.MapFS{"class/tty/console/active": {Data: []byte(strings.Join(active, " "))}}, "/dev/pts")
	go func() { d.served <- d.Serve(t.Context(), c, idle) }()
	t.Cleanup(func() {
		d.Stop("the test is over")
		if err := p.Close(10 * time.Second); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *desk) log(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

// tells waits for a line of the log.
func (d *desk) tells(want string) {
	d.t.Helper()
	for range 3000 {
		if strings.Contains(d.logged(), want) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	d.t.Fatalf("no %q in\n%s", want, d.logged())
}

// logged tells what was.
func (d *desk) logged() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Join(d.lines, "\n")
}

// terminal is a console, with somebody who reads it.
type terminal struct {
	t      *testing.T
	name   string
	master *os.File

	mu      sync.Mutex
	shown   string
	seen    int
	changed chan struct{}
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, name := ptytest.Open(t)
	s := &terminal{t: t, name: name, master: master, changed: make(chan struct{}, 1)}
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.shown += string(buf[:n])
			s.mu.Unlock()
			select {
			case s.changed <- struct{}{}:
			default:
			}
		}
	}()
	return s
}

// types types, once the console shows something new.
func (s *terminal) types(after, text string) {
	s.t.Helper()
	s.reads(after)
	if _, err := s.master.WriteString(text); err != nil {
		s.t.Fatal(err)
	}
}

// reads waits for what the console shows.
func (s *terminal) reads(want string) {
	s.t.Helper()
	expired := time.After(30 * time.Second)
	for {
		s.mu.Lock()
		at := strings.Index(s.shown[s.seen:], want)
		if at >= 0 {
			s.seen += at + len(want)
		}
		rest := s.shown[s.seen:]
		s.mu.Unlock()
		if at >= 0 {
			return
		}
		select {
		case <-s.changed:
		case <-expired:
			s.t.Fatalf("no %q, but %q", want, rest)
		}
	}
}

// enters logs in.
func (s *terminal) enters(password string) {
	s.t.Helper()
	s.types("press Enter", "\r")
	s.types("Password: ", password+"\r")
}

// The right password leads to a shell on a terminal of its own, as often as one
// likes, and is shown nowhere.
func TestLogin(t *testing.T) {
	d := furnish(t, 1, 0, nil)
	s := d.seats[0]
	for i := range 2 {
		s.enters(right)
		s.reads("welcome")
		s.types("", "PS1= PS2=; stty -echo; echo $((6*7)) $TERM $FARBOOT_ENTRY $(tty | cut -c1-9)\r")
		s.reads("42 vt220 rescue /dev/pts/")
		if !d.Busy() {
			t.Error("nobody is said to be there")
		}
		s.types("", "sleep 1000; echo interrupted\r")
		time.Sleep(100 * time.Millisecond)
		s.types("", "\x03")
		s.types("", "\rexit 7\r")
		d.tells(fmt.Sprintf("login %d on %s: exit status 7", i+1, s.name))
	}
	s.reads("press Enter")
	d.Stop("bye")
	if err := <-d.served; err != nil {
		t.Errorf("Serve = %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.Contains(s.shown+d.logged(), "sesame") || strings.Contains(d.logged(), "$6$") {
		t.Errorf("the password stands in %q or\n%s", s.shown, d.logged())
	}
}

// A wrong password is told and logged, and makes the next one wait, on that console
// only. What is typed meanwhile is for nobody.
func TestWrong(t *testing.T) {
	d := furnish(t, 2, 0, func(l *Limits) { l.Wrong = time.Second })
	s, other := d.seats[0], d.seats[1]
	s.enters("guess")
	s.reads("Wrong.")
	s.types("", "\r"+right+"\r")
	other.enters(right)
	other.reads("welcome")
	s.enters("another guess")
	s.reads("Wrong.")
	begun := time.Now()
	s.enters(right)
	s.reads("2 wrong passwords were typed here before")
	s.reads("welcome")
	if took := time.Since(begun); took < 1800*time.Millisecond {
		t.Errorf("after two wrong ones the next came after %v", took)
	}
	for _, want := range []string{s.name + ": wrong password, 1 in a row; the next may come in 1 s", "2 in a row; the next may come in 2 s", "login 1 on " + other.name + ": logged in"} {
		if !strings.Contains(d.logged(), want) {
			t.Errorf("no %q in\n%s", want, d.logged())
		}
	}
}

// Neither an empty password, nor one that was taken back, nor one that comes too
// late counts as a try.
func TestTakenBack(t *testing.T) {
	d := furnish(t, 1, 0, func(l *Limits) { l.Typing = time.Second })
	s := d.seats[0]
	s.enters("")
	s.enters("half\x03")
	s.types("press Enter", "\r")
	s.types("Password: ", "half of it")
	s.enters("open\x15oqen\b\b\x7fpen sesame")
	s.reads("welcome")
	if strings.Contains(d.logged(), "wrong") {
		t.Error(d.logged())
	}
}

// The end is told to who is in, and what runs ends.
func TestStop(t *testing.T) {
	d := furnish(t, 1, 0, nil)
	s := d.seats[0]
	s.enters(right)
	s.types("welcome", "sleep 1000\r")
	s.reads("sleep")
	d.Stop("This machine goes on: off.")
	s.reads("farboot: This machine goes on: off.")
	if err := <-d.served; err != nil || d.Busy() {
		t.Errorf("Serve = %v, busy: %v", err, d.Busy())
	}
}

// A screen that stands still does not keep the machine.
func TestStill(t *testing.T) {
	d := furnish(t, 1, 0, nil)
	s := d.seats[0]
	s.enters(right)
	s.types("welcome", "stty -echo; echo go; exec cat /dev/zero\r")
	s.reads("go\r")
	if err := unix.IoctlSetInt(int(s.master.Fd()), unix.TCXONC, unix.TCOOFF); err != nil {
		t.Logf("the terminal cannot be stopped: %v", err) // then it is only flooded
	}
	d.Stop("bye")
	select {
	case err := <-d.served:
		if err != nil {
			t.Errorf("Serve = %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Error("Serve does not end")
	}
}

// Where nobody comes the room closes; where somebody is in it does not.
func TestIdle(t *testing.T) {
	d := furnish(t, 1, time.Second, nil)
	if err := <-d.served; !errors.Is(err, ErrIdle) {
		t.Errorf("Serve = %v", err)
	}
	d = furnish(t, 1, 2*time.Second, nil)
	d.seats[0].enters(right)
	d.seats[0].types("welcome", "sleep 4; echo still $((20+1))\r")
	d.seats[0].reads("still 21")
}

// Without a console there is an error, and a broken hash makes no room.
func TestNone(t *testing.T) {
	r, err := New(Config{Hash: hash, Limits: DefaultLimits(), Log: t.Logf})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Serve(context.Background(), console.New(), 0); !errors.Is(err, ErrDeaf) {
		t.Errorf("Serve = %v", err)
	}
	if _, err := New(Config{Hash: right}); err == nil || strings.Contains(err.Error(), right) {
		t.Errorf("New = %v", err)
	}
}

// A line is what was typed, whatever ends it.
func TestEditor(t *testing.T) {
	for typed, want := range map[string][]string{
		"a\rb\nc\r\nd\r":                 {"a", "b", "c", "d"},
		"\n\r\r\n":                       {"", "", ""},
		"abc\b\x7fd\r":                   {"ad"},
		"\b\x7fa\r":                      {"a"},
		"abc\x15d\r":                     {"d"},
		"ab\x03c\r":                      {"", "c"},
		"a\x00b\rc\r":                    {"", "c"},
		strings.Repeat("x", 512) + "\r":  {strings.Repeat("x", 512)},
		strings.Repeat("x", 513) + "\ry": {""},
	} {
		var e editor
		var got []string
		for _, b := range []byte(typed) {
			if line, whole := e.feed(b); whole {
				got = append(got, string(line))
			}
		}
		if strings.Join(got, "|") != strings.Join(want, "|") || len(got) != len(want) {
			t.Errorf("%.20q: %q, want %q", typed, got, want)
		}
	}
}
