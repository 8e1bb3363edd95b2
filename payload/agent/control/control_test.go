package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// lab is a server with a machine made up behind it.
type lab struct {
	*Server
	t    *testing.T
	path string

	mu    sync.Mutex
	lines []string
	cut   chan error // gets the end of a fetch of "slow"
}

func newLab(t *testing.T) *lab {
	t.Helper()
	root, err := os.MkdirTemp("", "farboot") // t.TempDir is too long for a socket
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(root) })
	l := &lab{t: t, path: filepath.Join(root, socket), cut: make(chan error, 1)}
	l.Server, err = Listen(root, Handlers{
		Info: func() Info {
			return Info{Entry: "repair", MACs: []string{"52:54:00:12:34:56", "52:54:00:12:34:57"}, Version: 7}
		},
		Entry: func(name string) error {
			if name != "installer" {
				return fmt.Errorf("the manifest has no entry %q", name)
			}
			return nil
		},
		Fetch:  l.fetch,
		Report: func(text string) error { l.log("owner: %s", text); return nil },
		Flash: func(_ context.Context, entry, disk string, progress func(string)) error {
			progress("chunk 1 of 2")
			l.log("flash %s %s", entry, disk)
			return nil
		},
		Disks: func() ([]Disk, error) {
			return []Disk{{Node: "/dev/sda", Size: 480e9, Serial: "S1", Bar: "mounted on /mnt"}}, nil
		},
	}, l.log)
	must(t, err)
	t.Cleanup(l.Close)
	return l
}

func (l *lab) log(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *lab) said() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// fetch has "answers", one that turns out wrong after half of it, and one that
// never comes.
func (l *lab) fetch(ctx context.Context, name string, to *os.File, progress func(done, total int64)) error {
	switch name {
	case "answers":
		progress(3e6, 6e6)
		_, err := to.WriteAt([]byte("answer"), 0)
		return err
	case "corrupt":
		_, err := to.WriteAt([]byte("ans"), 0)
		return errors.Join(err, errors.New("content mismatch"))
	case "slow":
		progress(1e6, 2e6)
		<-ctx.Done()
		l.cut <- ctx.Err()
		return ctx.Err()
	}
	return fmt.Errorf("the manifest names no %q", name)
}

