package login

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/sys/unix"
)

// typedMost is how many pieces of up to 64 bytes wait for a console whose program
// does not read. What is typed beyond them is lost, as on every full terminal.
const typedMost = 64

// errLeave says that the room closes.
var errLeave = errors.New("the room closes")

// seat is one console.
type seat struct {
	room    *Room
	console string
	typed   chan []byte
	rest    []byte // what came behind the last line
	editor  editor
	out     output
	wrong   int // passwords in a row
}

// put hands on what was typed, and never blocks.
func (s *seat) put(data []byte) {
	select {
	case s.typed <- data:
	default:
	}
}

// run asks for the password for as long as the room is open.
func (s *seat) run(open func(name string) (*os.File, error)) error {
	to, err := open(s.console)
	if err != nil {
		return err
	}
	defer to.Close()
	s.out = output{to: to, limit: s.room.config.Limits.Writing, leaving: s.room.leaving, active: make(chan struct{}, 1)}
	for err == nil {
		err = s.turn()
	}
	if errors.Is(err, errLeave) {
		return nil
	}
	return err
}

// turn lets one person in, or not.
func (s *seat) turn() error {
	s.say("\r\nLogin as root: press Enter.\r\n")
	if _, err := s.line(0); err != nil {
		return err
	}
	s.say("Password: ")
	line, err := s.line(s.room.config.Limits.Typing)
	s.say("\r\n")
	if err != nil || len(line) == 0 {
		return err
	}
	right := s.room.hash.Matches(line)
	clear(line)
	if !right {
		return s.refuse()
	}
	if s.wrong > 0 {
		s.say(fmt.Sprintf("%d wrong passwords were typed here before.\r\n", s.wrong))
	}
	s.wrong = 0
	return s.session()
}

// refuse tells that a password was wrong, and waits.
func (s *seat) refuse() error {
	limits := s.room.config.Limits
	pause := min(limits.Wrong<<min(s.wrong, 16), limits.WrongMost)
	s.wrong++
	s.room.config.Log("login: %s: wrong password, %d in a row; the next may come in %.0f s", s.console, s.wrong, pause.Seconds())
	s.say("Wrong.\r\n")
	over := time.After(pause)
	for {
		select {
		case <-s.typed: // is for nobody
		case <-over:
			return nil
		case <-s.room.leaving:
			return errLeave
		}
	}
}

// say writes to the console. One that fails shows nothing.
func (s *seat) say(text string) { _, _ = io.WriteString(s.out, text) }

// line waits for a line, without showing it, for so long or for ever. One that takes
// too long, or is spoilt by Control-C, is empty.
func (s *seat) line(limit time.Duration) ([]byte, error) {
	var expired <-chan time.Time
	if limit > 0 {
		expired = time.After(limit)
	}
	for {
		data := s.rest
		if s.rest = nil; data == nil {
			select {
			case data = <-s.typed:
			case <-expired:
				s.editor.reset()
				return nil, nil
			case <-s.room.leaving:
				return nil, errLeave
			}
		}
		for i, b := range data {
			if line, whole := s.editor.feed(b); whole {
				s.rest = slices.Clone(data[i+1:])
				clear(data)
				return line, nil
			}
		}
		clear(data)
	}
}

// session is a shell for who is in.
func (s *seat) session() error {
	config := s.room.config
	number := s.room.seen(1)
	defer s.room.seen(-1)
	log := func(format string, args ...any) {
		config.Log("login: login %d on %s: %s", number, s.console, fmt.Sprintf(format, args...))
	}
	log("logged in by the password")
	master, slave, err := config.Processes.Terminal(toolbox.Size{Columns: 80, Rows: 24})
	if err != nil {
		return err
	}
	defer master.Close()
	process, err := s.shell(toolbox.Command{
		Env: append(append(toolbox.Environ(), config.Env...), "TERM="+term(s.console)), Dir: config.Dir,
		Stdin: slave, Stdout: slave, Stderr: slave, Terminal: true,
	})
	slave.Close()
	if err != nil {
		log("%v", err)
		s.say(fmt.Sprintf("farboot: %v\r\n", err))
		return nil
	}
	s.say(strings.ReplaceAll(config.Greeting, "\n", "\r\n"))
	shown := make(chan struct{})
	guard.Go("output of a login", func() error {
		_, err := io.Copy(s.out, master)
		if err != nil { // the program is not to hang at a screen that stands still
			_, err = io.Copy(io.Discard, master)
		}
		return err
	}, func(error) { close(shown) })
	err = s.attend(process, master, log)
	process.End(unix.SIGHUP, config.Limits.Parting) // and what it left behind in its session
	// What holds the terminal open in a session of its own (tmux) is left alone.
	_ = master.SetReadDeadline(time.Now().Add(config.Limits.Parting))
	<-shown
	log("%s", process.Status())
	return err
}

// shell starts the best shell that there is.
func (s *seat) shell(c toolbox.Command) (process *toolbox.Process, err error) {
	for _, name := range []string{"/bin/bash", "/bin/sh"} {
		c.Args = []string{name, "-l"}
		if process, err = s.room.config.Processes.Start(c); !errors.Is(err, fs.ErrNotExist) {
			return process, err
		}
	}
	return process, err
}

// attend hands on what is typed until the program has ended.
func (s *seat) attend(process *toolbox.Process, master io.Writer, log func(string, ...any)) error {
	typed := make(chan []byte, typedMost)
	defer close(typed)
	guard.Go("input of a login", func() error {
		for data := range typed {
			if _, err := master.Write(data); err != nil {
				return err
			}
		}
		return nil
	}, func(error) {}) // ends with the terminal
	if s.rest != nil {
		typed <- s.rest
		s.rest = nil
	}
	idle := time.NewTimer(s.room.config.Limits.Idle)
	defer idle.Stop()
	for {
		select {
		case data := <-s.typed:
			select {
			case typed <- data:
			default: // the program does not read
			}
		case <-s.out.active:
		case <-idle.C:
			log("silent for %v, sent away", s.room.config.Limits.Idle)
			s.say("\r\nfarboot: you were silent for too long.\r\n")
			return nil
		case <-s.room.leaving:
			s.say("\r\nfarboot: " + s.room.farewell + "\r\n")
			return errLeave
		case <-process.Done():
			return nil
		}
		idle.Reset(s.room.config.Limits.Idle)
	}
}

// output is a console that is written to in bounded time.
type output struct {
	to      *os.File
	limit   time.Duration
	leaving <-chan struct{}
	active  chan struct{} // told that something was written
}

// Write writes in pieces that a slow line takes in time.
func (o output) Write(p []byte) (n int, err error) {
	select {
	case o.active <- struct{}{}:
	default:
	}
	for err == nil && n < len(p) {
		limit := o.limit
		select {
		case <-o.leaving:
			limit = min(limit, time.Second)
		default:
		}
		_ = o.to.SetWriteDeadline(time.Now().Add(limit)) // what cannot have one does not block
		var m int
		m, err = o.to.Write(p[n:min(n+1024, len(p))])
		n += m
	}
	return n, err
}

// term is what a console understands: screens are Linux's own, and what is behind a
// line understands at least a VT220.
func term(console string) string {
	if strings.HasPrefix(console, "tty") && !strings.HasPrefix(console, "ttyS") && !strings.HasPrefix(console, "ttyU") && !strings.HasPrefix(console, "ttyA") {
		return "linux"
	}
	return "vt220"
}
