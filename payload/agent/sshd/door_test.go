package sshd

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func pemOf(b *pem.Block) []byte { return pem.EncodeToMemory(b) }

// Who is listed gets in, and is named by the key that logged in.
func TestRightKey(t *testing.T) {
	anna, carl := newPerson(t), newPerson(t)
	l := open(t, 0, nil, anna, carl)
	out, err := newSession(t, l.login(anna)).Output("echo $USER $FARBOOT_ENTRY $LANG; pwd")
	if err != nil || !strings.HasPrefix(string(out), "root rescue C.UTF-8\n"+l.config.Dir) {
		t.Errorf("%q, %v", out, err)
	}
	l.said("login 1", ssh.FingerprintSHA256(anna.PublicKey()), "(person 1)")
	l.said("login 1", "session 1", `runs "echo $USER`)
	l.said("login 1", "session 1", "exit status 0")
	l.login(carl).Close()
	l.said("login 2", ssh.FingerprintSHA256(carl.PublicKey()), "(person 2)")
	l.said("login 2", "logged out")
}

// Keys of other kinds get in as well, RSA with its new signatures only.
func TestKinds(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	old, err := rsa.GenerateKey(rand.Reader, 3072)
	must(t, err)
	ecSigner, err := ssh.NewSignerFromKey(ec)
	must(t, err)
	rsaSigner, err := ssh.NewSignerFromKey(old)
	must(t, err)
	sha1, err := ssh.NewSignerWithAlgorithms(rsaSigner.(ssh.AlgorithmSigner), []string{ssh.KeyAlgoRSA})
	must(t, err)
	l := open(t, 0, nil, person{Signer: ecSigner}, person{Signer: rsaSigner})
	for name, test := range map[string]struct {
		signer ssh.Signer
		in     bool
	}{"ecdsa": {ecSigner, true}, "rsa": {rsaSigner, true}, "rsa with SHA-1": {sha1, false}} {
		c, err := l.dial("root", ssh.PublicKeys(test.signer))
		if (err == nil) != test.in {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			c.Close()
		}
	}
}

// Everybody else stays out, and it is said why.
func TestWrongKey(t *testing.T) {
	anna, boris := newPerson(t), newPerson(t)
	l := open(t, 0, nil, anna)
	for name, test := range map[string]struct {
		user   string
		method ssh.AuthMethod
		said   string
	}{
		"other key":            {"root", ssh.PublicKeys(boris), "this key is not listed: " + ssh.FingerprintSHA256(boris.PublicKey())},
		"other user":           {"admin", ssh.PublicKeys(anna), "not the user root"},
		"password":             {"root", ssh.Password("letmein"), "refused"},
		"keyboard-interactive": {"root", ssh.KeyboardInteractive(func(string, string, []string, []bool) ([]string, error) { return nil, nil }), "refused"},
		"none":                 {"root", ssh.PublicKeys(), "refused"},
		"somebody's signature": {"root", ssh.PublicKeys(thief{anna.PublicKey(), boris}), "refused"},
	} {
		if c, err := l.dial(test.user, test.method); err == nil {
			c.Close()
			t.Errorf("%s got in", name)
		}
		l.said("127.0.0.1", test.said)
	}
	for _, line := range l.lines {
		if strings.Contains(line, "logged in") {
			t.Error(line)
		}
	}
}

// thief shows one key and signs by another.
type thief struct {
	shown ssh.PublicKey
	ssh.Signer
}

func (t thief) PublicKey() ssh.PublicKey { return t.shown }

