package state

import (
	"errors"
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/object"
)

// Floor is the lowest that is accepted: what lies below it is older than
// something that was already believed. The zero Floor accepts everything.
type Floor struct {
	// Statement is the version of the trust statement that was reached.
	Statement int64 `json:"statement,omitzero"`
	// Epoch and Version are those of the newest manifest, SHA256 its bytes',
	// by which another one of the same version is told from it. All three are
	// zero where no manifest was seen.
	Epoch   int64     `json:"epoch,omitzero"`
	Version int64     `json:"version,omitzero"`
	SHA256  object.ID `json:"sha256,omitzero"`
	// Issued is the latest date of a manifest of this Epoch, to the second: a
	// clock that shows less is wrong.
	Issued time.Time `json:"issued,omitzero"`
}

// Bounds of Issued. A clock in nanoseconds, which the kernel is set by, ends in
// 2262.
var (
	earliest = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Raise returns f raised to g: the higher statement, and the manifest with the
// higher epoch or, in the same one, the higher version. At the same epoch and
// version f's hash stays. A higher epoch brings its own Issued, even an earlier
// one: epochs rise because somebody stole a key, and what the thief dated into
// the future must not stay, just as his version does not.
func (f Floor) Raise(g Floor) Floor {
	f.Statement = max(f.Statement, g.Statement)
	switch {
	case g.Epoch > f.Epoch:
		g.Statement = f.Statement
		return g
	case g.Epoch < f.Epoch:
		return f
	case g.Version > f.Version || g.Version == f.Version && f.SHA256 == (object.ID{}):
		f.Version, f.SHA256 = g.Version, g.SHA256
	}
	if g.Issued.After(f.Issued) {
		f.Issued = g.Issued
	}
	return f
}

// manifest returns which manifest f names.
func (f Floor) manifest() Floor { return Floor{Epoch: f.Epoch, Version: f.Version, SHA256: f.SHA256} }

// Equal tells whether both are the same floor.
func (f Floor) Equal(g Floor) bool {
	same := f.Issued.Equal(g.Issued)
	f.Issued, g.Issued = time.Time{}, time.Time{}
	return same && f == g
}

// String names the floor in messages: "statement 2, manifest 1.14", which is
// epoch and version.
func (f Floor) String() string {
	return fmt.Sprintf("statement %d, manifest %d.%d", f.Statement, f.Epoch, f.Version)
}

// Check tells what no Floor can be: below zero, a manifest without epoch,
// version or hash, or a date outside of 2000 to 2199.
func (f Floor) Check() error {
	manifest := f.Version != 0
	switch {
	case f.Statement < 0 || f.Epoch < 0 || f.Version < 0:
		return fmt.Errorf("floor: statement %d, epoch %d, version %d: below zero", f.Statement, f.Epoch, f.Version)
	case manifest != (f.Epoch != 0) || manifest != (f.SHA256 != object.ID{}):
		return errors.New("floor: epoch, version and sha256 of a manifest belong together")
	case !f.Issued.IsZero() && (!manifest || f.Issued.Before(earliest) || !f.Issued.Before(latest)):
		return fmt.Errorf("floor: issued %s, want a date of 2000 to 2199 beside a version", f.Issued.UTC().Format(time.RFC3339))
	}
	return nil
}
