package keys

import (
	"fmt"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

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

func (c Rotate) apply(d *draft) error {
	role := d.role(c.Role)
	old := c.Old
	if old == "" {
		var err error
		if old, err = d.only(c.Role); err != nil {
			return err
		}
	}
	if !slices.Contains(role.Keys, old) {
		return fmt.Errorf("key %s does not have the role %s", old, c.Role)
	}
	standby := d.standby(old)
	if !c.KeepOld {
		d.drop(c.Role, old)
	}
	return d.list(c.Role, c.NewKey, standby, old)
}

func (c Revoke) apply(d *draft) error {
	roles, err := d.set.history(c.Fingerprint)
	if err != nil {
		return err
	}
	if revokes(d.next, c.Fingerprint) {
		return fmt.Errorf("%w: key %s is revoked already", ErrNoChange, c.Fingerprint)
	}
	d.next.Revoked.Keys = append(d.next.Revoked.Keys, trust.RevokedKey{Fingerprint: c.Fingerprint, Reason: c.Reason, Since: d.Now})
	if slices.Contains(roles, RoleManifest) {
		d.next.Epoch = d.prev.Epoch + 1
	}
	standby := d.standby(c.Fingerprint)
	for _, role := range []Role{RoleRoot, RoleManifest} {
		if !slices.Contains(d.role(role).Keys, c.Fingerprint) {
			continue
		}
		d.drop(role, c.Fingerprint)
		if c.Replace || c.NewKey != "" {
			if err := d.list(role, c.NewKey, standby && role == RoleRoot, c.Fingerprint); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c RevokeObject) apply(d *draft) error {
	if _, ok := d.set.Store.Revokes(c.SHA256); ok {
		return fmt.Errorf("%w: object %s is revoked already", ErrNoChange, c.SHA256)
	}
	d.next.Revoked.Objects = append(d.next.Revoked.Objects, trust.RevokedObject{SHA256: c.SHA256, Reason: c.Reason, Since: d.Now})
	return nil
}

func (c SetThreshold) apply(d *draft) error {
	if c.Threshold < 1 {
		return fmt.Errorf("threshold %d: want at least 1", c.Threshold)
	}
	d.role(c.Role).Threshold = c.Threshold
	return nil
}

func (c AddKey) apply(d *draft) error {
	if c.Standby && (c.File != "" || c.Role != RoleRoot) {
		return fmt.Errorf("a standby key is a new key of role %s", RoleRoot)
	}
	return d.list(c.Role, c.File, c.Standby, "")
}

func (c Retire) apply(d *draft) error {
	before := len(d.next.Keys)
	d.drop(RoleRoot, c.Fingerprint)
	d.drop(RoleManifest, c.Fingerprint)
	if len(d.next.Keys) == before {
		return fmt.Errorf("key %s: trust statement %d does not list it", c.Fingerprint, d.prev.Version)
	}
	return nil
}

func (c Renew) apply(*draft) error { return nil }

// only returns the one key of a role that is no standby key.
func (d *draft) only(role Role) (trust.Fingerprint, error) {
	var found []string
	for _, fpr := range d.role(role).Keys {
		if !d.standby(fpr) {
			found = append(found, string(fpr))
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("role %s has %d keys beside standby keys; name the one that leaves: %s", role, len(found), strings.Join(found, ", "))
	}
	return trust.Fingerprint(found[0]), nil
}

// standby tells whether a key of the statement before is a standby key.
func (d *draft) standby(fpr trust.Fingerprint) bool {
	i := slices.IndexFunc(d.prev.Keys, func(k trust.Key) bool { return k.Fingerprint == fpr })
	return i >= 0 && isStandby(d.prev.Keys[i])
}

// drop takes a key out of a role, and out of the statement with its last role.
func (d *draft) drop(role Role, fpr trust.Fingerprint) {
	r := d.role(role)
	r.Keys = slices.DeleteFunc(r.Keys, func(f trust.Fingerprint) bool { return f == fpr })
	if !slices.Contains(d.next.Roles.Root.Keys, fpr) && !slices.Contains(d.next.Roles.Manifest.Keys, fpr) {
		d.next.Keys = slices.DeleteFunc(d.next.Keys, func(k trust.Key) bool { return k.Fingerprint == fpr })
	}
}

// list gives a role the key in a file, or a new one, in place of another or of
// none.
func (d *draft) list(role Role, file string, standby bool, replaces trust.Fingerprint) error {
	key, err := d.obtain(role, file, standby, replaces)
	if err != nil {
		return err
	}
	r := d.role(role)
	if slices.Contains(r.Keys, key.Fingerprint) {
		return fmt.Errorf("key %s has the role %s already", key.Fingerprint, role)
	}
	r.Keys = append(r.Keys, key.Fingerprint)
	if !slices.ContainsFunc(d.next.Keys, func(k trust.Key) bool { return k.Fingerprint == key.Fingerprint }) {
		d.next.Keys = append(d.next.Keys, key)
	}
	return nil
}

// obtain reads a public key or makes a new key.
func (d *draft) obtain(role Role, file string, standby bool, replaces trust.Fingerprint) (trust.Key, error) {
	if file != "" {
		return readPublic(file)
	}
	k, err := maker{product: d.next.Product, now: d.Now, ask: d.NewPassphrase}.newKey(role, standby)
	if err != nil {
		return trust.Key{}, err
	}
	k.replaces = replaces
	d.made = append(d.made, k)
	return k.public, d.checkPlace(d.place(k))
}

// history returns the roles that a key has or had. One that no statement lists
// is a slip of the pen.
func (s *Set) history(fpr trust.Fingerprint) ([]Role, error) {
	var roles []Role
	for _, store := range s.stores {
		st := store.Statement()
		for role, r := range map[Role]trust.Role{RoleRoot: st.Roles.Root, RoleManifest: st.Roles.Manifest} {
			if slices.Contains(r.Keys, fpr) && !slices.Contains(roles, role) {
				roles = append(roles, role)
			}
		}
	}
	if roles == nil {
		return nil, fmt.Errorf("key %s: no trust statement lists it", fpr)
	}
	return roles, nil
}

// ParseFingerprint reads a fingerprint as gpg shows it: 40 hexadecimal digits,
// in either case, with or without spaces.
func ParseFingerprint(s string) (trust.Fingerprint, error) {
	fpr := strings.ToUpper(strings.Join(strings.Fields(s), ""))
	if len(fpr) != 40 || strings.Trim(fpr, "0123456789ABCDEF") != "" {
		return "", fmt.Errorf("fingerprint %q: want 40 hexadecimal digits", s)
	}
	return trust.Fingerprint(fpr), nil
}