// CVE-2024-45337: who offers a key that is listed, and then logs in by another, is
// who he logged in as. OpenSSH's client does so where it has only the public half
// of the first.
func TestOfferOneUseOther(t *testing.T) {
	anna, carl := newPerson(t), newPerson(t)
	l := open(t, 0, nil, anna, carl)
	half := filepath.Join(t.TempDir(), "carl")
	must(t, os.WriteFile(half+".pub", []byte(carl.line("carl")+"\n"), 0o600))
	cmd := l.openssh(anna, "ssh", "-v", "HOST", "true")
	cmd.Args = slices.Insert(cmd.Args, 1, "-o", "IdentityFile="+half)
	out, err := cmd.CombinedOutput()
	accepted := "Server accepts key: " + half + " ED25519 " + ssh.FingerprintSHA256(carl.PublicKey())
	if err != nil || !strings.Contains(string(out), accepted) {
		t.Fatalf("carl's key was not offered and taken before anna's: %v\n%s", err, out)
	}
	l.said("logged in", ssh.FingerprintSHA256(anna.PublicKey()), "(person 1)")
	for _, line := range l.lines {
		if strings.Contains(line, "logged in") && strings.Contains(line, ssh.FingerprintSHA256(carl.PublicKey())) {
			t.Error(line)
		}
	}
}

// Each server has a host key of its own.
func TestHostKeys(t *testing.T) {
	anna := newPerson(t)
	one, other := open(t, 0, nil, anna), open(t, 0, nil, anna)
	if one.Fingerprint() == other.Fingerprint() || !strings.HasPrefix(one.Fingerprint(), "SHA256:") || !strings.HasPrefix(one.HostKey(), "ssh-ed25519 AAAA") {
		t.Errorf("%s, %s, %s", one.Fingerprint(), other.Fingerprint(), one.HostKey())
	}
	if _, err := ssh.Dial("tcp", one.addr, &ssh.ClientConfig{User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(anna)}, HostKeyCallback: ssh.FixedHostKey(other.host)}); err == nil {
		t.Error("one server passes for the other")
	}
	out, err := one.openssh(anna, "ssh", "-v", "HOST", "true").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(one.Fingerprint())) {
		t.Errorf("ssh does not show %s: %v\n%s", one.Fingerprint(), err, out)
	}
}

