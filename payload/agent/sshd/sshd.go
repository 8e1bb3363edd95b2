// Package sshd lets people into the toolbox by SSH: a terminal, single commands,
// and files by sftp. Nothing else that SSH can do is there.
//
// [New] makes a server with a host key, whose [Server.Fingerprint]
// belongs on the screen, and [Server.Serve] lets people in until it is stopped.
// The package promises that nobody gets in but who holds a key that was listed;
// that what is said about a login is said of the key which logged in, and not of
// one that was merely offered (CVE-2024-45337); that strangers cost a bounded
// number of connections for a bounded time and cannot keep the owner out by that;
// that neither ports nor sockets, agents or displays are forwarded; and that each
// login, each command and each refusal leaves a line.
//
// Who is in is root: the package guards the door and nothing behind it. Whether
// there is a door at all is the signed manifest's to say, or the medium's.
package sshd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/authkey"
	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/crypto/ssh"
)

// ErrIdle says that nobody was logged in for so long that the server ended.
var ErrIdle = errors.New("nobody is logged in")

// Limits bound what connections may cost.
type Limits struct {
	// Handshake is how long a connection has until somebody is logged in by it.
	// A person who touches a security key needs some seconds.
	Handshake time.Duration
	// Strangers is how many connections there are at once that nobody is logged in
	// by. One more ends the oldest of whoever has most.
	Strangers int
	// Tries is how many keys one connection may offer. People have several, and
	// the client offers them all: 6 are what OpenSSH takes.
	Tries int
	// Logins and Sessions are how many there are at once. A session is a
	// terminal, a command or an sftp.
	Logins, Sessions int
	// Keepalive is how often a client is asked whether it is there, and how long
	// it may take to say so.
	Keepalive time.Duration
	// Idle ends a login over which not a byte went for so long. It is long, since
	// a file system check may be silent for hours.
	Idle time.Duration
	// Parting is how long, when the server stops, commands may take to end and
	// then clients to go.
	Parting time.Duration
}

// DefaultLimits returns the limits that the agent uses.
func DefaultLimits() Limits {
	return Limits{
		Handshake: 20 * time.Second,
		Strangers: 3,
		Tries:     6,
		Logins:    8,
		Sessions:  32,
		Keepalive: 30 * time.Second,
		Idle:      12 * time.Hour,
		Parting:   3 * time.Second,
	}
}

// Config says whom to let in, and to what.
type Config struct {
	// Keys are lines as [authkey.Parse] takes them. There is at least one.
	Keys []string
	// HostKey is the seed of the server's own key, of ed25519.SeedSize bytes; nil makes
	// a key that nobody ever saw.
	HostKey []byte
	// Processes are the toolbox's.
	Processes *toolbox.Processes
	// Env is the environment beside [toolbox.Environ].
	Env []string
	// Dir is where sessions begin, in the toolbox.
	Dir string
	// Greeting is shown to who gets a terminal: lines of plain text.
	Greeting string
	// Busy, where not nil, tells whether somebody is there who came another way: the
	// server does not end for want of logins meanwhile.
	Busy func() bool
	// Log prints one line.
	Log    func(format string, args ...any)
	Limits Limits
}

// Server lets people in.
type Server struct {
	config  Config
	ssh     *ssh.ServerConfig
	host    ssh.PublicKey
	keys    map[string]authkey.Key // by their blob
	gate    gate
	refused quota // of lines about strangers
	group   sync.WaitGroup

	stopping chan struct{} // closed when no more is to begin
	leaving  chan struct{} // closed when all is to end
	stop     func(message string)
	farewell string // set before leaving is closed

	mu       sync.Mutex
	logins   map[*login]bool
	count    int // of logins so far
	sessions int // now
	lastSeen time.Time
}

// New returns a server. A host key that is not given is made just now and lies in
// memory only. Random numbers have to be ready.
func New(c Config) (*Server, error) {
	s := &Server{
		config: c, keys: map[string]authkey.Key{}, logins: map[*login]bool{},
		gate: gate{most: c.Limits.Strangers}, refused: newQuota(20, 10*time.Second),
		stopping: make(chan struct{}), leaving: make(chan struct{}),
	}
	for _, line := range c.Keys {
		k, err := authkey.Parse(line)
		if err != nil {
			return nil, fmt.Errorf("rescue: %w", err)
		}
		s.keys[string(k.Blob)] = k
	}
	if len(s.keys) == 0 {
		return nil, errors.New("rescue: there is no key to log in with")
	}
	signer, err := hostKey(c.HostKey)
	if err != nil {
		return nil, fmt.Errorf("rescue: host key: %w", err)
	}
	s.host = signer.PublicKey()
	s.ssh = s.protocol(signer)
	var once sync.Once
	s.stop = func(message string) { once.Do(func() { s.part(message) }) }
	return s, nil
}

