package script

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/agent/toolbox/toolboxtest"
	"golang.org/x/sys/unix"
)

// lab is a toolbox that is only a folder, on a machine of its own.
type lab struct {
	Config
	t  *testing.T
	mu sync.Mutex
	shown
}

func newLab(t *testing.T) *lab {
	t.Helper()
	// As run.go does in PID 1.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGTERM)
	root := toolboxtest.Tree(t)
	l := &lab{t: t}
	l.Config = Config{
		Processes: toolbox.NewProcesses(root), Root: root, Name: "repair", Limit: time.Minute,
		Env: []string{"FARBOOT_ENTRY=repair"}, Log: func(format string, args ...any) {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.log(format, args...)
		},
	}
	must(t, os.WriteFile(filepath.Join(root, "dev/null"), nil, 0o666))
	must(t, unix.Mount("proc", filepath.Join(root, "proc"), "proc", 0, ""))
	t.Cleanup(func() {
		must(t, l.Processes.Close(10*time.Second))
		must(t, unix.Unmount(filepath.Join(root, "proc"), 0))
	})
	return l
}

// run runs a program.
func (l *lab) run(program string, args ...string) (Result, error) {
	c := l.Config
	c.Program, c.Args = strings.NewReader(program), args
	return Run(l.t.Context(), c)
}

func (l *lab) said(line string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.shown, line)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// others tells whether any process but this one is left.
func others(t *testing.T) []string {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/comm")
	must(t, err)
	return slices.DeleteFunc(names, func(s string) bool { return s == "/proc/1/comm" })
}

// What a script finds, and that all it prints is shown and kept.
func TestRun(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	l := newLab(t)
	r, err := l.run(`#!/bin/sh
echo "$0 $1 $2 $#"
pwd; ls | cat; echo $FARBOOT_DIR $FARBOOT_ENTRY $HOME $TERM
stat -c '%a %U' "$0" . ; id -u
cat; echo from stderr >&2
printf 'no end'
`, "a b", "--c")
	must(t, err)
	want := []string{
		"/tmp/farboot/repair a b --c 2",
		"/tmp/farboot/work", "/tmp/farboot/work repair /root dumb",
		"500 UNKNOWN", "755 UNKNOWN", "0",
		"from stderr", "no end",
	}
	if !slices.Equal(r.Tail, want) || r.Err() != nil || r.Took <= 0 {
		t.Errorf("%q, %v", r.Tail, r.Err())
	}
	for _, line := range want {
		if !l.said("| " + line) {
			t.Errorf("%q was not shown: %q", line, l.shown)
		}
	}
	// Again: nothing of the first is left.
	must(t, os.WriteFile(filepath.Join(l.Root, work, "left"), nil, 0o600))
	if r, err = l.run("#!/bin/sh\nls\n"); err != nil || len(r.Tail) != 0 {
		t.Errorf("the second run finds %q, %v", r.Tail, err)
	}
}

// How it ends is told by class, and what it left behind is gone.
func TestEnds(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	l := newLab(t)
	for name, test := range map[string]struct {
		program string
		want    error
		text    string
	}{
		"well":       {"#!/bin/sh\n(setsid sleep 1000 &)\nsleep 1000 &\n", nil, ""},
		"badly":      {"#!/bin/sh\nexit 3\n", ErrFailed, "exit status 3"},
		"by signal":  {"#!/bin/sh\nkill -SEGV $$\n", ErrFailed, "killed by SIGSEGV"},
		"no such":    {"#!/bin/sh\nnosuchprogram\n", ErrFailed, "exit status 127"},
		"closed":     {"#!/bin/sh\nexec >&- 2>&-\nsleep 0.1; exit 4\n", ErrFailed, "exit status 4"},
		"kills all":  {"#!/bin/sh\nkill -9 -1\nsleep 0.1\nexit 5\n", ErrFailed, ""},
		"pipe broke": {"#!/bin/sh\n(kill -PIPE $(exec sh -c 'echo $PPID')) ; exit 6\n", ErrFailed, ""},
	} {
		r, err := l.run(test.program)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := r.Err(); !errors.Is(err, test.want) || err != nil && !strings.Contains(err.Error(), test.text) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
		if left := others(t); len(left) > 0 {
			t.Errorf("%s: left behind: %q", name, left)
		}
	}
}

// What cannot start says why in words.
func TestStart(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	l := newLab(t)
	for name, test := range map[string]struct{ program, want string }{
		"empty":          {"", `begins with ""`},
		"ELF":            {"\x7fELF\x02\x01", `begins with "\x7fELF`},
		"no interpreter": {"#!\n", "want \"#!\""},
		"missing":        {"#!/usr/bin/python3 -I\n", `"/usr/bin/python3" is not in this toolbox`},
		"relative":       {"#!sh\n", "no absolute path"},
		"Windows":        {"#!/bin/sh\r\necho\r\n", "CR LF"},
		"folder":         {"#!/bin\n", "permission denied"},
	} {
		r, err := l.run(test.program)
		if !errors.Is(err, ErrStart) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %+v, %v; want %s", name, r, err, test.want)
		}
	}
	must(t, os.Symlink("/bin/sh", filepath.Join(l.Root, "etc/sh"))) // absolute, as alternatives are
	if r, err := l.run("#!/etc/sh\nexit 0\n"); err != nil || r.Err() != nil {
		t.Errorf("an absolute link: %v, %v", r.Err(), err)
	}
}

// The time limit ends a script and all that it started, politely first.
// Its sleep may die of the signal before the shell has it, hence the loop.
func TestLimit(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	l := newLab(t)
	l.Limit = 2 * time.Second
	r, err := l.run("#!/bin/sh\ntrap 'echo tidying up; exit 0' TERM\n(setsid sleep 1000 &)\nwhile :; do sleep 1000 & wait; done\n")
	must(t, err)
	if !errors.Is(r.Err(), ErrTimeout) || !slices.Equal(r.Tail, []string{"tidying up"}) || !r.Status.Ok() {
		t.Errorf("%v, %q, %s", r.Err(), r.Tail, r.Status)
	}
	if left := others(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// The agent may end a script as well.
func TestCancel(t *testing.T) {
	if !toolboxtest.Machine(t) {
		return
	}
	l := newLab(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer time.AfterFunc(200*time.Millisecond, cancel).Stop()
	l.Program = strings.NewReader("#!/bin/sh\nexec sleep 1000\n")
	if _, err := Run(ctx, l.Config); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if left := others(t); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
