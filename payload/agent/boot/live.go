package boot

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/farboot/farboot/payload/agent/control"
	"github.com/farboot/farboot/payload/agent/live"
	"github.com/farboot/farboot/payload/agent/sshd"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
)

// Living is a live system that runs, see [live.System].
type Living interface {
	Lost() <-chan error
	Stop() error
}

// live makes the toolbox a system that stays, until somebody in it says what comes
// next. One whose hypervisor cannot be ruled any more is restarted: machines that
// run beside it can neither be reached nor ended in another way.
func (b *boot) live(ctx context.Context, j job) error {
	x, network, err := live.Words(*j.entry.Live, b.Cmdline())
	if err != nil {
		return err
	}
	own := j.net == nil && network != nil
	err = b.liveNetwork(ctx, &j, x, network)
	if own {
		defer j.net.Close()
	}
	if err != nil {
		return err
	}
	shop, err := b.workshop(ctx, j, x.Toolbox)
	if err != nil {
		return err
	}
	defer shop.close()
	if err := b.begin(ctx, j); err != nil {
		return err
	}
	system, err := shop.Live(ctx, live.Config{
		Entry: x, Env: b.info(j).Environ(), Log: b.audit, Fail: func(err error) { b.fail("live", err) },
		Fetch: func(ctx context.Context, what string, ref object.Ref, to io.WriterAt) error {
			return b.fetch(ctx, want{what: what, ref: ref, to: to}, j.net != nil)
		},
	})
	if err != nil {
		return err
	}
	next, err := b.attendLive(ctx, j, shop, system, x)
	lost := errors.Is(err, live.ErrXen)
	if stopped := system.Stop(); stopped != nil {
		b.fail("live", stopped)
	}
	if err != nil {
		b.Story.Status(err.Error())
	} else {
		b.Story.Status("ended by " + next.String())
	}
	shop.close()
	switch {
	case lost:
		b.fail(j.name, err)
		return b.restart(ctx, j, b.Reboot)
	case err != nil:
		return err
	}
	return b.after(ctx, j, next, true)
}

// liveNetwork takes up the network of a live system: that of the kernel's command
// line, or what is there; and a bridge over its card, where one is wanted. For that
// the card is asked for anew: it is the bridge that has the lease then.
func (b *boot) liveNetwork(ctx context.Context, j *job, x manifest.Live, network *netconf.Network) error {
	open := func(networks ...netconf.Network) error {
		if j.net == nil {
			j.net = new(line)
		}
		b.open(ctx, j.net, networks)
		return b.next(ctx, j.net)
	}
	switch {
	case network != nil:
		if err := open(*network); err != nil {
			return err
		}
	case j.net == nil && j.connect != nil:
		j.net = j.connect()
	}
	switch {
	case x.Bridge == "" || j.net != nil && j.net.Conf().Bridge == x.Bridge:
		return nil
	case j.net == nil:
		return fmt.Errorf("%w: no card can have the bridge %s", errOffline, x.Bridge)
	}
	conf := j.net.Conf()
	if conf.Bridge = x.Bridge; conf.Bond == nil {
		conf.Card = netconf.Card{MAC: j.net.Use().MAC}
	}
	b.Log("live: %s becomes the bridge over the card with %s", x.Bridge, j.net.Use().MAC)
	return open(conf)
}

// attendLive lets people in, until somebody asks for what comes next or the system
// is lost.
func (b *boot) attendLive(ctx context.Context, j job, shop *workshop, system Living, x manifest.Live) (control.Next, error) {
	defer b.Story.Stage("live")()
	served := make(chan error, 1)
	part := func(string) {}
	if door, err := b.liveDoor(ctx, j, shop, x); err != nil {
		b.fail("live", err) // what runs, runs
	} else if door != nil {
		guard.Go("logins", func() error { return door.Serve(ctx, 0) }, func(err error) { served <- err })
		part = func(message string) {
			door.Stop(message)
			<-served
		}
	}
	select {
	case err := <-system.Lost():
		part("This system cannot go on, and restarts.")
		return control.Next{}, err
	case <-ctx.Done():
		part("This system is over.")
		return control.Next{}, ctx.Err()
	case <-shop.asker.Asked():
		next, _ := shop.asker.Next()
		part("This system goes on: " + next.String() + ".")
		return next, nil
	}
}

// liveDoor opens the ways in that the entry has; nil where it has none.
func (b *boot) liveDoor(ctx context.Context, j job, shop *workshop, x manifest.Live) (Door, error) {
	l := Login{Password: x.Password, Config: sshd.Config{
		Env: b.info(j).Environ(), Dir: "/root", Greeting: b.greeting(j), Log: b.audit, Limits: sshd.DefaultLimits(),
	}}
	if x.SSH != nil && j.net != nil {
		l.Keys, l.Port = x.SSH.Keys, x.SSH.ListenPort()
	}
	if len(l.Keys) == 0 && l.Password == "" {
		return nil, nil
	}
	door, err := shop.Login(l)
	if err != nil {
		return nil, err
	}
	if len(l.Keys) > 0 {
		b.working(ctx, j, fmt.Sprintf("ssh -p %d root@%s, host key %s", l.Port, b.address(j), door.Fingerprint()))
	}
	return door, nil
}
