package keys

import (
	"errors"
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// Errors of ceremonies that callers turn into hints.
var (
	// ErrPending: signatures are missing; a request for them was written.
	ErrPending = errors.New("signatures are pending")
	// ErrTooFewKeys: the change would leave fewer keys in a role than must
	// sign. A replacement in the same statement mends it.
	ErrTooFewKeys = errors.New("too few keys would be left")
	// ErrUnreachable: no statement that media in the field accept can do this.
	ErrUnreachable = errors.New("media in the field cannot follow")
	// ErrNoChange: the next statement would say what the newest says.
	ErrNoChange = errors.New("nothing would change")

	errUnfinished = errors.New("not written yet")
)

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
	// Secrets are the folders where secret keys are looked for, in order. New
	// ones go to the first. Empty means [DefaultSecrets].
	Secrets []string
	// StandbySecrets is the folder for the secret part of a new standby key;
	// empty for the first of Secrets.
	StandbySecrets string
	// Signers sign in any case, before secret keys are looked for.
	Signers []SigningKey
	// Now is the present.
	Now time.Time
	// Passphrase unlocks secret keys; it is asked only for keys that sign.
	Passphrase Passphrase
	// NewPassphrase protects new keys; nil protects none.
	NewPassphrase Passphrase
}

// Change is one thing that the next statement says differently: [Rotate],
// [Revoke], [RevokeObject], [SetThreshold], [AddKey], [Retire] or [Renew].
type Change interface {
	apply(d *draft) error
}

// Rotate has a new key take over in a role.
type Rotate struct {
	Role Role
	// Old leaves the role. It may be empty if the role has only one key beside
	// standby keys.
	Old trust.Fingerprint
	// NewKey is the file of a public key, armored or binary, whose secret part
	// somebody else keeps: gpg, a smartcard. Empty makes a new key here. A key
	// that replaces a standby key is a standby key.
	NewKey string
	// KeepOld lets both be listed, until [Retire] ends the overlap.
	KeepOld bool
}

// Revoke says for ever that a key is not to be believed: it leaves every role,
// and signatures of its own count no more, not even for this statement. The
// epoch rises if it was a manifest key.
type Revoke struct {
	Fingerprint trust.Fingerprint
	// Reason is for people: "stolen".
	Reason string
	// Replace puts a new key in its place; NewKey is as in [Rotate], and
	// implies it. Without, a role that then has fewer keys than must sign is
	// [ErrTooFewKeys].
	Replace bool
	NewKey  string
}

// RevokeObject says for ever that an object is not to be booted.
type RevokeObject struct {
	SHA256 object.ID
	Reason string
}

// SetThreshold sets how many keys of a role must sign.
type SetThreshold struct {
	Role      Role
	Threshold int
}

// AddKey lists one more key for a role: the public key in File, armored or
// binary, or a new one if File is empty.
type AddKey struct {
	Role Role
	File string
	// Standby makes the new key a standby key. With File it is an error.
	Standby bool
}

// Retire takes a key out of its roles without revoking it.
type Retire struct{ Fingerprint trust.Fingerprint }

// Renew changes the dates only.
type Renew struct{}

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
	return Outcome{}, errUnfinished
}

// draft is a statement in the making.
type draft struct {
	Options
	next trust.Statement
}

func (c Rotate) apply(d *draft) error       { return errUnfinished }
func (c Revoke) apply(d *draft) error       { return errUnfinished }
func (c RevokeObject) apply(d *draft) error { return errUnfinished }
func (c SetThreshold) apply(d *draft) error { return errUnfinished }
func (c AddKey) apply(d *draft) error       { return errUnfinished }
func (c Retire) apply(d *draft) error       { return errUnfinished }
func (c Renew) apply(d *draft) error        { return nil }
