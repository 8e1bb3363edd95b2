package sshd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// How a program ends is told to the client.
func TestExit(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	c := l.login(anna)
	for command, want := range map[string]string{
		"true":                       "",
		"exit 42":                    "exited with status 42",
		"kill -SEGV $$":              "from signal SEGV",
		"cat >/dev/null; exit 7":     "exited with status 7",
		"nosuchprogram 2>/dev/null":  "exited with status 127",
		"setsid sleep 1000 & exit 8": "exited with status 8", // holds the pipe, and is left alone
		"sleep 1000 & exit 9":        "exited with status 9",
		"dd if=/dev/zero bs=1M count=4 2>/dev/null; exit 10": "exited with status 10",
	} {
		err := newSession(t, c).Run(command)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", command, err, want)
		}
	}
}

// Bytes pass in both directions, stderr apart, and the end of the input is told.
func TestPipes(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	s := newSession(t, l.login(anna))
	var out, errs bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = bytes.NewReader(big), &out, &errs
	if err := s.Run("cat; echo done >&2"); err != nil || !bytes.Equal(out.Bytes(), big) || errs.String() != "done\n" {
		t.Errorf("%d of %d bytes, %q, %v", out.Len(), len(big), errs.String(), err)
	}
}

// terminal opens a shell on a terminal and returns what it says, line by line. What
// is told beside it goes to errs.
func (l *lab) terminal(c *ssh.Client, rows, columns int, errs io.Writer) (*ssh.Session, io.Writer, *bufio.Scanner) {
	l.t.Helper()
	s := newSession(l.t, c)
	in, err := s.StdinPipe()
	must(l.t, err)
	out, err := s.StdoutPipe()
	must(l.t, err)
	s.Stderr = errs
	must(l.t, s.RequestPty("xterm", rows, columns, nil))
	must(l.t, s.Shell())
	return s, in, bufio.NewScanner(out)
}

// until reads lines until one ends so.
func until(t *testing.T, out *bufio.Scanner, want string) {
	t.Helper()
	var seen []string
	for out.Scan() {
		seen = append(seen, out.Text())
		if strings.HasSuffix(out.Text(), want) {
			return
		}
	}
	t.Fatalf("no %q in %q", want, seen)
}

// A shell on a terminal: a greeting, its size and a new one, Control-C, the end.
func TestTerminal(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	s, in, out := l.terminal(l.login(anna), 30, 100, io.Discard)
	until(t, out, "welcome")
	fmt.Fprintln(in, "PS1= PS2=; stty -echo; echo $TERM; stty size")
	until(t, out, "30 100")
	must(t, s.WindowChange(50, 132))
	// A change of size is not answered, and what is typed may overtake it.
	fmt.Fprintln(in, `until stty size | grep 132; do sleep 0.05; done; sh -c 'trap "echo heard; exit" INT; echo armed; while :; do sleep 0.05; done'`)
	until(t, out, "50 132")
	until(t, out, "armed")
	fmt.Fprint(in, "\x03")
	until(t, out, "heard")
	fmt.Fprintln(in, "echo still here")
	until(t, out, "still here")
	fmt.Fprintln(in, "exit 5")
	var exit *ssh.ExitError
	if err := s.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 5 {
		t.Errorf("%v", err)
	}
	l.said("session 1: a shell")
	l.said("session 1: exit status 5")
}

// A signal from the client reaches the program.
func TestSignal(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	s := newSession(t, l.login(anna))
	out, err := s.StdoutPipe()
	must(t, err)
	must(t, s.Start("trap 'echo heard; exit 3' USR1; echo ready; while :; do sleep 0.05; done"))
	lines := bufio.NewScanner(out)
	until(t, lines, "ready")
	must(t, s.Signal(ssh.SIGUSR1))
	until(t, lines, "heard")
	var exit *ssh.ExitError
	if err := s.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 3 && exit.Signal() != "USR1" {
		t.Errorf("%v", err)
	}
}

// The environment is not the client's, and names of terminals lead nowhere.
func TestEnvironment(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	c := l.login(anna)
	for _, name := range []string{"LD_PRELOAD", "LANG", "BASH_ENV", "PATH"} {
		if err := newSession(t, c).Setenv(name, "/tmp/evil"); err == nil {
			t.Errorf("%s is the client's to set", name)
		}
	}
	for name, want := range map[string]string{"xterm-256color": "xterm-256color", "../../tmp/evil": "vt100", "": "vt100", strings.Repeat("x", 40): "vt100", "a\x1b[2J": "vt100"} {
		s := newSession(t, c)
		must(t, s.RequestPty(name, 24, 80, nil))
		if out, err := s.Output("echo $TERM"); err != nil || string(out) != want+"\r\n" {
			t.Errorf("TERM %q: %q, %v", name, out, err)
		}
	}
}

// A program whose client has gone is ended, and what it started.
func TestGone(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	for name, leave := range map[string]func(*ssh.Client, *ssh.Session){
		"session": func(_ *ssh.Client, s *ssh.Session) { s.Close() },
		"login":   func(c *ssh.Client, _ *ssh.Session) { c.Close() },
	} {
		c := l.login(anna)
		s := newSession(t, c)
		out, err := s.StdoutPipe()
		must(t, err)
		must(t, s.Start("trap '' HUP; (trap '' HUP; sleep 1000) & echo $!; wait"))
		lines := bufio.NewScanner(out)
		lines.Scan()
		child := lines.Text()
		leave(c, s)
		gone := func() bool {
			data, err := os.ReadFile("/proc/" + child + "/stat")
			return err != nil || bytes.Contains(data, []byte(") Z "))
		}
		for until := time.Now().Add(10 * time.Second); !gone() && time.Now().Before(until); {
			time.Sleep(10 * time.Millisecond)
		}
		if !gone() || child == "" {
			t.Errorf("%s: %q lives on", name, child)
		}
	}
}

