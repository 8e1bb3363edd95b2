package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/farboot/farboot/payload/agent/script"
	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/guard"
	"golang.org/x/sys/unix"
)

const (
	// firstPause and lastPause are how long a service that has ended is waited
	// with before it starts again: doubled each time, and from the start again for
	// one that ran for steady.
	firstPause, lastPause = time.Second, 30 * time.Second
	steady                = time.Minute
	// draining is how long the output of an ended program is read on: what it left
	// behind may hold its end of the pipe.
	draining = time.Second
)

// service is a program that runs as long as the system does.
type service struct {
	name    string
	args    []string
	restart bool
	// ended is called when it has ended for good, nil is [System.Fail].
	ended func(error)
}

// serve starts a service in the background.
func (s *System) serve(g *group, x service) {
	ended := x.ended
	if ended == nil {
		ended = s.Fail
	}
	g.run("service "+x.name, ended, func(ctx context.Context) error { return s.keep(ctx, x) })
}

// keep runs a service until ctx ends, or it has ended and is not to be restarted.
func (s *System) keep(ctx context.Context, x service) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		began := time.Now()
		s.Log("live: %s: starts", x.name)
		status, err := s.run(ctx, x.name, nil, x.args...)
		what := status.String()
		if err != nil {
			what = err.Error()
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case !x.restart:
			return fmt.Errorf("%w: %s: %s", ErrService, x.name, what)
		}
		if time.Since(began) >= steady {
			pause = firstPause
		}
		s.Log("live: %s: %s, starts again in %.0f s", x.name, what, pause.Seconds())
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}

// run runs a program to its end, or until ctx ends it. What it prints goes to out,
// nil is the log.
func (s *System) run(ctx context.Context, name string, out io.Writer, args ...string) (toolbox.Status, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return toolbox.Status{}, err
	}
	defer r.Close()
	process, err := s.Processes.Start(toolbox.Command{
		Args: args, Env: append(append(toolbox.Environ(), s.Env...), "TERM=dumb"), Dir: "/", Stdout: w, Stderr: w,
	})
	w.Close()
	if err != nil {
		return toolbox.Status{}, err
	}
	lines := script.NewLines(func(format string, args ...any) {
		s.Log("live: %s: %s", name, fmt.Sprintf(format, args...))
	})
	if out == nil {
		out = lines
	}
	read := make(chan error, 1)
	guard.Go("reading what "+name+" prints", func() error {
		_, err := io.Copy(out, r)
		return err
	}, func(err error) { read <- err })
	select {
	case <-process.Done():
	case <-ctx.Done():
		process.End(unix.SIGTERM, polite)
	}
	select {
	case <-process.Done():
	case <-time.After(polite): // it waits for a dead disk; the toolbox's end tells
		return toolbox.Status{Code: -1, Signal: unix.SIGKILL}, ctx.Err()
	}
	_ = r.SetReadDeadline(time.Now().Add(draining)) // or until the pipe has no other end
	if err := <-read; err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.Log("live: %s: what it prints: %v", name, err)
	}
	lines.Finish()
	return process.Status(), ctx.Err()
}

// do runs a command that has to end well, in bounded time.
func (s *System) do(ctx context.Context, limit time.Duration, out io.Writer, name string, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	status, err := s.run(ctx, name, out, args...)
	if err == nil && !status.Ok() {
		err = errors.New(status.String())
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
