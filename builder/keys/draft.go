package keys

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// draft is a statement in the making.
type draft struct {
	Options
	set  *Set
	prev trust.Statement
	next trust.Statement
	made []secretKey
	// warning is for who looks on.
	warning string
	// resting are standby keys at hand that would help.
	resting []trust.Fingerprint
	// data is the finished statement.
	data []byte
	ballot
}

// newDraft returns the statement that the changes make of the newest one. It is
// not dated before that one, which machines would refuse: a clock that once was
// ahead must not stop the chain for as long.
func newDraft(o Options, s *Set, changes []Change) (*draft, error) {
	prev := s.Store.Statement()
	var warning string
	if o.Now.Before(prev.Issued) {
		warning = fmt.Sprintf("the clock says %s, but trust statement %d was issued on %s; that becomes the date of this one",
			o.Now.UTC().Format(time.RFC3339), prev.Version, prev.Issued.Format(time.RFC3339))
		o.Now = prev.Issued
	}
	d := &draft{Options: o, set: s, prev: prev, next: s.Store.Statement(), warning: warning}
	d.next.Version++
	d.next.Issued, d.next.Expires = o.Now, o.Now.AddDate(statementYears, 0, 0)
	for _, c := range changes {
		if err := c.apply(d); err != nil {
			return nil, err
		}
	}
	if err := d.check(changes); err != nil {
		return nil, err
	}
	var err error
	d.data, err = trust.EncodeStatement(d.next)
	return d, err
}

// check refuses a statement that cannot work, before somebody signs it.
func (d *draft) check(changes []Change) error {
	for _, role := range []Role{RoleRoot, RoleManifest} {
		if r := d.role(role); len(r.Keys) < r.Threshold {
			return fmt.Errorf("%w: %d must sign, but %s would have %s", ErrTooFewKeys, r.Threshold, role, count(len(r.Keys), "key"))
		}
	}
	able := 0
	for _, fpr := range d.prev.Roles.Root.Keys {
		if !revokes(d.next, fpr) {
			able++
		}
	}
	if need := d.prev.Roles.Root.Threshold; able < need {
		return fmt.Errorf("%w: %d root keys must sign, and %d would be left that are not revoked; a key that is retired can still sign for it",
			ErrUnreachable, need, able)
	}
	renew := slices.ContainsFunc(changes, func(c Change) bool { _, ok := c.(Renew); return ok })
	if !renew && len(differences(d.prev, d.next)) == 0 {
		return fmt.Errorf("%w: trust statement %d says so already", ErrNoChange, d.prev.Version)
	}
	return nil
}

// role returns a role of the next statement.
func (d *draft) role(r Role) *trust.Role {
	if r == RoleRoot {
		return &d.next.Roles.Root
	}
	return &d.next.Roles.Manifest
}

// revokes tells whether a statement revokes a key.
func revokes(st trust.Statement, fpr trust.Fingerprint) bool {
	return slices.ContainsFunc(st.Revoked.Keys, func(k trust.RevokedKey) bool { return k.Fingerprint == fpr })
}

// count words a number of things.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// sign collects signatures: by those named and by new keys, or by as few keys as
// are needed, first those that both statements list.
func (d *draft) sign() error {
	d.ballot = newBallot(d.prev, d.next)
	for _, k := range d.Signers {
		if !slices.Contains(d.able, k.Fingerprint) {
			return fmt.Errorf("%s: key %s is no root key of trust statement %d or %d", k.Where, k.Fingerprint, d.prev.Version, d.next.Version)
		}
		if err := d.add(k); err != nil {
			return err
		}
	}
	for _, fpr := range d.able {
		if !d.helps(fpr) {
			continue
		}
		k, err := d.find(fpr)
		if err != nil {
			return err
		}
		if k.sign == nil {
			continue
		}
		if d.listed(fpr) && d.standby(fpr) {
			d.resting = append(d.resting, fpr)
			continue
		}
		if err := d.add(k); err != nil {
			return err
		}
	}
	d.resting = slices.DeleteFunc(d.resting, func(fpr trust.Fingerprint) bool { return !d.helps(fpr) })
	if len(d.resting) > 0 && !slices.ContainsFunc(d.signers(), d.listed) {
		return &StandbyError{d.resting[0]}
	}
	return nil
}

