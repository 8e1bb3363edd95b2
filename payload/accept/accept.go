// Package accept decides what of a site is believed: how far its chain of trust
// statements leads, whether its manifest is for this machine, not older than
// what was believed before and, where the time is known, not expired.
//
// Make a [Judge] with [New] from the statement that the medium carries. For each
// site call [Judge.Walk], then [Judge.Manifest], then [Judge.Document], which
// gives what this machine boots. [Accepted.Entry] is the way to an entry. The
// agent, "farboot publish" and "farboot verify" go through the same calls, so
// that nothing is published that machines would refuse.
//
// The package has no network, no disk, no clock and no memory: files come from a
// [Files], the time is an argument, and [Accepted.Floor] is for the caller to
// keep, see package state.
//
// # Versions
//
// A manifest has an epoch, which is its trust statement's, and within it a
// version. It is refused below the floor, at the floor with other bytes, and too
// far above it: a thief of a manifest key who signs the last version there is
// would otherwise shut out the owner for ever. The owner's answer to a theft is a
// statement that revokes the key and begins a new epoch, where versions count
// from 1 again.
//
// The floor is what some medium was built with or some machine has booted. A
// machine that remembers nothing and a medium that was never rebuilt accept
// whatever was genuine since then: see [ErrExpired] for the other bound.
package accept

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust"
)

// MaxJump is how far above the floor a version may lie in the same epoch. A
// publication every five minutes for three years makes 315,360.
const MaxJump = 1_000_000

var (
	// ErrRollback: older than what was believed before.
	ErrRollback = errors.New("rollback")
	// ErrEquivocation: the version that was believed before, of a manifest or a
	// trust statement, with other bytes.
	ErrEquivocation = errors.New("equivocation")
	// ErrFastForward: more than [MaxJump] versions above the floor.
	ErrFastForward = errors.New("fast-forward")
	// ErrExpired: the time is trusted, and manifest, statement or key are over.
	ErrExpired = errors.New("expired")
	// ErrNoTime: the medium requires a trusted time, and there is none.
	ErrNoTime = errors.New("no trusted time")
	// ErrRevoked: the trust statement revokes an object that would be run.
	ErrRevoked = errors.New("revoked")
)

// Files returns a file of a site, of at most max bytes. The error for one that
// is not there wraps [fs.ErrNotExist].
type Files func(ctx context.Context, name string, max int64) ([]byte, error)

// StatementFile is where a site keeps a trust statement; ".sig" is added for its
// signatures.
func StatementFile(version int64) string { return fmt.Sprintf("trust/%d.json", version) }

// Terms is what a manifest is held against.
type Terms struct {
	// Product, Arch and Channel must be equal.
	Product, Arch, Channel string
	// Floor is the lowest that is accepted, and By says who says so, for people:
	// "this medium".
	Floor state.Floor
	By    string
	// RequireTime refuses everything without a trusted time.
	RequireTime bool
}

// Judge judges sites, one after the other. It is for one goroutine. Genuine
// statements of one site count for the next ones, too: their signatures say all,
// not where they came from.
type Judge struct {
	// chain is what the walk came by, from the medium's statement on. It is
	// copied when it grows, so that clones do not meet in it.
	chain []*trust.Store
	terms Terms
}

// New returns a Judge that begins with what store believes.
func New(store *trust.Store, terms Terms) *Judge {
	return &Judge{chain: []*trust.Store{store}, terms: terms}
}

// Clone returns a Judge that believes what j does now and goes on by itself. So
// sites can be looked at in parallel, where a Judge is for one goroutine.
func (j *Judge) Clone() *Judge {
	c := *j
	return &c
}

// Store returns what the last good statement believes.
func (j *Judge) Store() *trust.Store { return j.chain[len(j.chain)-1] }

// first is the version of the statement that the walk began with.
func (j *Judge) first() int64 { return j.chain[0].Statement().Version }

// Floor returns the floor that holds.
func (j *Judge) Floor() state.Floor { return j.terms.Floor }

// By returns by whose word it holds, see [Terms].
func (j *Judge) By() string { return j.terms.By }

// Raise raises the floor to what was learned meanwhile, by is from whom. A
// statement that f knows with other bytes is forgotten, and those after it, but
// for the medium's own.
func (j *Judge) Raise(f state.Floor, by string) {
	raised := j.terms.Floor.Raise(f)
	if !raised.Equal(j.terms.Floor) {
		j.terms.Floor, j.terms.By = raised, by
	}
	for i, store := range j.chain {
		if i > 0 && j.forked(store) != nil {
			j.chain = j.chain[:i]
			return
		}
	}
}

