package sshd

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/farboot/farboot/payload/agent/toolbox"
	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

const (
	// sftpServer is where Debian's openssh-sftp-server has it.
	sftpServer = "/usr/lib/openssh/sftp-server"
	// maxCommand bounds a command line, in bytes: the kernel's own bound for one
	// argument (MAX_ARG_STRLEN in include/uapi/linux/binfmts.h).
	maxCommand = 128 << 10
	// hangup is how long what a session started may take to end once it has.
	hangup = time.Second
)

// session is one terminal, one command or one sftp.
type session struct {
	login   *login
	number  int64
	channel ssh.Channel

	terminal bool // whether one is wanted
	term     string
	size     toolbox.Size

	master  *os.File         // the near end of the terminal, where there is one
	process *toolbox.Process // nil before it has started
}

// session serves a channel until it ends.
func (l *login) session(c ssh.NewChannel) error {
	channel, requests, err := c.Accept()
	if err != nil {
		return nil // the client is gone
	}
	defer channel.Close()
	x := &session{login: l, number: l.opened.Add(1), channel: channel}
	ended := make(chan struct{})
	for {
		select {
		case r, ok := <-requests:
			if !ok { // the client closed it
				x.hangUp()
				return nil
			}
			run := x.answer(r)
			if run != nil {
				l.server.start("a program by SSH", func() error {
					defer close(ended)
					run()
					return nil
				})
			}
		case <-ended:
			return nil
		case <-l.done:
			x.hangUp()
			return nil
		case <-l.server.leaving:
			x.dismiss(ended)
			return nil
		}
	}
}

// answer answers a request, and returns what is to run, if it starts something.
func (x *session) answer(r *ssh.Request) (run func()) {
	ok := false
	switch r.Type {
	case "pty-req":
		ok = x.wantTerminal(r.Payload)
	case "env": // the toolbox knows no locale but its own, and nothing else is safe
	case "window-change":
		ok = x.resize(r.Payload)
	case "signal":
		ok = x.signal(r.Payload)
	case "shell", "exec", "subsystem":
		run, ok = x.start(r)
	case "auth-agent-req@openssh.com", "x11-req":
		x.login.refuse("to forward (" + r.Type + ")")
	}
	if r.WantReply {
		_ = r.Reply(ok, nil) // a client that is gone needs none
	}
	return run
}

// log prints a line about this session.
func (x *session) log(format string, args ...any) {
	x.login.log("session %d: %s", x.number, fmt.Sprintf(format, args...))
}

// wantTerminal notes what terminal there is to be.
func (x *session) wantTerminal(payload []byte) bool {
	var p ptyRequest
	if ssh.Unmarshal(payload, &p) != nil || x.terminal || x.process != nil {
		return false
	}
	x.terminal, x.term, x.size = true, cleanTerm(p.Term), size(p.Columns, p.Rows, p.Width, p.Height)
	return true
}

// resize tells the terminal that the window is another.
func (x *session) resize(payload []byte) bool {
	var w windowChange
	if ssh.Unmarshal(payload, &w) != nil || !x.terminal {
		return false
	}
	x.size = size(w.Columns, w.Rows, w.Width, w.Height)
	return x.master == nil || toolbox.Resize(x.master, x.size) == nil
}

// signal passes a signal on.
func (x *session) signal(payload []byte) bool {
	var s signalRequest
	sig, known := syscall.Signal(0), false
	if ssh.Unmarshal(payload, &s) == nil {
		sig, known = signals[s.Name]
	}
	if !known || x.process == nil {
		return false
	}
	return x.process.Signal(sig) > 0
}

// start starts what is asked for, and returns what waits for its end. A program
// that does not start is told to the client on stderr, and has a status.
func (x *session) start(r *ssh.Request) (run func(), ok bool) {
	if x.process != nil {
		return nil, false
	}
	args, what, ok := command(r)
	if !ok {
		return nil, false
	}
	x.log("%s", what)
	config := x.login.server.config
	err := fs.ErrNotExist
	for i := 0; i < len(args) && errors.Is(err, fs.ErrNotExist); i++ {
		run, err = x.launch(toolbox.Command{
			Args: args[i], Env: append(toolbox.Environ(), config.Env...), Dir: config.Dir,
		})
	}
	if err == nil {
		return run, true
	}
	if r.Type == "subsystem" && errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("this toolbox has no sftp: openssh-sftp-server is not among its packages (%w)", err)
	}
	return func() {
		x.log("%v", err)
		fmt.Fprintf(x.channel.Stderr(), "farboot: %v\r\n", err)
		x.exit(toolbox.Status{Code: 127})
	}, true
}

// command returns what is to run, with what to take where that is missing.
func command(r *ssh.Request) (args [][]string, what string, ok bool) {
	var s stringRequest
	switch r.Type {
	case "shell":
		return [][]string{{"/bin/bash", "-l"}, {"/bin/sh", "-l"}}, "a shell", true
	case "exec":
		if ssh.Unmarshal(r.Payload, &s) != nil || len(s.Value) > maxCommand || strings.Contains(s.Value, "\x00") {
			return nil, "", false
		}
		return [][]string{{"/bin/sh", "-c", s.Value}}, fmt.Sprintf("runs %.300q", s.Value), true
	}
	if ssh.Unmarshal(r.Payload, &s) != nil || s.Value != "sftp" {
		return nil, "", false
	}
	return [][]string{{sftpServer}}, "sftp", true
}

// hangUp ends what runs, since nobody is there any more.
func (x *session) hangUp() {
	if x.process != nil {
		x.process.End(unix.SIGHUP, hangup)
	}
}

// dismiss tells the client why it has to go, and ends what runs. Its status is
// then sent as ever.
func (x *session) dismiss(ended <-chan struct{}) {
	if x.process == nil {
		return
	}
	fmt.Fprintf(x.channel.Stderr(), "\r\nfarboot: %s\r\n", x.login.server.farewell)
	x.hangUp()
	select {
	case <-ended:
	case <-time.After(2 * hangup): // the client does not read
	}
}

// exit tells the client how the program ended, and closes the channel.
func (x *session) exit(s toolbox.Status) {
	_ = x.channel.CloseWrite() // a client that is gone needs none of these
	if s.Code >= 0 {
		_, _ = x.channel.SendRequest("exit-status", false, ssh.Marshal(exitStatus{uint32(s.Code)}))
	} else {
		_, _ = x.channel.SendRequest("exit-signal", false, ssh.Marshal(exitSignal{
			Name: strings.TrimPrefix(unix.SignalName(s.Signal), "SIG"),
		}))
	}
	_ = x.channel.Close()
}

// counted is a reader or writer that keeps its login from being silent.
type counted struct {
	io.Reader
	io.Writer
	login *login
}

func (c counted) Read(p []byte) (int, error) {
	c.login.touch()
	return c.Reader.Read(p)
}

func (c counted) Write(p []byte) (int, error) {
	c.login.touch()
	return c.Writer.Write(p)
}
