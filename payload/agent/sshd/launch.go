package sshd

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/guard"
)

// silence is how long output is waited for after a program has ended: it may have
// left somebody behind who holds its end of a pipe.
const silence = time.Second

// launch starts a program and connects it with the channel. What it returns waits
// for the end.
func (x *session) launch(c toolbox.Command) (run func(), err error) {
	if x.terminal {
		return x.onTerminal(c)
	}
	return x.onPipes(c)
}

// onTerminal runs a program on a terminal of its own.
func (x *session) onTerminal(c toolbox.Command) (func(), error) {
	processes := x.login.server.config.Processes
	master, slave, err := processes.Terminal(x.size)
	if err != nil {
		return nil, err
	}
	defer slave.Close()
	c.Stdin, c.Stdout, c.Stderr, c.Terminal = slave, slave, slave, true
	c.Env = append(c.Env, "TERM="+x.term)
	process, err := processes.Start(c)
	if err != nil {
		master.Close()
		return nil, err
	}
	x.process, x.master = process, master
	if greeting := x.login.server.config.Greeting; isShell(c) && greeting != "" {
		fmt.Fprint(x.channel, strings.ReplaceAll(greeting, "\n", "\r\n"))
	}
	return func() {
		defer master.Close()
		guard.Go("input of a terminal", func() error {
			_, err := io.Copy(counted{Writer: master, login: x.login}, x.channel)
			return err
		}, func(error) {}) // ends with the channel
		x.wait(isShell(c), output{from: master, to: x.channel})
	}, nil
}

// onPipes runs a program on three pipes.
func (x *session) onPipes(c toolbox.Command) (func(), error) {
	var near, far [3]*os.File
	closeAll := func(files [3]*os.File) {
		for _, f := range files {
			if f != nil {
				f.Close()
			}
		}
	}
	defer func() { closeAll(far) }()
	for i := range near {
		r, w, err := os.Pipe()
		if err != nil {
			closeAll(near)
			return nil, err
		}
		near[i], far[i] = r, w
		if i == 0 {
			near[i], far[i] = w, r
		}
	}
	c.Stdin, c.Stdout, c.Stderr = far[0], far[1], far[2]
	process, err := x.login.server.config.Processes.Start(c)
	if err != nil {
		closeAll(near)
		return nil, err
	}
	x.process = process
	return func() {
		defer closeAll(near)
		guard.Go("input of a program", func() error {
			_, err := io.Copy(counted{Writer: near[0], login: x.login}, x.channel)
			near[0].Close() // the client has no more
			return err
		}, func(error) {})
		x.wait(isShell(c), output{from: near[1], to: x.channel}, output{from: near[2], to: x.channel.Stderr()})
	}, nil
}

// output is what a program prints, on its way to the client.
type output struct {
	from *os.File
	to   io.Writer
}

// isShell tells whether it is one that people type into, which does not end by
// itself.
func isShell(c toolbox.Command) bool { return slices.Contains(c.Args, "-l") && len(c.Args) == 2 }

// wait copies outputs until the program has ended and they have, and says how it
// ended.
func (x *session) wait(shell bool, outputs ...output) {
	if !shell {
		x.login.commands.Add(1)
		defer x.login.commands.Add(-1)
	}
	started := time.Now()
	var over atomic.Bool
	var group sync.WaitGroup
	for _, o := range outputs {
		group.Add(1)
		guard.Go("output of a program", func() error {
			o.to = counted{Writer: o.to, login: x.login}
			return o.copy(&over)
		}, func(error) { group.Done() })
	}
	status := x.process.Status()
	x.process.End(hangupSignal, hangup) // what it left behind in its session
	over.Store(true)
	for _, o := range outputs {
		_ = o.from.SetReadDeadline(time.Now().Add(silence))
	}
	group.Wait()
	x.log("%s after %.1f s", status, time.Since(started).Seconds())
	x.exit(status)
}

// copy copies until the end, or once the program is over until it is silent.
func (o output) copy(over *atomic.Bool) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := o.from.Read(buf)
		if n > 0 {
			if _, err := o.to.Write(buf[:n]); err != nil {
				// The client is gone or takes no more. The program is not to block
				// on a full pipe until it is told so.
				_, err := io.Copy(io.Discard, o.from)
				return err
			}
			if over.Load() {
				_ = o.from.SetReadDeadline(time.Now().Add(silence))
			}
		}
		if err != nil {
			return err
		}
	}
}