// call runs the command.
func (l *lab) call(args ...string) (exit int, out, errs string) {
	var stdout, stderr bytes.Buffer
	exit = command(l.t.Context(), l.path, args, strings.NewReader("a line\n of  input\n"), &stdout, &stderr)
	return exit, stdout.String(), stderr.String()
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What each verb prints, and with which status it ends.
func TestVerbs(t *testing.T) {
	l := newLab(t)
	file := filepath.Join(t.TempDir(), "file")
	for _, test := range []struct {
		args      string
		exit      int
		out, errs string
	}{
		{"help", 0, "farboot talks to the agent", ""},
		{"info entry", 0, "repair\n", ""},
		{"info macs", 0, "52:54:00:12:34:56 52:54:00:12:34:57\n", ""},
		{"info", 0, "manifest_version: 7\n", ""},
		{"info shoe_size", 2, "", "hint: farboot help"},
		{"fetch answers", 0, "answer", "3.0 of 6.0 MB\n"},
		{"fetch answers -o " + file, 0, "", "MB"},
		{"fetch nothing -o " + file + "2", 1, "", `names no "nothing"`},
		{"fetch corrupt -o " + file + "2", 1, "", "content mismatch"},
		{"fetch corrupt", 1, "", "content mismatch"},
		{"fetch answers -o /dev/null", 2, "", "use farboot flash"},
		{"fetch answers -o /no/such/folder/file", 1, "", "no such file"},
		{"report all is well", 0, "", ""},
		{"report -", 0, "", ""},
		{"report \x1b[2J", 2, "", "printable ASCII"},
		{"report", 2, "", "hint"},
		{"disks", 0, "/dev/sda  480.0  S1      -   -      mounted on /mnt\n", ""},
		{"flash image", 0, "", "chunk 1 of 2\n"},
		{"flash image --disk S1", 0, "", ""},
		{"boot installer", 0, "booting installer\n", ""},
		{"boot other", 1, "", `no entry "other"`},
		{"boot-next", 0, "going on with the next entry\n", ""},
		{"reboot now", 2, "", "not understood"},
		{"", 0, "farboot talks to the agent", ""},
		{"rm -rf /", 2, "", "not understood"},
	} {
		exit, out, errs := l.call(strings.Fields(test.args)...)
		if exit != test.exit || !strings.Contains(out, test.out) || test.out == "" && out != "" || !strings.Contains(errs, test.errs) || test.errs == "" && test.exit != 0 {
			t.Errorf("farboot %s: %d, %q, %q; want %d, %q, %q", test.args, exit, out, errs, test.exit, test.out, test.errs)
		}
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "answer" {
		t.Errorf("the file: %q, %v", data, err)
	}
	left, err := os.ReadDir(filepath.Dir(file))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the file there is %v, %v", left, err)
	}
	for _, line := range []string{"owner: all is well", "owner: a line of input", "flash image \n", "flash image S1", "control: asked for booting installer"} {
		if !strings.Contains(l.said()+"\n", line) {
			t.Errorf("%q was not said:\n%s", line, l.said())
		}
	}
}

// What comes next is what was asked for last, and is told after the answer.
func TestNext(t *testing.T) {
	l := newLab(t)
	if n, ok := l.Next(); ok {
		t.Errorf("nobody asked for %s", n)
	}
	l.call("boot", "other")
	l.call("info")
	select {
	case <-l.Asked():
		t.Error("what was refused was asked for")
	default:
	}
	for _, test := range []struct {
		args string
		want Next
	}{{"boot installer", Next{DoBoot, "installer"}}, {"boot-next", Next{Do: DoNext}}, {"off", Next{Do: DoOff}}, {"reboot", Next{Do: DoReboot}}} {
		if exit, _, errs := l.call(strings.Fields(test.args)...); exit != 0 {
			t.Errorf("%s: %s", test.args, errs)
		}
		<-l.Asked()
		if n, ok := l.Next(); !ok || n != test.want {
			t.Errorf("%s: %+v, %v", test.args, n, ok)
		}
	}
}

// A client that goes away ends what was done for it, and so does the server.
func TestGone(t *testing.T) {
	l := newLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	cmd := func(ctx context.Context) chan int {
		done := make(chan int, 1)
		go func() {
			done <- command(ctx, l.path, []string{"fetch", "slow"}, nil, &bytes.Buffer{}, &bytes.Buffer{})
		}()
		return done
	}
	done := cmd(ctx)
	for l.clientsNow() == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-l.cut; !errors.Is(err, context.Canceled) {
		t.Errorf("the client is gone, the fetch ended by %v", err)
	}
	if exit := <-done; exit != exitFailed {
		t.Errorf("exit status %d", exit)
	}
	done = cmd(t.Context())
	for l.clientsNow() == 0 {
		time.Sleep(time.Millisecond)
	}
	l.Close()
	if exit := <-done; exit != exitFailed {
		t.Errorf("exit status %d with the server closed", exit)
	}
	if exit, _, errs := l.call("info"); exit != exitFailed || !strings.Contains(errs, "does not listen") {
		t.Errorf("no server: %d, %s", exit, errs)
	}
}

func (l *lab) clientsNow() int { return len(l.clients) }

// Whoever speaks another language is told so, and costs no more than a line.
func TestNoise(t *testing.T) {
	l := newLab(t)
	long := strings.Repeat("x", maxRequest+1)
	for name, test := range map[string]struct{ line, want string }{
		"not JSON":      {"GET / HTTP/1.1\r\n", "malformed JSON"},
		"unknown":       {`{"do":"format"}` + "\n", "cannot be done"},
		"unknown field": {`{"do":"info","path":"/etc"}` + "\n", "malformed JSON"},
		"two":           {`{"do":"info"}` + "\n" + `{"do":"off"}` + "\n", "more than one"},
		"long":          {long, "more than"},
		"no file":       {`{"do":"fetch","name":"answers"}` + "\n", "no file came"},
		"long report":   {`{"do":"report","text":"` + strings.Repeat("x", MaxText+1) + `"}` + "\n", "printable ASCII"},
		"fake line":     {`{"do":"report","text":"a\nb"}` + "\n", "printable ASCII"},
	} {
		conn, err := net.Dial("unix", l.path)
		must(t, err)
		_, err = conn.Write([]byte(test.line))
		must(t, err)
		var r reply
		if err := json.NewDecoder(conn).Decode(&r); err != nil || !r.Done || !strings.Contains(r.Error, test.want) {
			t.Errorf("%s: %+v, %v; want %q", name, r, err, test.want)
		}
		conn.Close()
	}
	if n, ok := l.Next(); ok {
		t.Errorf("asked for %s", n)
	}
}

// Of the files that come with a request none stays open, and only an empty one
// that is a file is written.
func TestFiles(t *testing.T) {
	l := newLab(t)
	full := filepath.Join(t.TempDir(), "full")
	must(t, os.WriteFile(full, []byte("mine"), 0o600))
	count := func() int {
		open, err := os.ReadDir("/proc/self/fd")
		must(t, err)
		return len(open)
	}
	before := count()
	for _, name := range []string{full, "/dev/null", "/dev/zero"} {
		conn, err := net.Dial("unix", l.path)
		must(t, err)
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		must(t, err)
		fd := int(f.Fd())
		_, _, err = conn.(*net.UnixConn).WriteMsgUnix([]byte(`{"do":"fetch","name":"answers"}`+"\n"), unix.UnixRights(fd, fd, fd), nil)
		must(t, err)
		var r reply
		if err := json.NewDecoder(conn).Decode(&r); err != nil || !strings.Contains(r.Error, "want an empty file") {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
		conn.Close()
		f.Close()
	}
	l.Close()
	if after := count(); after > before {
		t.Errorf("%d files are open, %d were", after, before)
	}
	if data, err := os.ReadFile(full); err != nil || string(data) != "mine" {
		t.Errorf("the full one: %q, %v", data, err)
	}
}

func TestEnviron(t *testing.T) {
	got := Info{Site: "http://a/", Entry: "repair", MACs: []string{"a", "b"}, Statement: 2, Version: 7}.Environ()
	want := []string{
		"FARBOOT_SITE=http://a/", "FARBOOT_ENTRY=repair", "FARBOOT_MACHINE=", "FARBOOT_MACS=a b", "FARBOOT_UUID=", "FARBOOT_SERIAL=",
		"FARBOOT_MEDIUM=", "FARBOOT_STATEMENT=2", "FARBOOT_MANIFEST_VERSION=7",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// No request crashes the server's reader, and what it reads is bounded.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"do":"boot","name":"installer"}`))
	f.Add([]byte(`{"do":"report","text":"all is well"}`))
	f.Add([]byte(`{"do":"flash","name":"image","disk":"S1"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		req, err := decode(line)
		if err != nil {
			return
		}
		if n := len(req.Do) + len(req.Name) + len(req.Text) + len(req.Disk); n > maxRequest {
			t.Errorf("%d bytes of %d", n, len(line))
		}
		again, err := json.Marshal(req)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := decode(again); err == nil && same != req {
			t.Errorf("%+v is read back as %+v", req, same)
		}
	})
}
