package toolbox

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// plain starts programs on this machine, as they are.
func plain(t *testing.T) *Processes {
	t.Helper()
	p := NewProcesses("")
	t.Cleanup(func() { must(t, p.Close(10*time.Second)) })
	return p
}

func TestStatus(t *testing.T) {
	p := plain(t)
	for line, want := range map[string]string{
		"exit 0":        "exit status 0",
		"exit 255":      "exit status 255",
		"kill -SEGV $$": "killed by SIGSEGV",
		"kill -KILL $$": "killed by SIGKILL",
	} {
		if _, got := p.sh(t, line); got.String() != want || got.Ok() != (want == "exit status 0") {
			t.Errorf("%s: %s", line, got)
		}
	}
	for _, c := range []Command{
		{Args: []string{"/no/such/program"}},
		{Args: []string{"/etc/passwd"}},
		{Args: []string{"/bin/sh"}, Dir: "/no/such/folder"},
	} {
		if proc, err := p.Start(c); !errors.Is(err, ErrStart) || proc != nil {
			t.Errorf("%q: %v, %v", c.Args, proc, err)
		}
	}
}

// The children of others are theirs to wait for: both get their status.
func TestOtherChildren(t *testing.T) {
	p := plain(t)
	other := exec.Command("/bin/sh", "-c", "exit 3")
	must(t, other.Start())
	if _, got := p.sh(t, "exit 4"); got.Code != 4 {
		t.Errorf("ours: %s", got)
	}
	var exit *exec.ExitError
	if err := other.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("theirs: %v", err)
	}
}

// End ends a session to the last of it: the one that asked to be let out, and by
// force the one that did not listen.
func TestEnd(t *testing.T) {
	for name, test := range map[string]struct {
		line, want string
		grace      time.Duration
	}{
		"polite":   {"sleep 1000 & sleep 1000 & echo $!; wait", "killed by SIGTERM", time.Minute},
		"stubborn": {"trap '' TERM; (trap '' TERM; sleep 1000) & echo $!; wait", "killed by SIGKILL", 200 * time.Millisecond},
	} {
		p := plain(t)
		r, w, err := os.Pipe()
		must(t, err)
		proc, err := p.Start(Command{Args: []string{"/bin/sh", "-c", test.line}, Env: os.Environ(), Dir: "/", Stdout: w})
		w.Close()
		must(t, err)
		line, err := bufio.NewReader(r).ReadString('\n')
		must(t, err)
		child, err := strconv.Atoi(strings.TrimSpace(line))
		must(t, err)
		proc.End(unix.SIGTERM, test.grace)
		if got := proc.Status().String(); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
		if data, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat"); err == nil && !bytes.Contains(data, []byte(") Z ")) {
			t.Errorf("%s: its child lives: %s", name, data)
		}
		r.Close()
	}
}

// A program on a terminal finds it to be its own, of the size that was asked for,
// and hears of another.
func TestTerminal(t *testing.T) {
	p := plain(t)
	master, slave, err := p.Terminal(Size{Columns: 100, Rows: 30})
	must(t, err)
	defer master.Close()
	const script = "stty size; : </dev/tty && echo ours; trap 'stty size' WINCH; echo ready; until read x; do :; done; echo got $x"
	proc, err := p.Start(Command{
		Args: []string{"/bin/sh", "-c", script}, Env: os.Environ(), Dir: "/",
		Stdin: slave, Stdout: slave, Stderr: slave, Terminal: true,
	})
	slave.Close()
	must(t, err)
	out := bufio.NewScanner(master)
	expect := func(want string) {
		t.Helper()
		if !out.Scan() || out.Text() != want {
			t.Fatalf("%q, want %q (%v)", out.Text(), want, out.Err())
		}
	}
	expect("30 100")
	expect("ours")
	expect("ready")
	must(t, Resize(master, Size{Columns: 132, Rows: 50}))
	expect("50 132")
	_, err = master.WriteString("hello\n")
	must(t, err)
	expect("hello") // echoed by the terminal
	expect("got hello")
	if s := proc.Status(); !s.Ok() {
		t.Errorf("%s", s)
	}
}

// PID 1 has one who waits for children, so that nobody takes the status of
// another's. Whatever else in the payload makes a child would lose it. Package carried
// may: it has one child, under another kernel, where there are no toolboxes.
func TestNobodyElseForks(t *testing.T) {
	const payload = "../.."
	may := []string{filepath.Join(payload, "agent/toolbox"), filepath.Join(payload, "agent/carried")}
	err := filepath.WalkDir(payload, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || slices.Contains(may, filepath.Dir(name)) {
			return err
		}
		text, err := os.ReadFile(name)
		for _, call := range []string{"StartProcess(", "ForkExec(", "Wait4(", "exec.Command("} {
			if bytes.Contains(text, []byte(call)) && !strings.Contains(name, "test/") {
				t.Errorf("%s has %s: programs are started by toolbox.Processes", name, call)
			}
		}
		return err
	})
	must(t, err)
}
