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
	// StatementSHA256 is that of its bytes, by which another one of the same
	// version is told from it; zero where only the version is known.
	//
	// It is a trade. Who holds a stolen root key can sign a second chain, and a
	// machine follows whichever it meets first, see package trust. One that met
	// the owner's stays with it, and one that met the thief's stays with that: it
	// refuses the owner's until its memory is erased or its medium carries a later
	// statement. Without the hash it would change sides with each answer, and the
	// thief could still shut the owner out, by a chain that is longer.
	StatementSHA256 object.ID `json:"statement_sha256,omitzero"`
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
// higher epoch or, in the same one, the higher version. At the same statement, and
// at the same epoch and version, f's hash stays if it has one. A higher epoch brings its own Issued, even an earlier
// one: epochs rise because somebody stole a key, and what the thief dated into
// the future must not stay, just as his version does not.
func (f Floor) Raise(g Floor) Floor {
	if g.Statement > f.Statement || g.Statement == f.Statement && f.StatementSHA256 == (object.ID{}) {
		f.Statement, f.StatementSHA256 = g.Statement, g.StatementSHA256
	}
	switch {
	case g.Epoch > f.Epoch:
		g.Statement, g.StatementSHA256 = f.Statement, f.StatementSHA256
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

// Check tells what no Floor can be: below zero, a hash of no statement, a manifest
// without epoch, version or hash, an epoch above the statement's number, which no
// chain has, since both begin at 1 and a statement raises the epoch by 1 at most,
// or a date outside of 2000 to 2199.
func (f Floor) Check() error {
	manifest := f.Version != 0
	switch {
	case f.Statement < 0 || f.Epoch < 0 || f.Version < 0:
		return fmt.Errorf("floor: statement %d, epoch %d, version %d: below zero", f.Statement, f.Epoch, f.Version)
	case f.Statement == 0 && f.StatementSHA256 != object.ID{}:
		return errors.New("floor: a hash of no trust statement")
	case f.Epoch > f.Statement:
		return fmt.Errorf("floor: epoch %d by trust statement %d, which has epoch %d at most", f.Epoch, f.Statement, f.Statement)
	case manifest != (f.Epoch != 0) || manifest != (f.SHA256 != object.ID{}):
		return errors.New("floor: epoch, version and sha256 of a manifest belong together")
	case !f.Issued.IsZero() && (!manifest || f.Issued.Before(earliest) || !f.Issued.Before(latest)):
		return fmt.Errorf("floor: issued %s, want a date of 2000 to 2199 beside a version", f.Issued.UTC().Format(time.RFC3339))
	}
	return nil
}
