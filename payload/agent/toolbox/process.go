package toolbox

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/sys/unix"
)

// ErrStart is wrapped by the errors of [Processes.Start]: the program is not
// there, or is none.
var ErrStart = errors.New("the program does not start")

// Command is a program to be run.
type Command struct {
	// Args begins with the program's path, absolute in the toolbox.
	Args []string
	// Env is the whole environment, as NAME=value. Of several by one name, the
	// last counts.
	Env []string
	// Dir is the working directory in the toolbox.
	Dir string
	// Stdin, Stdout and Stderr are given to it; nil is /dev/null. The caller
	// closes his own.
	Stdin, Stdout, Stderr *os.File
	// Terminal says that Stdin is a terminal, which the program's session gets
	// as its own.
	Terminal bool
}

// Status is how a program ended.
type Status struct {
	// Code is its exit status, 0 to 255, or -1 where Signal ended it.
	Code   int
	Signal syscall.Signal
}

// Ok tells whether it ended well.
func (s Status) Ok() bool { return s.Code == 0 }

// String is for people.
func (s Status) String() string {
	if s.Code < 0 {
		return "killed by " + unix.SignalName(s.Signal)
	}
	return fmt.Sprintf("exit status %d", s.Code)
}

// Processes starts programs below one root directory, knows which of them run,
// and is the only one in the agent who waits for children. As PID 1 it waits for
// those that lost their parents, too; each ends as a zombie otherwise.
type Processes struct {
	root string
	stop func()

	mu      sync.Mutex // held over fork, so that no child ends unknown
	running map[int]*Process
	closed  bool
}

// NewProcesses returns Processes whose programs have root as their root
// directory; empty is this process's own. They need CAP_SYS_CHROOT for another.
func NewProcesses(root string) *Processes {
	p := &Processes{root: root, running: map[int]*Process{}}
	hear()
	ended, stopped := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(ended, unix.SIGCHLD)
	p.stop = sync.OnceFunc(func() {
		signal.Stop(ended)
		close(stopped)
	})
	guard.Go("waiting for programs", func() error {
		for {
			select {
			case <-ended:
				p.reap()
			case <-stopped:
				return nil
			}
		}
	}, func(error) {})
	return p
}

// hear turns signals that this process ignores into such that it hears and does
// not heed. To itself it is the same; but ignored signals stay ignored in each
// program that it starts (execve(2)), and no shell could even trap them.
func hear() {
	unheeded := make(chan os.Signal, 1)
	for _, sig := range []os.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE, unix.SIGTERM} {
		if signal.Ignored(sig) {
			signal.Notify(unheeded, sig)
		}
	}
}

// Start starts a program as the leader of a session of its own. The error wraps
// [ErrStart].
func (p *Processes) Start(c Command) (*Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	defer null.Close()
	attr := &syscall.ProcAttr{Dir: c.Dir, Env: lastOf(c.Env), Sys: &syscall.SysProcAttr{
		Chroot: p.root, Setsid: true, Setctty: c.Terminal,
	}}
	files := []*os.File{c.Stdin, c.Stdout, c.Stderr}
	for i, f := range files {
		if f == nil {
			files[i] = null
		}
		attr.Files = append(attr.Files, files[i].Fd())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("%w: the toolbox is closed", ErrStart)
	}
	pid, err := syscall.ForkExec(c.Args[0], c.Args, attr)
	runtime.KeepAlive(files)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrStart, c.Args[0], err)
	}
	proc := &Process{pid: pid, done: make(chan struct{})}
	p.running[pid] = proc
	return proc, nil
}

// lastOf drops variables that one of the same name follows: programs take the
// first that they find.
func lastOf(env []string) []string {
	var kept []string
	seen := map[string]bool{}
	for _, pair := range slices.Backward(env) {
		name, _, _ := strings.Cut(pair, "=")
		if !seen[name] {
			kept = append(kept, pair)
		}
		seen[name] = true
	}
	slices.Reverse(kept)
	return kept
}

