// Package script runs a program in the toolbox on the owner's behalf, without
// anybody who watches.
//
// [Run] is the main call. It promises that a program comes to an end: by itself,
// or by its time limit, SIGTERM, ten seconds and SIGKILL, and that then nothing
// runs that it started. What it prints goes to the log, line by line and bounded,
// printable only and each marked so that no line can pass for one of the agent's.
//
// The program's bytes are the caller's to verify. What is to come next is asked
// for by package control; here is only how it ended.
package script

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/sys/unix"
)

var (
	// ErrStart says that the program did not start.
	ErrStart = errors.New("the script does not start")
	// ErrFailed says that it ended with another status than 0.
	ErrFailed = errors.New("the script failed")
	// ErrTimeout says that it was ended by its time limit.
	ErrTimeout = errors.New("the script took too long")
)

const (
	// folder is where the program lies in the toolbox, and below it the working
	// directory, which is empty.
	folder = "tmp/farboot"
	work   = folder + "/work"
	// polite is how long a program that is to end may take before it is killed.
	polite = 10 * time.Second
	// settling is how long the output of ended programs is read on, and how long
	// killed ones may take to be gone.
	settling = 10 * time.Second
	// maxInterpreter is how much of the first line the kernel reads, in bytes
	// (BINPRM_BUF_SIZE in include/uapi/linux/binfmts.h).
	maxInterpreter = 256
)

// Config says what to run, and how.
type Config struct {
	// Processes are the toolbox's, and Root its root directory.
	Processes *toolbox.Processes
	Root      string
	// Name is the entry's. The program sees it as its own.
	Name string
	// Program is the program from its first byte, which is '#', to its last.
	Program io.Reader
	// Args follow the name.
	Args []string
	// Env is the environment beside [toolbox.Environ]; FARBOOT_DIR and TERM are
	// added to it.
	Env []string
	// Limit is how long it may take.
	Limit time.Duration
	// Log prints one line.
	Log func(format string, args ...any)
}

// Result is how a program ended.
type Result struct {
	Status toolbox.Status
	// Late says that it was ended by its time limit, which was Limit.
	Late  bool
	Limit time.Duration
	// Took is how long it ran.
	Took time.Duration
	// Tail is the end of what it printed: whole lines of printable ASCII, of
	// MaxTail bytes at most.
	Tail []string
}

// Err returns nil where the program ended well, and otherwise wraps [ErrFailed] or
// [ErrTimeout].
func (r Result) Err() error {
	switch {
	case r.Late:
		return fmt.Errorf("%w: its limit is %v (%s)", ErrTimeout, r.Limit, r.Status)
	case !r.Status.Ok():
		return fmt.Errorf("%w: %s", ErrFailed, r.Status)
	}
	return nil
}

// Run runs the program to its end, or until ctx ends. An error says that there is
// no result: it wraps [ErrStart], or is that of ctx.
func Run(ctx context.Context, c Config) (Result, error) {
	program, err := c.install()
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrStart, err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrStart, err)
	}
	defer r.Close()
	started := time.Now()
	proc, err := c.Processes.Start(toolbox.Command{
		Args: append([]string{program}, c.Args...),
		Env:  append(append(toolbox.Environ(), c.Env...), "FARBOOT_DIR=/"+work, "TERM=dumb"),
		Dir:  "/" + work, Stdout: w, Stderr: w,
	})
	w.Close()
	if err != nil {
		return Result{}, fmt.Errorf("%w: %w", ErrStart, err)
	}
	out := NewLines(c.Log)
	read := make(chan error, 1)
	guard.Go("reading what a script prints", func() error {
		_, err := io.Copy(out, r)
		return err
	}, func(err error) { read <- err })
	late := c.wait(ctx, proc)
	result := Result{Late: late, Limit: c.Limit, Took: time.Since(started)}
	select {
	case <-proc.Done():
		result.Status = proc.Status()
	case <-time.After(settling): // it waits for a dead disk, and cannot be killed
		result.Status = toolbox.Status{Code: -1, Signal: unix.SIGKILL}
	}
	if err := c.Processes.Kill(settling); err != nil {
		c.Log("script: %v", err)
	}
	_ = r.SetReadDeadline(time.Now().Add(settling)) // or until the pipe is empty and has no other end
	if err := <-read; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		c.Log("script: what it prints: %v", err)
	}
	result.Tail = out.Finish()
	return result, ctx.Err()
}

// wait waits until the program has ended, if need be by force, and tells whether
// it was late.
func (c Config) wait(ctx context.Context, proc *toolbox.Process) (late bool) {
	limit := time.NewTimer(c.Limit)
	defer limit.Stop()
	select {
	case <-proc.Done():
		return false
	case <-ctx.Done():
		c.Log("script: it is to end now")
	case <-limit.C:
		c.Log("script: its time limit of %v is over", c.Limit)
		late = true
	}
	proc.End(unix.SIGTERM, polite)
	return late
}

// install writes the program into the toolbox and returns its path there.
func (c Config) install() (string, error) {
	root, err := os.OpenRoot(c.Root)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if err := root.RemoveAll(folder); err != nil {
		return "", err
	}
	if err := root.MkdirAll(work, 0o755); err != nil {
		return "", err
	}
	program := bufio.NewReaderSize(c.Program, maxInterpreter)
	first, err := program.Peek(maxInterpreter)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	if err := checkInterpreter(root, first); err != nil {
		return "", err
	}
	name := path.Join(folder, c.Name)
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o500)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := io.Copy(f, program); err != nil {
		return "", err
	}
	return "/" + name, f.Close()
}

// checkInterpreter tells what execve(2) would call "no such file": that it is not
// the script which is missing.
func checkInterpreter(root *os.Root, first []byte) error {
	line, _, _ := bytes.Cut(first, []byte("\n"))
	text, ok := strings.CutPrefix(string(line), "#!")
	words := strings.Fields(text)
	if !ok || len(words) == 0 {
		return fmt.Errorf(`it begins with %+.40q; want "#!" and the path of an interpreter`, line)
	}
	if strings.HasSuffix(string(line), "\r") {
		return errors.New("its lines end as on Windows (CR LF); the kernel takes the CR for a part of the interpreter's name")
	}
	if !path.IsAbs(words[0]) {
		return fmt.Errorf("its interpreter %+.80q is no absolute path", words[0])
	}
	// Stat follows links within the toolbox, an absolute one as well.
	if _, err := stat(root, words[0]); errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("its interpreter %+.80q is not in this toolbox", words[0])
	}
	return nil
}

// maxLinks is how many links a path may have, as in the kernel.
const maxLinks = 40

// stat is [os.Root.Stat] of an absolute path. Links to absolute paths lead to where
// they do inside of the toolbox: os.Root itself takes them for an escape.
func stat(root *os.Root, name string) (os.FileInfo, error) {
	for range maxLinks {
		info, err := root.Stat(strings.TrimPrefix(path.Clean(name), "/"))
		if err == nil || errors.Is(err, os.ErrNotExist) {
			return info, err
		}
		to, rerr := root.Readlink(strings.TrimPrefix(path.Clean(name), "/"))
		if rerr != nil {
			return nil, err // let the kernel judge
		}
		if !path.IsAbs(to) {
			to = path.Join(path.Dir(name), to)
		}
		name = to
	}
	return nil, unix.ELOOP
}
