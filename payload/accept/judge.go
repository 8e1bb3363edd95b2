package accept

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust"
)

// skew is how far ahead of a trusted time the dates of a signer may lie without a
// word about it. A desk whose clock takes local time for UTC is up to 14 hours off.
const skew = 24 * time.Hour

// Accepted is a manifest, or a document for one machine, that a [Judge] let
// through.
type Accepted struct {
	Manifest *manifest.Manifest
	SHA256   object.ID
	// Signers are the primary keys whose signatures count, sorted.
	Signers []trust.Fingerprint
	// Statement is the version of the trust statement that it was judged by.
	Statement int64
	// Doubts say, one line each, what was not verified because the time is not
	// trusted; where it is, what is dated ahead of it by more than a day.
	Doubts []string

	store *trust.Store
	floor state.Floor
}

// Floor is what the caller's floor should be raised to before something of this
// is run.
func (a *Accepted) Floor() state.Floor { return a.floor }

// Entry returns an entry by its name. One that needs an object that the trust
// statement revokes is an error that wraps [ErrRevoked].
func (a *Accepted) Entry(name string) (manifest.Entry, error) {
	e, ok := a.Manifest.Entries[name]
	if !ok {
		return manifest.Entry{}, fmt.Errorf("%w: there is no entry %q", manifest.ErrMalformed, name)
	}
	for _, ref := range e.Refs() {
		if err := refuseRevoked(a.store, ref.SHA256); err != nil {
			return manifest.Entry{}, err
		}
	}
	return e, nil
}

// Object returns an object that the manifest names, by the name of one of its
// files or by SHA-256. One that the trust statement revokes is an error that
// wraps [ErrRevoked].
func (a *Accepted) Object(name string) (object.Ref, error) {
	ref, ok := a.Manifest.Object(name)
	if !ok {
		return object.Ref{}, fmt.Errorf("%w: it names no object %q", manifest.ErrMalformed, name)
	}
	if err := refuseRevoked(a.store, ref.SHA256); err != nil {
		return object.Ref{}, err
	}
	return ref, nil
}

// refuseRevoked returns an error if the store revokes the object.
func refuseRevoked(store *trust.Store, id object.ID) error {
	if r, ok := store.Revokes(id); ok {
		return fmt.Errorf("%w: object %s, since %s: %s", ErrRevoked, id, day(r.Since), r.Reason)
	}
	return nil
}

// read fetches and judges one signed file. Its document id must be the given
// one, so that no file can stand in another's place.
func (j *Judge) read(ctx context.Context, files Files, name, document string, now clock.Time) (*Accepted, error) {
	data, sigs, err := pair(ctx, files, name, manifest.MaxSize)
	if err != nil {
		return nil, err
	}
	v, err := j.open(data, sigs, now)
	if err != nil {
		return nil, err
	}
	m, err := manifest.Decode(v)
	if err != nil {
		return nil, err
	}
	if err := m.Suits(j.terms.Product, j.terms.Arch, j.terms.Channel); err != nil {
		return nil, err
	}
	if m.Document != document {
		return nil, fmt.Errorf("%w: %s is in the place of %s", manifest.ErrWrongProduct,
			cmp.Or(m.Document, "the site's manifest"), cmp.Or(document, "the site's manifest"))
	}
	return j.accept(v, m, now)
}

// pair reads a file and its signatures. Signatures that are not there make the
// file an unsigned one, not a missing one.
func pair(ctx context.Context, files Files, name string, max int64) (data, sigs []byte, err error) {
	if data, err = files(ctx, name, max); err != nil {
		return nil, nil, err
	}
	sigs, err = files(ctx, name+".sig", trust.MaxSignatureSize)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: not signed: %v", trust.ErrUntrusted, err)
	}
	return data, sigs, err
}

// open looks at the signatures as of now and, where that leaves doubts, as of
// the latest time that now could be: ahead of a trusted time by the signers'
// skew, unless something runs out until then, or as late as a clock that nobody
// vouches for must be, if what is signed is genuine.
func (j *Judge) open(data, sigs []byte, now clock.Time) (trust.Verified, error) {
	store := j.Store()
	v, err := store.Open(trust.PurposeManifest, data, sigs, now.Now)
	if err != nil || len(v.Doubts()) == 0 || now.Trusted && len(v.Expired()) > 0 {
		return v, err
	}
	later := now.Now.Add(skew)
	if !now.Trusted {
		for _, t := range []time.Time{v.SignedAt(), store.Statement().Issued} {
			if t = t.Add(skew); t.After(later) {
				later = t
			}
		}
	}
	w, err := store.Open(trust.PurposeManifest, data, sigs, later)
	if err != nil || len(w.Expired()) == 0 || !now.Trusted {
		return w, err
	}
	return v, nil
}