// hostKey returns the key of a seed, or a new one.
func hostKey(seed []byte) (ssh.Signer, error) {
	switch len(seed) {
	case ed25519.SeedSize:
		return ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(seed))
	case 0:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		return ssh.NewSignerFromKey(private)
	}
	return nil, fmt.Errorf("a seed of %d bytes, want %d", len(seed), ed25519.SeedSize)
}

// Fingerprint returns the host key's "SHA256:...", as ssh shows it to who logs in
// for the first time.
func (s *Server) Fingerprint() string { return ssh.FingerprintSHA256(s.host) }

// HostKey returns the host key as known_hosts has it, without the host's name:
// "ssh-ed25519 AAAA...".
func (s *Server) HostKey() string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.host))) }

// Serve lets people in by l, which it closes, until [Server.Stop], or ctx ends, or
// nobody was logged in for idle; 0 is for ever. It returns when all are out: nil
// after Stop, [ErrIdle], or the error of ctx or l.
func (s *Server) Serve(ctx context.Context, l net.Listener, idle time.Duration) error {
	s.seen()
	ended := make(chan error, 1)
	s.group.Add(1) // from here on: Stop waits for who is let in as well
	guard.Go("SSH", func() error { return s.accept(l) }, func(err error) { ended <- err; s.group.Done() })
	err := s.watch(ctx, ended, idle)
	_ = l.Close() // ends accept, where that is not the cause
	s.Stop("this rescue is over")
	return err
}

// Stop lets nobody in any more, gives commands that run the time to end (one of
// them may have asked for this), tells all others the message and sends them away.
// It returns when they are gone, in bounded time.
func (s *Server) Stop(message string) { s.stop(message) }

// watch waits for a reason to end.
func (s *Server) watch(ctx context.Context, ended <-chan error, idle time.Duration) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-s.stopping:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return fmt.Errorf("rescue: %w", err)
		case <-tick.C:
			if quiet := s.quiet(); idle > 0 && quiet >= idle {
				return fmt.Errorf("%w for %.0f s", ErrIdle, quiet.Seconds())
			}
		}
	}
}

// quiet returns for how long nobody has been logged in.
func (s *Server) quiet() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config.Busy != nil && s.config.Busy() {
		s.lastSeen = time.Now()
	}
	if len(s.logins) > 0 {
		return 0
	}
	return time.Since(s.lastSeen)
}

// seen notes that somebody was here.
func (s *Server) seen() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastSeen = time.Now()
}

// accept takes one connection after the other.
func (s *Server) accept(l net.Listener) error {
	for {
		conn, err := l.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil: // out of files, or gone already
			time.Sleep(100 * time.Millisecond)
			continue
		}
		s.gate.enter(conn) // here, so that the oldest is who came first
		s.start("a connection by SSH", func() error { s.serve(conn); return nil })
	}
}

// start runs f in a goroutine that Stop waits for.
func (s *Server) start(what string, f func() error) {
	s.group.Add(1)
	guard.Go(what, f, func(err error) {
		if err != nil {
			s.config.Log("rescue: %v", err)
		}
		s.group.Done()
	})
}

// part is Stop, once.
func (s *Server) part(message string) {
	s.farewell = message
	close(s.stopping)
	s.gate.close()
	until := time.Now().Add(s.config.Limits.Parting)
	for s.commands() > 0 && time.Now().Before(until) {
		time.Sleep(10 * time.Millisecond)
	}
	close(s.leaving)
	gone := make(chan struct{})
	guard.Go("parting", func() error { s.group.Wait(); return nil }, func(error) { close(gone) })
	// Sessions are ended within two seconds, and then their clients go.
	select {
	case <-gone:
	case <-time.After(s.config.Limits.Parting + 5*time.Second):
		s.config.Log("rescue: a session does not end")
	}
}

// commands counts the sessions that end by themselves.
func (s *Server) commands() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for l := range s.logins {
		n += int(l.commands.Load())
	}
	return n
}
