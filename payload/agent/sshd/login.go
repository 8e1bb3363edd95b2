package sshd

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/crypto/ssh"
)

// maxRefusals is how many lines one login may have printed about what it may not.
const maxRefusals = 50

// login is a connection that somebody is logged in by.
type login struct {
	server *Server
	conn   *ssh.ServerConn
	number int

	active   atomic.Int64 // when a byte last went, in Unix seconds
	commands atomic.Int64 // sessions that end by themselves
	opened   atomic.Int64 // sessions so far
	refusals atomic.Int64
	done     chan struct{} // closed when the connection is
}

// serve is one connection that the gate let in, from its first byte to its last.
func (s *Server) serve(conn net.Conn) {
	defer conn.Close()
	from := conn.RemoteAddr()
	l, channels, requests, err := s.handshake(conn)
	if !s.gate.leave(conn) && err != nil {
		err = fmt.Errorf("thrown out, others wait: %w", err)
	}
	if err != nil {
		if left, ok := s.refused.line(); ok {
			s.config.Log("rescue: %v: refused: %v%s", from, last(err), leftOut(left))
		}
		return
	}
	key := l.conn.Permissions.Extensions // of the one that logged in
	l.log("%v logged in by the key %s (%s)", from, key[extFingerprint], cmp.Or(key[extComment], "without a name"))
	started := time.Now()
	defer func() {
		s.out(l)
		l.log("logged out after %.0f s", time.Since(started).Seconds())
	}()
	l.run(channels, requests)
}

// last returns why the last key was refused: what x/crypto/ssh says lists them all.
func last(err error) error {
	if auth, ok := errors.AsType[*ssh.ServerAuthError](err); ok && len(auth.Errors) > 0 {
		return auth.Errors[len(auth.Errors)-1]
	}
	return err
}

// leftOut says so, where lines were.
func leftOut(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d before, left out)", n)
}

// handshake lets one in, or not, in bounded time.
func (s *Server) handshake(conn net.Conn) (*login, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	if err := conn.SetDeadline(time.Now().Add(s.config.Limits.Handshake)); err != nil {
		return nil, nil, nil, err
	}
	c, channels, requests, err := ssh.NewServerConn(conn, s.ssh)
	if err != nil {
		return nil, nil, nil, err
	}
	l := &login{server: s, conn: c, done: make(chan struct{})}
	l.touch()
	if err = conn.SetDeadline(time.Time{}); err == nil {
		err = s.in(l)
	}
	if err != nil {
		c.Close()
		return nil, nil, nil, err
	}
	return l, channels, requests, nil
}

// in takes a login down.
func (s *Server) in(l *login) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.stopping:
		return errors.New("the rescue ends")
	default:
	}
	if len(s.logins) >= s.config.Limits.Logins {
		return fmt.Errorf("%d are logged in already", len(s.logins))
	}
	s.count++
	l.number = s.count
	s.logins[l] = true
	return nil
}

// out strikes it off.
func (s *Server) out(l *login) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.logins, l)
	s.lastSeen = time.Now()
}

// log prints a line about this login.
func (l *login) log(format string, args ...any) {
	l.server.config.Log("rescue: login %d: %s", l.number, fmt.Sprintf(format, args...))
}

// refuse prints a line about what is not allowed, unless there were many.
func (l *login) refuse(what string) {
	if n := l.refusals.Add(1); n < maxRefusals {
		l.log("refused: %s", what)
	} else if n == maxRefusals {
		l.log("refused: %s; what else is refused is not told", what)
	}
}

// touch notes that a byte went.
func (l *login) touch() { l.active.Store(time.Now().Unix()) }

// run serves the connection until it ends.
func (l *login) run(channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) {
	s := l.server
	s.start("requests by SSH", func() error { l.requests(requests); return nil })
	s.start("keeping a login alive", func() error { l.keep(); return nil })
	sessions := make(chan struct{})
	s.start("sessions by SSH", func() error {
		defer close(sessions)
		l.sessions(channels)
		return nil
	})
	_ = l.conn.Wait() // why it ended is the network's affair
	close(l.done)
	<-sessions
}

// requests answers what is asked beside sessions. Everything is refused.
func (l *login) requests(requests <-chan *ssh.Request) {
	for r := range requests {
		switch r.Type {
		case "tcpip-forward", "streamlocal-forward@openssh.com":
			l.refuse("to listen for others (" + r.Type + ")")
		}
		if r.WantReply {
			_ = r.Reply(false, nil) // keepalives are happy with any answer
		}
	}
}

// sessions opens sessions, and waits until the last one has ended.
func (l *login) sessions(channels <-chan ssh.NewChannel) {
	var running []chan struct{}
	for c := range channels {
		if c.ChannelType() != "session" {
			l.refuse(forward(c))
			_ = c.Reject(ssh.Prohibited, "farboot forwards nothing")
			continue
		}
		if !l.server.takeSession() {
			l.refuse("one session more")
			_ = c.Reject(ssh.ResourceShortage, "too many sessions")
			continue
		}
		ended := make(chan struct{})
		running = append(running, ended)
		l.server.start("a session by SSH", func() error {
			defer close(ended)
			defer l.server.giveSession()
			return l.session(c)
		})
	}
	for _, ended := range running {
		<-ended
	}
}

// takeSession tells whether there may be one session more.
func (s *Server) takeSession() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sessions >= s.config.Limits.Sessions {
		return false
	}
	s.sessions++
	return true
}

// giveSession is called when it has ended.
func (s *Server) giveSession() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions--
}

// forward says what a channel would have done (RFC 4254, section 7.2).
func forward(c ssh.NewChannel) string {
	var to struct {
		Host   string
		Port   uint32
		Origin string
		From   uint32
	}
	if c.ChannelType() == "direct-tcpip" && ssh.Unmarshal(c.ExtraData(), &to) == nil {
		return fmt.Sprintf("to forward to %.100q port %d", to.Host, to.Port)
	}
	return fmt.Sprintf("to forward (%.60q)", c.ChannelType())
}

// keep asks the client now and then whether it is there, ends a login that is
// forgotten, and the connection when the server leaves.
func (l *login) keep() {
	limits := l.server.config.Limits
	tick := time.NewTicker(limits.Keepalive)
	defer tick.Stop()
	defer l.conn.Close()
	for {
		select {
		case <-l.done:
			return
		case <-l.server.leaving:
			l.letGo()
			return
		case <-tick.C:
		}
		if idle := time.Now().Unix() - l.active.Load(); time.Duration(idle)*time.Second >= limits.Idle {
			l.log("silent for %v, sent away", limits.Idle)
			return
		}
		if !l.answers(limits.Keepalive) {
			l.log("does not answer any more")
			return
		}
	}
}

// letGo waits a little for the client to go by itself: it does, once its sessions
// have ended, and so has read how they did.
func (l *login) letGo() {
	if l.opened.Load() == 0 { // as with ssh -N
		return
	}
	select {
	case <-l.done:
	case <-time.After(l.server.config.Limits.Parting):
	}
}

// answers asks the client whether it is there.
func (l *login) answers(limit time.Duration) bool {
	answered := make(chan error, 1)
	guard.Go("a keepalive by SSH", func() error {
		_, _, err := l.conn.SendRequest("keepalive@openssh.com", true, nil)
		return err
	}, func(err error) { answered <- err })
	select {
	case err := <-answered:
		return err == nil
	case <-l.done:
		return true
	case <-time.After(limit):
		return false
	}
}