// reap collects every child that has ended.
func (p *Processes) reap() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if os.Getpid() == 1 {
		for p.wait(-1) > 0 {
		}
		return
	}
	// In a test the children of others are theirs to wait for.
	for pid := range p.running {
		p.wait(pid)
	}
}

// wait collects one child, by pid or any, and returns whose pid that was. There
// may be none.
func (p *Processes) wait(which int) int {
	var ws syscall.WaitStatus
	var pid int
	err := error(unix.EINTR)
	for errors.Is(err, unix.EINTR) {
		pid, err = syscall.Wait4(which, &ws, syscall.WNOHANG, nil)
	}
	if proc := p.running[pid]; err == nil && proc != nil {
		delete(p.running, pid)
		proc.ended(ws)
	}
	return pid
}

// Kill ends every program at once, and what they started. As PID 1 that is every
// other process of the machine. It waits for at most limit until they are gone:
// one that waits for a dead disk cannot be killed.
func (p *Processes) Kill(limit time.Duration) error {
	until := time.Now().Add(limit)
	for p.killAll() {
		if time.Now().After(until) {
			return fmt.Errorf("a program cannot be ended within %.0f s", limit.Seconds())
		}
		time.Sleep(10 * time.Millisecond)
		p.reap()
	}
	return nil
}

// killAll kills once and tells whether anybody is left. In PID 1 kill(2) of -1 is
// atomic: nobody escapes by forking (kill_something_info in kernel/signal.c).
func (p *Processes) killAll() bool {
	if os.Getpid() == 1 {
		_ = unix.Kill(-1, unix.SIGKILL) // that there is none is no error
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
		return !errors.Is(err, unix.ECHILD)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, proc := range p.running {
		proc.Signal(unix.SIGKILL)
	}
	return len(p.running) > 0
}

// Close kills all programs, and lets no other start. It is not to be used again.
func (p *Processes) Close(limit time.Duration) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	err := p.Kill(limit)
	p.stop()
	return err
}

// Process is a program that was started.
type Process struct {
	pid    int
	done   chan struct{}
	status Status
}

// Pid returns its number, which is also its session's.
func (p *Process) Pid() int { return p.pid }

// Done is closed when it has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status returns how it ended, and waits for that.
func (p *Process) Status() Status {
	<-p.done
	return p.status
}

// ended notes how.
func (p *Process) ended(ws syscall.WaitStatus) {
	p.status = Status{Code: ws.ExitStatus()}
	if ws.Signaled() {
		p.status.Signal = ws.Signal()
	}
	close(p.done)
}

// Signal sends a signal to the program and to all of its session: to what it
// started, unless that made itself a session of its own (setsid(1), tmux). It
// returns to how many.
func (p *Process) Signal(sig syscall.Signal) int {
	pids := session(p.pid)
	for _, pid := range pids {
		_ = unix.Kill(pid, sig) // gone by now
	}
	return len(pids)
}

// End ends the program's session: by first, and what is left after grace by
// SIGKILL. It waits until all are gone, but no longer than a second after that.
func (p *Process) End(first syscall.Signal, grace time.Duration) {
	p.Signal(first)
	kill := time.Now().Add(grace)
	for give := kill.Add(time.Second); time.Now().Before(give); time.Sleep(10 * time.Millisecond) {
		sig := syscall.Signal(0)
		if !time.Now().Before(kill) {
			sig = unix.SIGKILL
		}
		if p.Signal(sig) == 0 {
			return
		}
	}
}

// session lists the processes of a session that have not ended, see proc(5) for
// the fields of stat.
func session(leader int) []int {
	entries, _ := os.ReadDir("/proc") // without it nobody can be found
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		data, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		// The program's name is in parentheses and may hold any character.
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if len(fields) > 3 && fields[3] == strconv.Itoa(leader) && fields[0] != "Z" && fields[0] != "X" {
			pids = append(pids, pid)
		}
	}
	return pids
}
