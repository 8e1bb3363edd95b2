package accept_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
)

// A thief of the root key writes statements 2 and 3 of his own. A machine that has
// met the owner's 2 passes neither by his 2, nor by a longer chain, and follows the
// owner on; one that met the thief first stays with him.
func TestForkAfterRootTheft(t *testing.T) {
	owner := newSim(t)
	thief := owner.Fork()
	rotations(owner, 2)
	thief.At = after(1)
	rotations(thief, 2)
	good, forged := publish(t, owner, 12), publish(t, thief, 12)
	rotations(thief, 5)
	long := publish(t, thief, 13)
	met := boots(t, medium(owner, 1, state.Floor{}), good, trusted(day0), 2).Floor()
	if met.StatementSHA256 != owner.Store(2).ID() {
		t.Errorf("reached %s", met.StatementSHA256)
	}
	for name, s := range map[string]site{"as long": forged, "longer": long} {
		t.Run(name, func(t *testing.T) {
			j := medium(owner, 1, met)
			_, walk, err := boot(t, j, s, trusted(after(1)))
			if !errors.Is(walk, accept.ErrEquivocation) || !errors.Is(err, accept.ErrRollback) || j.Store().Statement().Version != 1 {
				t.Errorf("walk: %v, manifest: %v, at %d", walk, err, j.Store().Statement().Version)
			}
			boots(t, j, good, trusted(day0), 2) // the next site
		})
	}
	rotations(owner, 3)
	next := publish(t, owner, 14)
	boots(t, medium(owner, 1, met), next, trusted(day0), 3)
	refuses(t, medium(owner, 1, boots(t, medium(owner, 1, state.Floor{}), forged, trusted(after(1)), 2).Floor()), good, trusted(day0), accept.ErrRollback)
}

// The memory comes late, when a thief's statements were believed already: they are
// forgotten from the fork on. A medium that carries his is refused.
func TestForkBeforeMemory(t *testing.T) {
	owner := newSim(t)
	rotations(owner, 2)
	thief := owner.Fork()
	rotations(owner, 3)
	thief.At = after(1)
	rotations(thief, 4)
	good, forged := publish(t, owner, 12), publish(t, thief, 13)
	met := boots(t, medium(owner, 1, state.Floor{}), good, trusted(day0), 3).Floor()
	j := medium(owner, 1, state.Floor{})
	boots(t, j, forged, trusted(after(1)), 4)
	early := j.Clone()
	if j.Raise(met, "the stick"); j.Store().Statement().Version != 2 || early.Store().Statement().Version != 4 {
		t.Errorf("at %d, a clone at %d", j.Store().Statement().Version, early.Store().Statement().Version)
	}
	boots(t, j, good, trusted(day0), 3)

	refuses(t, medium(thief, 3, met), publish(t, thief, 13), trusted(day0), accept.ErrEquivocation)
}

// The same where the very first statement after the medium's is the thief's.
func TestForkAtOnceBeforeMemory(t *testing.T) {
	owner := newSim(t)
	thief := owner.Fork()
	rotations(owner, 2)
	thief.At = after(1)
	rotations(thief, 2)
	good, forged := publish(t, owner, 12), publish(t, thief, 12)
	met := boots(t, medium(owner, 1, state.Floor{}), good, trusted(day0), 2).Floor()
	j := medium(owner, 1, state.Floor{})
	boots(t, j, forged, trusted(after(1)), 2)
	if j.Raise(met, "the stick"); j.Store().Statement().Version != 1 {
		t.Errorf("at %d, %s, want the medium's own", j.Store().Statement().Version, j.Store().ID())
	}
	boots(t, j, good, trusted(day0), 2)
}

// A refusal says whose memory it is by.
func TestRefusalNamesWhoKnows(t *testing.T) {
	sim := newSim(t)
	s := publish(t, sim, 12)
	f := boots(t, medium(sim, 1, state.Floor{}), s, trusted(day0), 1).Floor()
	twin := f
	twin.SHA256 = object.ID{1}
	newer := f
	newer.Version = 13
	ahead := f
	ahead.Statement = 3
	ahead.StatementSHA256 = object.ID{}
	for _, f := range []state.Floor{twin, newer, ahead} {
		j := medium(sim, 1, state.Floor{})
		j.Raise(f, "partition /dev/sdb2")
		_, _, err := boot(t, j, s, trusted(day0))
		if err == nil || !strings.HasSuffix(err.Error(), ", by partition /dev/sdb2") || j.By() != "partition /dev/sdb2" {
			t.Errorf("%v", err)
		}
	}
}
