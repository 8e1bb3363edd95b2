package sshd

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// The tests of this file log in by the client that people use.

// result is what a run of it printed, and its exit status.
func result(t *testing.T, cmd *exec.Cmd) (out, errs string, status int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

func TestOpenSSH(t *testing.T) {
	anna, boris := newPerson(t), newPerson(t)
	l := open(t, 0, nil, anna)
	if out, errs, status := result(t, l.openssh(anna, "ssh", "HOST", "echo hello; echo oops >&2; exit 42")); out != "hello\n" || errs != "oops\n" || status != 42 {
		t.Errorf("%q, %q, %d", out, errs, status)
	}
	if out, errs, status := result(t, l.openssh(anna, "ssh", "-tt", "HOST", "tty; exit 3")); !strings.HasPrefix(out, "/dev/pts/") || status != 3 {
		t.Errorf("on a terminal: %q, %q, %d", out, errs, status)
	}
	if _, errs, status := result(t, l.openssh(boris, "ssh", "HOST", "true")); status != 255 || !strings.Contains(errs, "Permission denied (publickey)") {
		t.Errorf("boris: %q, %d", errs, status)
	}
	cmd := l.openssh(anna, "ssh", "-o", "PubkeyAuthentication=no", "-o", "PreferredAuthentications=password,keyboard-interactive", "HOST", "true")
	if _, errs, status := result(t, cmd); status != 255 || !strings.Contains(errs, "Permission denied (publickey)") {
		t.Errorf("by password: %q, %d", errs, status)
	}
	cmd = l.openssh(anna, "ssh", "admin@HOST", "true")
	cmd.Args[slices.Index(cmd.Args, "User=root")] = "LogLevel=INFO"
	if _, errs, status := result(t, cmd); status != 255 || !strings.Contains(errs, "farboot: log in as root") {
		t.Errorf("as admin: %q, %d", errs, status)
	}
	if _, _, status := result(t, l.openssh(anna, "ssh", "-o", "SendEnv=FARBOOT_EVIL", "HOST", "test -z $FARBOOT_EVIL")); status != 0 {
		t.Errorf("a variable of the client arrived")
	}
}

// Options that forward fail, and leave the command to run where ssh goes on.
func TestOpenSSHForwarding(t *testing.T) {
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	if _, errs, status := result(t, l.openssh(anna, "ssh", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "HOST", "true")); status != 255 || !strings.Contains(errs, "remote port forwarding failed") {
		t.Errorf("-R: %q, %d", errs, status)
	}
	if out, errs, status := result(t, l.openssh(anna, "ssh", "-A", "HOST", "echo agent:$SSH_AUTH_SOCK")); out != "agent:\n" || status != 0 {
		t.Errorf("-A: %q, %q, %d", out, errs, status)
	}
	for flag, port := range map[string]string{"-L": freePort(t), "-D": freePort(t)} {
		to := port
		if flag == "-L" {
			to += ":127.0.0.1:9"
		}
		cmd := l.openssh(anna, "ssh", flag, to, "HOST", "cat")
		in, err := cmd.StdinPipe()
		must(t, err)
		must(t, cmd.Start())
		conn := dialSoon(t, "127.0.0.1:"+port)
		if flag == "-D" { // SOCKS 5, RFC 1928: no authentication, connect to 127.0.0.1:9
			_, err = conn.Write([]byte{5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 9})
			must(t, err)
		}
		l.said(`refused: to forward to "127.0.0.1" port 9`)
		l.mu.Lock()
		l.lines = nil
		l.mu.Unlock()
		conn.Close()
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("%s: %v", flag, err)
		}
	}
	if _, errs, status := result(t, l.openssh(anna, "ssh", "-W", "127.0.0.1:9", "HOST")); status == 0 || !strings.Contains(errs, "forwards nothing") {
		t.Errorf("-W: %q, %d", errs, status)
	}
}

// freePort returns one that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(t, err)
	return port
}

// dialSoon connects to somebody who is about to listen.
func dialSoon(t *testing.T, addr string) net.Conn {
	t.Helper()
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			return conn
		}
		if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}

// Files go there and back by sftp and by scp.
func TestFiles(t *testing.T) {
	if _, err := os.Stat(sftpServer); err != nil {
		t.Fatalf("%v: it is in Debian's openssh-sftp-server", err)
	}
	anna := newPerson(t)
	l := open(t, 0, nil, anna)
	dir := t.TempDir()
	content := bytes.Repeat([]byte("farboot "), 1<<18)
	here, there := filepath.Join(dir, "here"), filepath.Join(dir, "there")
	must(t, os.WriteFile(here, content, 0o600))
	same := func(what, name string) {
		t.Helper()
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, content) {
			t.Errorf("%s: %d bytes, %v", what, len(got), err)
		}
	}
	if _, errs, status := result(t, l.openssh(anna, "scp", here, "HOST:"+there)); status != 0 {
		t.Errorf("scp: %q, %d", errs, status)
	}
	same("scp", there)
	l.said("session 1: sftp")
	cmd := l.openssh(anna, "sftp", "-b", "-", "HOST")
	cmd.Stdin = strings.NewReader("put " + here + " " + there + "2\nget " + there + " " + here + "2\n")
	if _, errs, status := result(t, cmd); status != 0 {
		t.Errorf("sftp: %q, %d", errs, status)
	}
	same("put", there+"2")
	same("get", here+"2")
}