// forked tells whether the floor knows the store's statement with other bytes. It
// is how a machine that has met the owner's statement N notices the one that a
// thief of a root key has put in its place. That of a lower number than the
// floor's it does not know any more, but whoever comes by there passes the
// floor's next.
func (j *Judge) forked(store *trust.Store) error {
	f, st := j.terms.Floor, store.Statement()
	if st.Version != f.Statement || f.StatementSHA256 == (object.ID{}) || f.StatementSHA256 == store.ID() {
		return nil
	}
	return fmt.Errorf("%w: trust statement %d has sha256 %s, before it had %s%s", ErrEquivocation, st.Version, store.ID(), f.StatementSHA256, j.by())
}

// by ends a message about the floor.
func (j *Judge) by() string {
	if j.terms.By == "" {
		return ""
	}
	return ", by " + j.terms.By
}

// Walk follows the site's trust statements as far as they go. Each good one
// counts, whatever comes of the one after it. The error tells why the walk ended
// before the chain did: errors of Files, those of [trust.Store.Advance], and
// [ErrEquivocation] for a statement that the floor knows with other bytes. More
// than [trust.MaxHops] statements, counted from where the Judge began, are
// [trust.ErrChain].
func (j *Judge) Walk(ctx context.Context, files Files) error {
	for {
		due := j.Store().Statement().Version + 1
		statement, sigs, err := pair(ctx, files, StatementFile(due), trust.MaxStatementSize)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("trust statement %d: %w", due, err)
		case due-j.first() > trust.MaxHops:
			return fmt.Errorf("trust statement %d: %w: more than %d statements after %d", due, trust.ErrChain, trust.MaxHops, j.first())
		}
		next, err := j.Store().Advance(statement, sigs)
		if err != nil {
			return err
		}
		if err := j.forked(next); err != nil {
			return err
		}
		j.chain = append(slices.Clip(j.chain), next)
	}
}

// Manifest returns the site's manifest if it is signed by who may, meant for
// these terms and of these days. Errors wrap those of this package, of Files,
// [trust.ErrUntrusted], [trust.ErrChain] where the manifest is of a later epoch
// than the statements, [manifest.ErrMalformed] and [manifest.ErrWrongProduct].
func (j *Judge) Manifest(ctx context.Context, files Files, now clock.Time) (*Accepted, error) {
	if st := j.Store().Statement(); st.Version < j.terms.Floor.Statement {
		return nil, fmt.Errorf("%w: the site's trust statements end at %d, %d was reached before%s",
			ErrRollback, st.Version, j.terms.Floor.Statement, j.by())
	}
	if err := j.forked(j.chain[0]); err != nil { // the medium's own
		return nil, err
	}
	a, err := j.read(ctx, files, manifest.File, "", now)
	if err != nil {
		return nil, err
	}
	f, m := j.terms.Floor, a.Manifest
	if m.Epoch == f.Epoch && m.Version == f.Version && a.SHA256 != f.SHA256 {
		return nil, fmt.Errorf("%w: version %d has sha256 %s, before it had %s%s", ErrEquivocation, f.Version, a.SHA256, f.SHA256, j.by())
	}
	return a, nil
}

// Document returns what the machine id boots: its own document where the site's
// manifest says that there are such, otherwise, and where there is none for this
// machine, the manifest itself. A document is judged as the manifest is, must
// not be older than it, and must be for this machine.
//
// That there is no document is the site's word alone. Whoever can answer in its
// place can hide one, and the machine gets the manifest's default.
func (j *Judge) Document(ctx context.Context, files Files, now clock.Time, site *Accepted, id manifest.Identity) (*Accepted, error) {
	if !site.Manifest.Documents {
		return site, nil
	}
	for _, name := range manifest.DocumentIDs(id) {
		doc, err := j.read(ctx, files, manifest.DocumentPath(name), name, now)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fmt.Errorf("document %s: %w", name, err)
		case doc.Manifest.Version < site.Manifest.Version:
			return nil, fmt.Errorf("document %s: %w: version %d, the manifest has %d",
				name, ErrRollback, doc.Manifest.Version, site.Manifest.Version)
		case len(doc.Manifest.Select(id)) == 0:
			return nil, fmt.Errorf("document %s: %w: its machine is another one", name, manifest.ErrWrongProduct)
		}
		doc.floor = site.floor
		return doc, nil
	}
	return site, nil
}