// Algorithms that are weak, or only old, are not spoken.
func TestAlgorithms(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	for name, config := range map[string]ssh.Config{
		"SHA-1 exchange":    {KeyExchanges: []string{ssh.InsecureKeyExchangeDH14SHA1}},
		"finite field":      {KeyExchanges: []string{ssh.KeyExchangeDH14SHA256}},
		"CBC":               {Ciphers: []string{ssh.InsecureCipherAES128CBC}},
		"3DES":              {Ciphers: []string{ssh.InsecureCipherTripleDESCBC}},
		"MAC before cipher": {Ciphers: []string{ssh.CipherAES128CTR}, MACs: []string{ssh.HMACSHA256}},
		"MAC of SHA-1":      {Ciphers: []string{ssh.CipherAES128CTR}, MACs: []string{ssh.HMACSHA1}},
	} {
		_, err := ssh.Dial("tcp", l.addr, &ssh.ClientConfig{Config: config, User: "root", Auth: []ssh.AuthMethod{ssh.PublicKeys(anna)}, HostKeyCallback: ssh.FixedHostKey(l.host)})
		if err == nil || !strings.Contains(err.Error(), "no common algorithm") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Who says nothing, or only a part, is sent away in time, and meanwhile others
// get in.
func TestSlow(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, func(c *Config) { c.Limits.Handshake = 2 * time.Second }, anna)
	for _, said := range []string{"", "SSH-2.0-slow\r\n", "SSH-2.0-slow\r\n\x00\x00\x00\x50", strings.Repeat("x", 300)} {
		conn, err := net.Dial("tcp", l.addr)
		must(t, err)
		_, err = io.WriteString(conn, said)
		must(t, err)
		l.login(anna).Close()
		must(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, errTimeout(err)) {
			t.Errorf("after %q the connection stays", said)
		}
		conn.Close()
	}
}

// errTimeout returns err if it is one for time.
func errTimeout(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return io.ErrNoProgress
}

// A crowd of strangers is thinned out, and does not keep the owner out.
func TestStrangers(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	var crowd []net.Conn
	for range 10 {
		conn, err := net.Dial("tcp", l.addr)
		must(t, err)
		defer conn.Close()
		crowd = append(crowd, conn)
	}
	for i, conn := range crowd[:len(crowd)-l.config.Limits.Strangers] {
		must(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
		if _, err := io.Copy(io.Discard, conn); errors.Is(err, errTimeout(err)) {
			t.Errorf("stranger %d of %d is still there", i+1, len(crowd))
		}
	}
	l.login(anna)
	l.said("refused: thrown out")
}

// The one thrown out is the oldest of the network that has most.
func TestGate(t *testing.T) {
	g := gate{most: 3}
	var order []*fakeConn
	enter := func(addr string) *fakeConn {
		c := &fakeConn{addr: addr}
		order = append(order, c)
		g.enter(c)
		return c
	}
	owner := enter("192.0.2.1:1")
	one, two := enter("[2001:db8::1]:1"), enter("[2001:db8::2]:1") // one customer
	three := enter("[2001:db8::3]:1")
	if owner.closed || !one.closed || two.closed || three.closed {
		t.Errorf("first: %v %v %v %v", owner.closed, one.closed, two.closed, three.closed)
	}
	other := enter("198.51.100.1:1")
	if owner.closed || !two.closed || three.closed || other.closed {
		t.Errorf("then: %v %v %v %v", owner.closed, two.closed, three.closed, other.closed)
	}
	if !g.leave(owner) || g.leave(one) {
		t.Error("who left was not in, or who was thrown out was")
	}
	enter("192.0.2.1:2")
	if three.closed || other.closed {
		t.Error("thrown out, though there was room")
	}
	g.close()
	if late := enter("192.0.2.1:3"); !late.closed || !three.closed || !other.closed {
		t.Error("a closed gate has somebody in")
	}
}

// fakeConn is a connection that can only be closed.
type fakeConn struct {
	net.Conn
	addr   string
	closed bool
}

func (c *fakeConn) Close() error { c.closed = true; return nil }

func (c *fakeConn) RemoteAddr() net.Addr {
	a, err := net.ResolveTCPAddr("tcp", c.addr)
	if err != nil {
		panic(err)
	}
	return a
}

// A flood of strangers does not flood the log.
func TestQuota(t *testing.T) {
	q := newQuota(3, time.Hour)
	var lines int
	for range 100 {
		if _, ok := q.line(); ok {
			lines++
		}
	}
	q.last = q.last.Add(-time.Hour)
	if left, ok := q.line(); lines != 3 || !ok || left != 97 {
		t.Errorf("%d lines, then %d left out, %v", lines, left, ok)
	}
}

// There is no more than so many logins at once.
func TestLogins(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, func(c *Config) { c.Limits.Logins = 2 }, anna)
	l.login(anna)
	l.said("login 1", "logged in") // the client knows a moment before the server counts
	second := l.login(anna)
	l.said("login 2", "logged in")
	if c, err := l.dial("root", ssh.PublicKeys(anna)); err == nil {
		if _, err := c.NewSession(); err == nil {
			t.Error("a third is in")
		}
	}
	l.said("2 are logged in already")
	second.Close()
	l.said("login 2", "logged out")
	newSession(t, l.login(anna)).Close()
}

// A host key that is given is the server's, in every boot; one that is not is made.
func TestHostKey(t *testing.T) {
	anna := newPerson(t)
	with := func(seed string) string {
		return open(t, 0, func(c *Config) { c.HostKey = []byte(seed) }, anna).Fingerprint()
	}
	one, two := strings.Repeat("a", ed25519.SeedSize), strings.Repeat("b", ed25519.SeedSize)
	if with(one) != with(one) || with(one) == with(two) || with("") == with("") {
		t.Error("host keys are not those that were given")
	}
	if _, err := New(Config{Keys: []string{anna.line("anna")}, HostKey: []byte("short"), Limits: DefaultLimits()}); err == nil || strings.Contains(err.Error(), "short") {
		t.Errorf("a short seed: %v", err)
	}
}
