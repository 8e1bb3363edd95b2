package sshd

import (
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/toolbox"
	"golang.org/x/crypto/ssh"
)

// lab is a server that runs programs on this machine, and people with keys.
type lab struct {
	*Server
	t      *testing.T
	addr   string
	served chan error

	mu    sync.Mutex
	lines []string
}

// anna may come in, and boris may not.
type person struct {
	ssh.Signer
	private ed25519.PrivateKey
}

func newPerson(t testing.TB) person {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return person{signer, private}
}

// line is the person's key for a manifest.
func (p person) line(name string) string {
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(p.PublicKey()))) + " " + name
}

// open starts a server for people, with limits changed.
func open(t *testing.T, idle time.Duration, change func(*Config), people ...person) *lab {
	t.Helper()
	l := &lab{t: t, served: make(chan error, 1)}
	p := toolbox.NewProcesses("")
	c := Config{Processes: p, Dir: t.TempDir(), Limits: DefaultLimits(), Env: []string{"FARBOOT_ENTRY=rescue", "HISTFILE=", "HOME=" + t.TempDir()}, Greeting: "welcome\n", Log: l.log}
	for i, one := range people {
		c.Keys = append(c.Keys, one.line(fmt.Sprintf("person %d", i+1)))
	}
	if change != nil {
		change(&c)
	}
	var err error
	l.Server, err = New(c)
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	l.addr = listener.Addr().String()
	go func() { l.served <- l.Serve(t.Context(), listener, idle) }()
	t.Cleanup(func() {
		l.Stop("the test is over")
		must(t, p.Close(10*time.Second))
	})
	return l
}

func (l *lab) log(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

// said waits until a line was printed that holds all the words.
func (l *lab) said(words ...string) {
	l.t.Helper()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		for _, line := range l.lines {
			have := 0
			for _, w := range words {
				if strings.Contains(line, w) {
					have++
				}
			}
			if have == len(words) {
				l.mu.Unlock()
				return
			}
		}
		l.mu.Unlock()
	}
	l.t.Errorf("not said: %q in:\n%s", words, strings.Join(l.lines, "\n"))
}

// dial logs in.
func (l *lab) dial(user string, methods ...ssh.AuthMethod) (*ssh.Client, error) {
	return ssh.Dial("tcp", l.addr, &ssh.ClientConfig{
		User: user, Auth: methods, HostKeyCallback: ssh.FixedHostKey(l.host), Timeout: 10 * time.Second,
	})
}

// login logs somebody in who may.
func (l *lab) login(p person) *ssh.Client {
	l.t.Helper()
	c, err := l.dial("root", ssh.PublicKeys(p))
	must(l.t, err)
	l.t.Cleanup(func() { c.Close() })
	return c
}

// newSession opens one.
func newSession(t *testing.T, c *ssh.Client) *ssh.Session {
	t.Helper()
	s, err := c.NewSession()
	must(t, err)
	return s
}

// openssh is the real client of a person: a program's name and its arguments.
// HOST stands for where the server is, where the program wants it.
func (l *lab) openssh(p person, name string, args ...string) *exec.Cmd {
	l.t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		l.t.Fatalf("%s is missing: it is in Debian's openssh-client", name)
	}
	dir := l.t.TempDir()
	block, err := ssh.MarshalPrivateKey(p.private, "")
	must(l.t, err)
	key, hosts := filepath.Join(dir, "key"), filepath.Join(dir, "known_hosts")
	must(l.t, os.WriteFile(key, pemOf(block), 0o600))
	_, port, err := net.SplitHostPort(l.addr)
	must(l.t, err)
	must(l.t, os.WriteFile(hosts, []byte("[127.0.0.1]:"+port+" "+l.HostKey()+"\n"), 0o600))
	options := []string{"-F", "none", "-i", key}
	for _, o := range []string{
		"IdentitiesOnly=yes", "IdentityAgent=none", "UserKnownHostsFile=" + hosts, "StrictHostKeyChecking=yes", "Port=" + port, "User=root", "BatchMode=yes", "ControlPath=none",
	} {
		options = append(options, "-o", o)
	}
	for i := range args {
		args[i] = strings.Replace(args[i], "HOST", "127.0.0.1", 1)
	}
	cmd := exec.Command(path, append(options, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	return cmd
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
