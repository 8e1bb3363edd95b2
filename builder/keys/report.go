package keys

import (
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
	Pending []string `json:"pending,omitzero"`
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
	return Report{}, errUnfinished
}
