package boot

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/state"
)

// memory names what the machine remembers, wherever that lies.
const memory = "this machine's memory"

// recall reads what this machine remembers. It is called in each round, since a
// stick may come late.
func (b *boot) recall() {
	s := b.Recall()
	if b.recalled && s.Equal(b.read) {
		return
	}
	b.recalled, b.read, b.state = true, s, b.settled(s)
	if s.Crashes > 0 {
		b.fail("memory", fmt.Errorf("%w %d times in a row before this boot", guard.ErrCrashed, s.Crashes))
	}
	b.judge.Raise(s.Floor, cmp.Or(b.Holder(), memory))
	b.clock.Offer(s.Floor.Issued, memory, false)
	what := s.Floor.String()
	if s.Floor.Equal(state.Floor{}) {
		what = "nothing yet"
	}
	if places := b.Places(); len(places) > 0 {
		b.Log("memory: %s: %s", strings.Join(places, ", "), what)
	} else {
		b.Log("memory: none, there is neither a firmware variable nor a stick to write to")
	}
	b.tellFloor()
}

// tellFloor says what is too old for this machine, and by whose word.
func (b *boot) tellFloor() {
	f := b.judge.Floor()
	if f.Equal(state.Floor{}) {
		b.Log("floor: none, nothing was published when this medium was built")
		return
	}
	b.Log("floor: %s, by %s", f, b.judge.By())
}

// remember raises the floor to what is about to be run, on this machine as well
// as in this boot, and notes when a watched entry starts. A machine that cannot
// remember boots all the same. One that remembers more than it did when this was
// judged, because a stick came late, refuses it. What the medium carries raises
// nothing, but ends a row of crashes.
func (b *boot) remember(j job, watched time.Duration) error {
	if j.from == nil && b.state.Crashes == 0 {
		return nil
	}
	s := b.tried(j, watched)
	err := b.Remember(s)
	if j.from == nil {
		return nil
	}
	if errors.Is(err, state.ErrLower) {
		b.recall()
	}
	raised := j.from.Floor()
	if f := b.judge.Floor(); !f.Raise(raised).Equal(raised) {
		return fmt.Errorf("%w: this machine remembers %s by now", accept.ErrRollback, f)
	}
	b.judge.Raise(raised, memory)
	if err != nil {
		b.fail("memory", fmt.Errorf("%w: %w", errNotSaved, err))
		return nil
	}
	b.read, b.state = s, s
	return nil
}
