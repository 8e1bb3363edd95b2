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

// Begin loads the keys folder at dir for a ceremony. Until end is called no other
// run can change it; one that tries gets an error.
func Begin(dir string) (s *Set, end func(), err error) {
	unlock, err := lock(dir, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: there is no folder %s", ErrMissing, dir)
	}
	if err != nil {
		return nil, nil, err
	}
	if s, err = Load(dir); err != nil {
		unlock()
		return nil, nil, err
	}
	return s, unlock, nil
}

// Apply is [Set.Apply] for the folder o.Dir.
func Apply(o Options, changes ...Change) (Outcome, error) {
	s, end, err := Begin(o.Dir)
	if err != nil {
		return Outcome{}, err
	}
	defer end()
	return s.Apply(o, changes...)
}

// Apply makes the next statement: the newest with all changes in one. What a
// machine in the field would refuse is not written. Everything is written or
// nothing, whenever the program is interrupted; if too few keys that must sign
// are at hand, the statement is left pending, see [Outcome]. The Set is one that
// [Begin] returned, and is that of the statement before from then on.
func (s *Set) Apply(o Options, changes ...Change) (Outcome, error) {
	o.Dir = s.Dir
	if err := o.complete(); err != nil {
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
