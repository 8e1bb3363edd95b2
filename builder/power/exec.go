package power

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// program is a program of the operator's: for a switched socket, a hypervisor, a
// fence agent. It gets "status", "on", "off", "cycle", "reset" or "boot-next" with
// a device behind its arguments, and what it needs to know in its environment. Its
// exit status is 0, or 3 for what it cannot do, or 4 for a wrong password; all
// others are failures. To "status" it prints "on" or "off".
type program struct{ Config }

const (
	exitUnsupported = 3
	exitPassword    = 4
)

// State implements [Driver].
func (p *program) State(ctx context.Context) (State, error) {
	out, err := p.run(ctx, "status")
	if err != nil {
		return "", err
	}
	switch word := strings.ToLower(strings.TrimSpace(out)); word {
	case "on", "off":
		return State(word), nil
	}
	return "", fmt.Errorf("%w: %q printed %+.100q, want on or off", ErrFailed, p.Command[0], out)
}

// Do implements [Driver].
func (p *program) Do(ctx context.Context, a Action) error {
	_, err := p.run(ctx, string(a))
	return err
}

// BootNext implements [Driver].
func (p *program) BootNext(ctx context.Context, d Device) error {
	_, err := p.run(ctx, "boot-next", string(d))
	return err
}

func (p *program) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, p.limit())
	defer cancel()
	cmd := command(ctx, p.Command[0], append(p.Command[1:len(p.Command):len(p.Command)], args...)...)
	cmd.Dir = p.Dir
	cmd.Env = append(os.Environ(), "FARBOOT_MACHINE="+p.Name, "FARBOOT_MAC="+p.MAC, "FARBOOT_ADDRESS="+p.Address, "FARBOOT_USER="+p.User, "FARBOOT_PASSWORD="+p.Secret)
	out, said, err := output(ctx, cmd)
	exit, _ := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, ErrSlow), errors.Is(err, context.Canceled):
		return "", err
	case exit != nil && exit.ExitCode() == exitUnsupported:
		return "", fmt.Errorf("%w: %s by %q%s", ErrUnsupported, args[0], p.Command[0], words(said))
	case exit != nil && exit.ExitCode() == exitPassword:
		return "", fmt.Errorf("%w: says %q%s", ErrPassword, p.Command[0], words(said))
	}
	return "", fmt.Errorf("%w: %q: %w%s", ErrFailed, p.Command[0], err, words(said))
}

// words quotes what somebody said, if anything.
func words(said string) string {
	if said == "" {
		return ""
	}
	return fmt.Sprintf(": %+.200q", said)
}

// command is [exec.CommandContext] with a process group of its own, so that what a
// script has started ends with it.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// output runs a command and returns what it prints, and the last line of what it
// says on stderr.
func output(ctx context.Context, cmd *exec.Cmd) (out, said string, err error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &capped{to: &stdout}, &capped{to: &stderr}
	err = cmd.Run()
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	said = lines[len(lines)-1]
	if err != nil && ctx.Err() != nil && (cmd.ProcessState == nil || !cmd.ProcessState.Exited()) {
		err = ctx.Err()
		if errors.Is(err, context.DeadlineExceeded) {
			err = fmt.Errorf("%w: %q was ended", ErrSlow, cmd.Args[0])
		}
	}
	return stdout.String(), said, err
}

// capped keeps the first [maxAnswer] bytes, and takes the rest.
type capped struct{ to *bytes.Buffer }

func (c *capped) Write(p []byte) (int, error) {
	c.to.Write(p[:min(len(p), maxAnswer-min(c.to.Len(), maxAnswer))])
	return len(p), nil
}