// listed tells whether a key is one of the statement before.
func (d *draft) listed(fpr trust.Fingerprint) bool {
	return slices.ContainsFunc(d.prev.Keys, func(k trust.Key) bool { return k.Fingerprint == fpr })
}

// add signs with k.
func (d *draft) add(k SigningKey) error {
	sig, err := k.Sign(trust.PurposeStatement, d.data, d.Now)
	if err != nil {
		return err
	}
	d.count(k.Fingerprint, sig)
	return nil
}

// find returns the key if its secret part is at hand: new, or in a folder, which
// nobody looks into where signers are named.
func (d *draft) find(fpr trust.Fingerprint) (SigningKey, error) {
	for _, k := range d.made {
		if k.public.Fingerprint == fpr {
			return signingKey(k.entity, "new"), nil
		}
	}
	if len(d.Signers) > 0 {
		return SigningKey{}, nil
	}
	return findKey(fpr, d.Secrets, d.Passphrase)
}

// write puts the statement in force, or leaves it pending.
func (d *draft) write() (Outcome, error) {
	doc := Document{Version: d.next.Version, Statement: d.data, Signature: d.sigs()}
	out := Outcome{
		Version: d.next.Version, Epoch: d.next.Epoch, File: filepath.Join(d.Dir, doc.Path()),
		Changes: differences(d.prev, d.next), Signers: d.signers(), Pending: !d.done(), Warning: d.warning, Standby: d.resting,
	}
	if d.done() {
		if err := d.set.accepts(doc); err != nil {
			return Outcome{}, err
		}
	}
	w := &writer{before: d.before}
	if d.set.Unfinished {
		if err := d.set.settle(w, d.prev); err != nil {
			return Outcome{}, err
		}
	}
	for _, k := range d.made {
		name := w.secret(k, d.place(k))
		out.Made = append(out.Made, NewKey{Role: k.role, Standby: k.standby, Fingerprint: k.public.Fingerprint, Secret: name})
	}
	var err error
	if d.done() {
		err = d.set.install(w, doc, d.next)
	} else {
		out.Missing = d.missing()
		out.File, err = d.leave(w)
	}
	if err != nil {
		return Outcome{}, err
	}
	return out, nil
}

// place returns the folder for the secret part of a new key.
func (d *draft) place(k secretKey) string {
	if k.standby && d.StandbySecrets != "" {
		return d.StandbySecrets
	}
	if d.NewSecrets != "" {
		return d.NewSecrets
	}
	for _, dir := range d.Secrets {
		if k.replaces != "" && exists(secretName(dir, k.replaces)) {
			return dir
		}
	}
	return d.otherwise
}

// leave writes the statement as a request, with the signatures there are.
func (d *draft) leave(w *writer) (string, error) {
	r, err := d.set.describe(trust.PurposeStatement, d.data)
	if err != nil {
		return "", errors.Join(err, w.undo())
	}
	r.ballot = d.ballot
	r.write(w, d.set.Pending())
	for fpr, sig := range d.have {
		w.file(signatureName(r.File, fpr), sig, 0o644)
	}
	if w.err != nil {
		return "", errors.Join(w.err, w.undo())
	}
	return r.File, nil
}

// accepts tells what a machine would have against a statement: one that comes
// from the statement before, or one whose medium begins with this one.
func (s *Set) accepts(doc Document) error {
	if _, err := s.Store.Advance(doc.Statement, doc.Signature); err != nil {
		return err
	}
	_, err := trust.Anchor(doc.Statement, doc.Signature)
	return err
}
