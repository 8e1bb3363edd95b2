package keys

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// Errors of ceremonies that callers turn into hints.
var (
	// ErrPending: signatures are missing; a request for them was written.
	ErrPending = errors.New("signatures are pending")
	// ErrTooFewKeys: the change would leave fewer keys in a role than must
	// sign. A replacement in the same statement mends it.
	ErrTooFewKeys = errors.New("too few keys")
	// ErrUnreachable: no statement that media in the field accept can do this.
	ErrUnreachable = errors.New("media in the field cannot follow")
	// ErrNoChange: the next statement would say what the newest says.
	ErrNoChange = errors.New("nothing would change")
)

// StandbyError: of those who could sign only a standby key is at hand, and
// nobody named it.
type StandbyError struct{ Fingerprint trust.Fingerprint }

func (e *StandbyError) Error() string {
	return fmt.Sprintf("no root key is at hand that can sign but the standby key %s, which signs only where it is named", e.Fingerprint)
}

// Role is what a key may sign: trust statements, or manifests.
type Role string

// The roles.
const (
	RoleRoot     Role = "root"
	RoleManifest Role = "manifest"
)

// ParseRole reads the name of a role.
func ParseRole(s string) (Role, error) {
	if r := Role(s); r == RoleRoot || r == RoleManifest {
		return r, nil
	}
	return "", fmt.Errorf("role %q: want %q or %q", s, RoleRoot, RoleManifest)
}

// Options say where a ceremony takes place and who takes part.
type Options struct {
	// Dir is the keys folder.
	Dir string
	// Project is the folder that is committed and packed; secret keys are kept
	// out of it. It may be empty, then only Dir and git work trees are.
	Project string
	// Secrets are the folders where secret keys are looked for, in order. Empty
	// means [DefaultSecrets].
	Secrets []string
	// NewSecrets is the folder for the secret parts of new keys. Empty means
	// that of the key which is replaced if it lies in one of Secrets, and
	// otherwise [DefaultSecrets]: a new manifest key does not get into the root
	// key's vault by the way. StandbySecrets is that of new standby keys; if
	// empty, the same holds for them.
	NewSecrets, StandbySecrets string
	// Signers sign, and then no other key that existed before does. Without any
	// those in Secrets do, as few as are needed, and never a standby key.
	Signers []SigningKey
	// Now is the present.
	Now time.Time
	// Passphrase unlocks secret keys; it is asked only for keys that sign.
	Passphrase Passphrase
	// NewPassphrase protects new keys; nil protects none.
	NewPassphrase Passphrase
	// Announce, if set, is told what the statement changes once nothing speaks
	// against it, before anybody signs.
	Announce func(changes []string)

	// otherwise is the folder for new keys that replace none at hand.
	otherwise string
	// before is for tests, see writer.
	before func()
}

// Outcome tells what a ceremony did.
type Outcome struct {
	// Version and Epoch are those of the new statement.
	Version int64 `json:"version"`
	Epoch   int64 `json:"epoch"`
	// File is where the statement lies: in the folder of statements, or, if
	// Pending, where [Collect] will look for it.
	File string `json:"file"`
	// Pending means that signatures are missing and the newest statement is
	// still the one before.
	Pending bool `json:"pending"`
	// Changes say what the statement changes, a line each.
	Changes []string `json:"changes"`
	// Made are the new keys.
	Made []NewKey `json:"made,omitzero"`
	// Signers have signed; any of Missing can still sign.
	Signers []trust.Fingerprint `json:"signers"`
	Missing []trust.Fingerprint `json:"missing,omitzero"`
	// Standby are those of Missing that are at hand, and were not named.
	Standby []trust.Fingerprint `json:"standby,omitzero"`
	// Warning says that the clock is wrong, or was when the statement before was
	// issued.
	Warning string `json:"warning,omitzero"`
}

// NewKey is a key that a ceremony made.
type NewKey struct {
	Role        Role              `json:"role"`
	Standby     bool              `json:"standby,omitzero"`
	Fingerprint trust.Fingerprint `json:"fingerprint"`
	// Secret is the file of the secret part, to be backed up.
	Secret string `json:"secret"`
}

// Apply makes the next statement: the newest with all changes in one. What a
// machine in the field would refuse is not written. Everything is written or
// nothing, whenever the program is interrupted; if too few keys that must sign
// are at hand, the statement is left pending, see [Outcome].
func Apply(o Options, changes ...Change) (Outcome, error) {
	if err := o.complete(); err != nil {
		return Outcome{}, err
	}
	unlock, err := lock(o.Dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return Outcome{}, fmt.Errorf("%w: there is no folder %s", ErrMissing, o.Dir)
	}
	if err != nil {
		return Outcome{}, err
	}
	defer unlock()
	s, err := Load(o.Dir)
	if err != nil {
		return Outcome{}, err
	}
	if err := s.free(); err != nil {
		return Outcome{}, err
	}
	d, err := newDraft(o, s, changes)
	if err != nil {
		return Outcome{}, err
	}
	if o.Announce != nil {
		o.Announce(differences(d.prev, d.next))
	}
	if err := d.sign(); err != nil {
		return Outcome{}, err
	}
	return d.write()
}

// complete fills in what was left empty and refuses places for secret keys.
func (o *Options) complete() error {
	dir, err := DefaultSecrets()
	if err != nil {
		return err
	}
	if len(o.Secrets) == 0 {
		o.Secrets = []string{dir}
	}
	o.otherwise = dir
	for _, dir := range append(slices.Clone(o.Secrets), o.NewSecrets, o.StandbySecrets) {
		if dir == "" {
			continue
		}
		if err := o.checkPlace(dir); err != nil {
			return err
		}
	}
	return nil
}

// checkPlace refuses a folder for secret keys that is committed or packed.
func (o *Options) checkPlace(dir string) error {
	if o.Project == "" {
		return checkPlace(dir, o.Dir)
	}
	return checkPlace(dir, o.Dir, o.Project)
}

// free refuses a ceremony while the next statement waits for signatures:
// of two statements with one number only one can come into force.
func (s *Set) free() error {
	if name := s.NextRequest(); exists(name) {
		return fmt.Errorf("%w: %s waits for signatures", ErrPending, name)
	}
	return nil
}

// NextRequest is where the next statement waits if it lacks signatures.
func (s *Set) NextRequest() string {
	return filepath.Join(s.Pending(), statementRequest(s.Newest().Version+1))
}

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
