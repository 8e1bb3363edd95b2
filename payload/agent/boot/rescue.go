package boot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/login"
	"github.com/farboot/farboot/payload/agent/sshd"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
)

// Login says whom a rescue lets in, and where: by SSH who has one of the keys, if
// there are any, and at the consoles who knows the password, if there is one.
type Login struct {
	sshd.Config
	// Port is the TCP port to listen on.
	Port int
	// Password is the hash of package login.
	Password string
}

// Door lets people into a toolbox. Serve ends as sshd's does, or login's.
type Door interface {
	// Fingerprint is that of SSH's host key.
	Fingerprint() string
	Serve(ctx context.Context, idle time.Duration) error
	Stop(message string)
}

// rescue lets people in until one of them says what comes next, or nobody was there
// for long enough.
func (b *boot) rescue(ctx context.Context, j job) error {
	x := j.entry.Rescue
	keys, ways := x.Keys, []string(nil)
	if j.net == nil {
		keys = nil
	}
	if len(keys) == 0 && x.Password == "" {
		return fmt.Errorf("%w: nobody could log in", errOffline)
	}
	shop, err := b.workshop(ctx, j, x.Toolbox)
	if err != nil {
		return err
	}
	defer shop.close()
	if err := b.remember(j, 0); err != nil {
		return err
	}
	door, err := shop.Login(Login{Port: x.ListenPort(), Password: x.Password, Config: sshd.Config{
		Keys: keys, HostKey: b.hostKey(x), Env: append(b.info(j).Environ(), j.machine.Env.List()...), Dir: "/root",
		Greeting: b.greeting(j), Log: b.audit, Limits: sshd.DefaultLimits(),
	}})
	if err != nil {
		return err
	}
	if len(keys) > 0 {
		ways = append(ways, fmt.Sprintf("ssh -p %d root@%s, host key %s", x.ListenPort(), b.address(j), door.Fingerprint()))
	}
	if x.Password != "" {
		ways = append(ways, "login at the consoles by a password")
	}
	b.announce(ctx, j, strings.Join(ways, "; "))
	err = b.serve(ctx, shop, door, time.Duration(x.Seconds)*time.Second)
	if err != nil && !errors.Is(err, sshd.ErrIdle) && !errors.Is(err, login.ErrIdle) {
		b.Story.Status(err.Error())
		return err
	}
	next, asked := shop.asker.Next()
	shop.close()
	switch {
	case asked:
		b.Story.Status("ended by " + next.String())
	case err != nil:
		b.Story.Status("ended: " + err.Error())
	}
	return b.after(ctx, j, next, asked)
}

// hostKey returns the seed of the key that the machine keeps, where the entry wants
// one and there is a place for it; otherwise nil, and it is made for this boot only.
func (b *boot) hostKey(x *manifest.Rescue) []byte {
	if x.HostKey != manifest.HostKeyMachine {
		return nil
	}
	seed, from, err := b.Secret(report.Of(b.Identity()).ID())
	if err != nil {
		b.Log("rescue: host key: %v; it is made anew for this boot", err)
		return nil
	}
	b.Log("rescue: host key: this machine's, kept on %s", from)
	return seed
}

// serve lets people in until somebody asks for what comes next.
func (b *boot) serve(ctx context.Context, shop *workshop, door Door, idle time.Duration) error {
	defer b.Story.Stage("rescue")()
	served := make(chan error, 1)
	guard.Go("rescue", func() error { return door.Serve(ctx, idle) }, func(err error) { served <- err })
	select {
	case err := <-served:
		return err
	case <-shop.asker.Asked():
		next, _ := shop.asker.Next()
		door.Stop("This machine goes on: " + next.String() + ".")
		return <-served
	}
}

// audit takes what happens at a rescue's door, for the screen and the owner.
func (b *boot) audit(format string, args ...any) {
	b.Log(format, args...)
	b.Story.Output(fmt.Sprintf(format, args...))
}

// address is where people find the machine.
func (b *boot) address(j job) string {
	var all []string
	for _, a := range j.net.Use().Addresses {
		all = append(all, a.Addr().String())
	}
	return strings.Join(all, " or ")
}

// greeting is what who logs in is told.
func (b *boot) greeting(j job) string {
	return fmt.Sprintf("farboot rescue: %s\nThis is %s.\nSay \"farboot\" to see what the agent can do, \"farboot boot-next\" to go on.\n",
		j.entry.Title, describe(b.Identity()))
}