// Nothing is forwarded, and each attempt leaves a line.
func TestForwarding(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	web, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer web.Close()
	c := l.login(anna)
	if conn, err := c.Dial("tcp", web.Addr().String()); err == nil {
		conn.Close()
		t.Error("a connection to elsewhere is forwarded")
	}
	l.said("refused: to forward to \"127.0.0.1\" port")
	if _, err := c.Dial("unix", "/run/farboot/control.sock"); err == nil {
		t.Error("a connection to a socket is forwarded")
	}
	l.said("direct-streamlocal@openssh.com")
	if _, err := c.Listen("tcp", "127.0.0.1:0"); err == nil {
		t.Error("the server listens for others")
	}
	l.said("tcpip-forward")
	if _, err := c.ListenUnix(filepath.Join(t.TempDir(), "s")); err == nil {
		t.Error("the server listens on a socket for others")
	}
	l.said("streamlocal-forward@openssh.com")
	s := newSession(t, c)
	for _, kind := range []string{"auth-agent-req@openssh.com", "x11-req"} {
		if ok, err := s.SendRequest(kind, true, nil); ok || err != nil {
			t.Errorf("%s: %v, %v", kind, ok, err)
		}
		l.said("refused", kind)
	}
	if ch, _, err := c.OpenChannel("tun@openssh.com", nil); err == nil {
		ch.Close()
		t.Error("a tunnel is opened")
	}
}

// There is no more than so many sessions, of all logins together.
func TestSessions(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, func(c *Config) { c.Limits.Sessions = 2 }, anna)
	one := newSession(t, l.login(anna))
	newSession(t, l.login(anna))
	if _, err := l.login(anna).NewSession(); err == nil || !strings.Contains(err.Error(), "too many sessions") {
		t.Errorf("a third session: %v", err)
	}
	one.Close()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		if s, err := l.login(anna).NewSession(); err == nil {
			s.Close()
			return
		}
	}
	t.Error("no session, though one was closed")
}

// Nobody there, nobody coming: the server ends by itself.
func TestIdle(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 3*time.Second, nil, anna)
	c := l.login(anna)
	select {
	case err := <-l.served:
		t.Fatalf("ended with somebody logged in: %v", err)
	case <-time.After(5 * time.Second):
	}
	c.Close()
	if err := <-l.served; !errors.Is(err, ErrIdle) {
		t.Errorf("%v", err)
	}
	if _, err := l.dial("root", ssh.PublicKeys(anna)); err == nil {
		t.Error("it lets people in all the same")
	}
}

// A login that is silent for too long ends, and so does one that is dead.
func TestSilent(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, func(c *Config) { c.Limits.Keepalive, c.Limits.Idle = time.Second, 3*time.Second }, anna)
	if err := l.login(anna).Wait(); err == nil {
		t.Error("a silent login ended well")
	}
	l.said("login 1", "silent")
	conn, err := net.Dial("tcp", l.addr)
	must(t, err)
	dead := &stalled{Conn: conn, stall: make(chan struct{})}
	_, _, _, err = ssh.NewClientConn(dead, l.addr, &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(anna)}, HostKeyCallback: ssh.FixedHostKey(l.host)})
	must(t, err)
	close(dead.stall)
	l.said("login 2", "does not answer")
}

// stalled is a connection over which nothing goes out any more.
type stalled struct {
	net.Conn
	stall chan struct{}
}

func (s *stalled) Write(p []byte) (int, error) {
	select {
	case <-s.stall:
		return len(p), nil
	default:
		return s.Conn.Write(p)
	}
}

// At the end a command that runs may finish, a shell is told why, and all are gone.
func TestStop(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	c := l.login(anna)
	asks := newSession(t, c)
	out, err := asks.StdoutPipe()
	must(t, err)
	must(t, asks.Start("echo asked; sleep 0.5; echo answered; exit 6"))
	lines := bufio.NewScanner(out)
	until(t, lines, "asked")
	var message bytes.Buffer
	shell, in, text := l.terminal(l.login(anna), 24, 80, &message)
	fmt.Fprintln(in, "echo here")
	until(t, text, "here")
	l.Stop("booting installer")
	until(t, lines, "answered")
	var exit *ssh.ExitError
	if err := asks.Wait(); !errors.As(err, &exit) || exit.ExitStatus() != 6 {
		t.Errorf("the command: %v", err)
	}
	if err := shell.Wait(); err == nil || !strings.Contains(message.String(), "farboot: booting installer") {
		t.Errorf("the shell was told %q, %v", message.String(), err)
	}
	if err := <-l.served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := l.dial("root", ssh.PublicKeys(anna)); err == nil {
		t.Error("it lets people in all the same")
	}
}

// When the context ends, so does everything.
func TestCancel(t *testing.T) {
	anna := newPerson(t)
	s, err := New(Config{Keys: []string{anna.line("anna")}, Log: t.Logf, Limits: DefaultLimits()})
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Serve(ctx, listener, 0); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// Without a key there is no server.
func TestNoKey(t *testing.T) {
	for _, keys := range [][]string{nil, {"# nobody"}, {newPerson(t).line("a"), "ssh-rsa AAAA"}} {
		if s, err := New(Config{Keys: keys, Limits: DefaultLimits()}); err == nil {
			t.Errorf("%q: %v", keys, s)
		}
	}
}