// accept judges by floor, revocation and time what is genuine and meant for
// these terms.
func (j *Judge) accept(v trust.Verified, m *manifest.Manifest, now clock.Time) (*Accepted, error) {
	st := j.Store().Statement()
	if err := j.checkVersion(m, st); err != nil {
		return nil, err
	}
	a := &Accepted{
		Manifest: m, SHA256: object.OfBytes(v.Bytes()).SHA256, Signers: v.Signers(), Statement: st.Version, store: j.Store(),
	}
	seen := state.Floor{Statement: st.Version, StatementSHA256: j.Store().ID(), Epoch: m.Epoch, Version: m.Version, SHA256: a.SHA256, Issued: m.Issued}
	if err := seen.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", manifest.ErrMalformed, err)
	}
	a.floor = j.terms.Floor.Raise(seen)
	if err := refuseRevoked(j.Store(), a.SHA256); err != nil {
		return nil, err
	}
	switch {
	case now.Trusted:
		if err := checkTime(v, m, now); err != nil {
			return nil, err
		}
		a.Doubts = v.Doubts()
	case j.terms.RequireTime:
		return nil, fmt.Errorf("%w: the medium requires one, the clock says %s (%s)", ErrNoTime, day(now.Now), now.Source)
	default:
		a.Doubts = doubts(v, m, st, now)
	}
	return a, nil
}

// checkVersion compares epoch and version with the statement's and the floor's.
func (j *Judge) checkVersion(m *manifest.Manifest, st trust.Statement) error {
	f := j.terms.Floor
	var least int64
	if m.Epoch == f.Epoch {
		least = f.Version
	}
	switch {
	case m.Epoch > st.Epoch:
		return fmt.Errorf("%w: the manifest is of epoch %d, the trust statements end at %d with epoch %d",
			trust.ErrChain, m.Epoch, st.Version, st.Epoch)
	case m.Epoch < st.Epoch:
		return fmt.Errorf("%w: the manifest is of epoch %d, trust statement %d of epoch %d", ErrRollback, m.Epoch, st.Version, st.Epoch)
	case m.Epoch < f.Epoch:
		return fmt.Errorf("%w: the manifest is of epoch %d, one of %d was accepted before%s", ErrRollback, m.Epoch, f.Epoch, j.by())
	case m.Version < least:
		return fmt.Errorf("%w: version %d, %d was accepted before%s", ErrRollback, m.Version, least, j.by())
	case m.Version-least > MaxJump:
		return fmt.Errorf("%w: version %d is more than %d above %d", ErrFastForward, m.Version, MaxJump, least)
	}
	return nil
}

// checkTime holds a manifest against a trusted time. What is dated ahead of it was
// signed by a wrong clock, and is no reason to refuse: TUF does not ask for it
// either, and no statement to come could mend a date that is in the chain.
func checkTime(v trust.Verified, m *manifest.Manifest, now clock.Time) error {
	list := v.Expired()
	if now.Now.After(m.Expires) {
		list = append(list, "the manifest expired on "+day(m.Expires))
	}
	if len(list) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s; it is %s by %s", ErrExpired, strings.Join(list, "; "), day(now.Now), now.Source)
}

// doubts says what nobody could check, and what a clock that nobody vouches for
// objects to.
func doubts(v trust.Verified, m *manifest.Manifest, st trust.Statement, now clock.Time) []string {
	list := []string{fmt.Sprintf("expiry of the manifest, %s, and of trust statement %d, %s", day(m.Expires), st.Version, day(st.Expires))}
	if now.Now.After(m.Expires) {
		list = append(list, "by this clock, the manifest expired on "+day(m.Expires))
	}
	for _, d := range v.Doubts() {
		list = append(list, "by this clock, "+d)
	}
	return list
}

// day prints a date for people.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }
