package keys

import (
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/farboot/farboot/payload/trust"
)

// Report is the state of a keys folder, for people.
type Report struct {
	Product string    `json:"product"`
	Version int64     `json:"version"`
	Epoch   int64     `json:"epoch"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	// Roles are root, then manifest.
	Roles      []RoleReport      `json:"roles"`
	Statements []StatementReport `json:"statements"`
	Revoked    trust.Revoked     `json:"revoked,omitzero"`
	// Pending are requests that wait for signatures.
	Pending []Collected `json:"pending,omitzero"`
	// Warnings say, a line each, what will go wrong and what to do.
	Warnings []string `json:"warnings,omitzero"`
}

// RoleReport is one role of the newest statement.
type RoleReport struct {
	Role      Role        `json:"role"`
	Threshold int         `json:"threshold"`
	Keys      []KeyReport `json:"keys"`
}

// KeyReport is one key of a role.
type KeyReport struct {
	Fingerprint trust.Fingerprint `json:"fingerprint"`
	// Name is the key's user id: "farboot root key (demo)".
	Name    string    `json:"name"`
	Standby bool      `json:"standby,omitzero"`
	Made    time.Time `json:"made"`
	// Expires is the key's own end; zero for none.
	Expires time.Time `json:"expires,omitzero"`
	// Secret is where secret parts are at hand: key files, or "gpg".
	Secret []string `json:"secret,omitzero"`
}

// StatementReport tells who signed a statement.
type StatementReport struct {
	Version int64               `json:"version"`
	Epoch   int64               `json:"epoch"`
	Issued  time.Time           `json:"issued"`
	Expires time.Time           `json:"expires"`
	Signers []trust.Fingerprint `json:"signers"`
}

// Report looks at the set, and for secret keys in the folders and in gpg.
func (s *Set) Report(secrets []string, now time.Time) (Report, error) {
	st := s.Store.Statement()
	r := Report{
		Product: st.Product, Version: st.Version, Epoch: st.Epoch, Issued: st.Issued, Expires: st.Expires,
		Statements: s.statements(), Revoked: st.Revoked,
	}
	held := gpgSecrets()
	for _, role := range []Role{RoleRoot, RoleManifest} {
		rr := RoleReport{Role: role, Threshold: roleOf(st, role).Threshold}
		for _, fpr := range roleOf(st, role).Keys {
			i := slices.IndexFunc(st.Keys, func(k trust.Key) bool { return k.Fingerprint == fpr })
			k, err := keyReport(st.Keys[i], now)
			if err != nil {
				return Report{}, err
			}
			for _, dir := range secrets {
				if name := secretName(dir, fpr); exists(name) {
					k.Secret = append(k.Secret, name)
				}
			}
			if held[fpr] {
				k.Secret = append(k.Secret, inGPG)
			}
			rr.Keys = append(rr.Keys, k)
		}
		r.Roles = append(r.Roles, rr)
	}
	r.Warnings = r.warnings(now)
	if len(s.Chain) == 0 {
		return r, nil // the statement of a medium, with no folder around it
	}
	var err error
	if r.Pending, err = s.waiting(now); err != nil {
		return Report{}, err
	}
	published, err := LoadPublished(s.Dir)
	if err != nil {
		return Report{}, err
	}
	r.Warnings = append(r.Warnings, published.warnings(now)...)
	if s.Unfinished {
		r.Warnings = append(r.Warnings, "an earlier run was interrupted; what is in force is whole, and the next change of keys tidies up")
	}
	return r, nil
}

// waiting counts the signatures of what waits for more.
func (s *Set) waiting(now time.Time) ([]Collected, error) {
	if !exists(s.Pending()) {
		return nil, nil
	}
	files, err := requestFiles(s.Pending())
	if err != nil {
		return nil, err
	}
	var list []Collected
	for _, file := range files {
		c, err := s.tally(file, nil, now)
		if err != nil {
			return nil, err
		}
		list = append(list, c)
	}
	return list, nil
}

// statements tells who signed each statement: root keys of the one before, and
// its own.
func (s *Set) statements() []StatementReport {
	var list []StatementReport
	for i, doc := range s.Chain {
		st := s.stores[i].Statement()
		r := StatementReport{Version: st.Version, Epoch: st.Epoch, Issued: st.Issued, Expires: st.Expires}
		for _, store := range s.stores[max(i-1, 0) : i+1] {
			// Load has verified all of them.
			v, err := store.Open(trust.PurposeStatement, doc.Statement, doc.Signature, time.Time{})
			if err == nil {
				r.Signers = append(r.Signers, v.Signers()...)
			}
		}
		slices.Sort(r.Signers)
		r.Signers = slices.Compact(r.Signers)
		list = append(list, r)
	}
	return list
}

// keyReport says what a key says of itself.
func keyReport(k trust.Key, now time.Time) (KeyReport, error) {
	r := KeyReport{Fingerprint: k.Fingerprint, Name: userID(k), Standby: isStandby(k)}
	entity, err := entityOf(k)
	if err != nil {
		return KeyReport{}, fmt.Errorf("key %s: %w", k.Fingerprint, err)
	}
	r.Made = entity.PrimaryKey.CreationTime.UTC()
	self, err := entity.PrimarySelfSignature(time.Time{}, nil)
	if err != nil {
		return KeyReport{}, fmt.Errorf("key %s: %w", k.Fingerprint, err)
	}
	if self.KeyLifetimeSecs != nil && *self.KeyLifetimeSecs > 0 {
		r.Expires = r.Made.Add(time.Duration(*self.KeyLifetimeSecs) * time.Second)
	}
	return r, nil
}

// warnings tells what will go wrong.
func (r Report) warnings(now time.Time) []string {
	var list []string
	say := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if w := ends(r.Expires, now, soon); w != "" {
		say("trust statement %d %s; make the next one", r.Version, w)
	}
	if hops := r.Version - trust.MaxHops; hops > 1 {
		say("media with trust statement %d or older are too far behind to follow", hops-1)
	}
	// Manifest keys need no spare: the root keys replace them.
	switch root := r.Roles[0]; len(root.Keys) {
	case 1:
		say("role root has one key only: if it is lost, no statement can follow")
	case root.Threshold:
		say("role root has no spare key: all %d must sign", root.Threshold)
	}
	seen := map[trust.Fingerprint]bool{}
	for _, role := range r.Roles {
		for _, k := range role.Keys {
			if w := ends(k.Expires, now, soon); w != "" && !seen[k.Fingerprint] {
				say("key %s %s; rotate it", k.Fingerprint, w)
			}
			seen[k.Fingerprint] = true
		}
	}
	return append(list, r.together()...)
}

// together finds standby keys whose secret part lies beside another root key's:
// who steals one then has both.
func (r Report) together() []string {
	var list []string
	folders := map[string]bool{}
	for _, k := range r.Roles[0].Keys {
		for _, name := range k.Secret {
			if !k.Standby && name != inGPG {
				folders[filepath.Dir(name)] = true
			}
		}
	}
	for _, k := range r.Roles[0].Keys {
		for _, name := range k.Secret {
			if k.Standby && name != inGPG && folders[filepath.Dir(name)] {
				list = append(list, fmt.Sprintf("the standby key lies beside the root key, and would be stolen or lost with it: take %s to another place", name))
			}
		}
	}
	return list
}

// warnings tells which manifests machines will soon refuse.
func (p Published) warnings(now time.Time) []string {
	var list []string
	for _, pub := range p.Published {
		if w := ends(pub.Expires, now, min(soonManifest, pub.Expires.Sub(pub.Issued)/3)); w != "" {
			list = append(list, fmt.Sprintf("manifest version %d of %s/%s %s; publish again", pub.Version, pub.Arch, pub.Channel, w))
		}
	}
	return list
}

// How long before its end something is worth a warning. Manifests are good for 30
// days unless the recipe says otherwise.
const (
	soon         = 90 * 24 * time.Hour
	soonManifest = 10 * 24 * time.Hour
)

// ends words what is at an end, or nearer to it than soon.
func ends(at, now time.Time, soon time.Duration) string {
	switch {
	case at.IsZero() || at.Sub(now) > soon:
		return ""
	case !at.After(now):
		return "expired on " + day(at)
	}
	return fmt.Sprintf("expires on %s, in %d days", day(at), int(at.Sub(now)/(24*time.Hour)))
}
