package boot

import (
	"errors"
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/guard"
)

// crashed is the error of a boot that ended in a crash of the agent.
type crashed struct {
	error
	pause time.Duration
}

// Unwrap returns the crash.
func (c crashed) Unwrap() error { return c.error }

// Pause is how long an error that Run returned is to be shown before the machine
// reboots.
func Pause(err error) time.Duration {
	if c, ok := errors.AsType[crashed](err); ok {
		return c.pause
	}
	return DefaultLimits().Crash
}

// countCrash remembers that this boot crashed. Neither the memory nor what the
// crash left behind can be relied on by now.
func (b *boot) countCrash(crash error) error {
	count := 1
	err := guard.Call("counting a crash", func() error {
		if !b.recalled {
			b.recall()
		}
		s := b.state
		s.Crashes += min(1, 255-s.Crashes)
		count = int(s.Crashes)
		return b.Remember(s)
	})
	if err != nil {
		b.fail("memory", fmt.Errorf("%w: %w", errNotSaved, err))
	}
	return crashed{crash, double(b.limits.Crash, b.limits.CrashMax, count)}
}
