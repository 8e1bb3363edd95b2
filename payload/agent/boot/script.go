package boot

import (
	"context"
	"fmt"
	"maps"

	"github.com/farboot/farboot/payload/agent/control"
	"github.com/farboot/farboot/payload/agent/script"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
)

// script runs a script entry. What it asked to come next counts where it ended
// well; otherwise the entry has failed.
func (b *boot) script(ctx context.Context, j job) error {
	x := j.entry.Script
	program, err := b.download(ctx, j, "script", x.Program)
	if err != nil {
		return err
	}
	defer program.Close()
	shop, err := b.workshop(ctx, j, x.Toolbox)
	if err != nil {
		return err
	}
	defer shop.close()
	if err := b.begin(ctx, j); err != nil {
		return err
	}
	result, err := shop.Script(ctx, script.Config{
		Name: j.name, Program: program, Args: x.Args, Env: b.environ(j), Limit: x.TimeLimit(), Log: b.Log,
	})
	for _, line := range result.Tail {
		b.Story.Output(line)
	}
	if err == nil {
		b.Story.Status(fmt.Sprintf("%s after %.1f s", result.Status, result.Took.Seconds()))
		err = result.Err()
	}
	if err != nil {
		b.Story.Status(err.Error())
		return err
	}
	next, asked := shop.asker.Next()
	shop.close()
	return b.after(ctx, j, next, asked)
}

// environ is the environment of a script: what the agent knows, what the entry
// says, and over it what the machine's record says.
func (b *boot) environ(j job) []string {
	env := manifest.Env{}
	maps.Copy(env, j.entry.Script.Env)
	maps.Copy(env, j.machine.Env)
	return append(b.info(j).Environ(), env.List()...)
}

// begin tells the owner that an entry begins its work, after it was remembered
// that this manifest was believed.
func (b *boot) begin(ctx context.Context, j job) error {
	if err := b.remember(j, 0); err != nil {
		return err
	}
	b.announce(ctx, j, "begins")
	return nil
}

// announce tells people that an entry is at work.
func (b *boot) announce(ctx context.Context, j job, status string) {
	b.Story.Begin(j.name, j.entry.Kind())
	b.working(ctx, j, status)
}

// working tells people how far the entry at work is.
func (b *boot) working(ctx context.Context, j job, status string) {
	b.Log("%s: %s: %s", j.name, j.entry.Title, status)
	b.Story.Status(status)
	if j.net != nil {
		b.post(ctx, report.Working)
	}
}

// after does what somebody in the toolbox asked for, or else what the entry says.
// It returns nil only where the machine was handed over.
func (b *boot) after(ctx context.Context, j job, next control.Next, asked bool) error {
	if !asked {
		return b.then(ctx, j)
	}
	switch next.Do {
	case control.DoBoot:
		return wish{next.Entry}
	case control.DoReboot:
		return b.restart(ctx, j, b.Reboot)
	case control.DoOff:
		return b.restart(ctx, j, b.PowerOff)
	default:
		return errDone
	}
}
