package main

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/farboot/farboot/payload/agent/boot"
	"github.com/farboot/farboot/payload/agent/console"
	"github.com/farboot/farboot/payload/agent/login"
	"github.com/farboot/farboot/payload/agent/sshd"
	"github.com/farboot/farboot/payload/guard"
)

// door is the ways in: a server with its port, and the consoles. Either may be nil.
type door struct {
	server  *sshd.Server
	port    net.Listener
	room    *login.Room
	console *console.Console
	log     func(format string, args ...any)
}

// openDoor opens the ways in that l names.
func openDoor(c *console.Console, l boot.Login) (boot.Door, error) {
	d := door{console: c, log: l.Log}
	var err error
	if l.Password != "" {
		d.room, err = login.New(login.Config{
			Hash: l.Password, Processes: l.Processes, Env: l.Env, Dir: l.Dir, Greeting: l.Greeting,
			Log: l.Log, Limits: login.DefaultLimits(),
		})
		if err != nil {
			return nil, err
		}
		l.Busy = d.room.Busy
	}
	if len(l.Keys) == 0 {
		return d, nil
	}
	if d.server, err = sshd.New(l.Config); err != nil {
		return nil, err
	}
	if d.port, err = net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(l.Port))); err != nil {
		return nil, fmt.Errorf("rescue: %w", err)
	}
	return d, nil
}

// Fingerprint is the host key's, where there is one.
func (d door) Fingerprint() string {
	if d.server == nil {
		return ""
	}
	return d.server.Fingerprint()
}

// Serve lets people in. That no console can be read ends nothing where there is SSH.
func (d door) Serve(ctx context.Context, idle time.Duration) error {
	switch {
	case d.server == nil:
		return d.room.Serve(ctx, d.console, idle)
	case d.room == nil:
		return d.server.Serve(ctx, d.port, idle)
	}
	ended := make(chan struct{})
	guard.Go("logins at the consoles", func() error { return d.room.Serve(ctx, d.console, 0) }, func(err error) {
		if guard.Tell(err, d.log); err != nil {
			d.log("login: %v", err)
		}
		close(ended)
	})
	err := d.server.Serve(ctx, d.port, idle)
	d.room.Stop("This machine goes on.")
	<-ended
	return err
}

// Stop sends everybody away.
func (d door) Stop(message string) {
	if d.room != nil {
		d.room.Stop(message)
	}
	if d.server != nil {
		d.server.Stop(message)
	}
}
