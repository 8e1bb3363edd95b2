package manifest

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/netconf"
)

// Machine says which entries a machine boots, in order, and what else it needs.
type Machine struct {
	Match Match    `json:"match"`
	Boot  []string `json:"boot"`
	// Menu takes the place of the manifest's.
	Menu *Menu `json:"menu,omitzero"`
	// Networks are how this machine is connected, for the time from here on.
	Networks []netconf.Network `json:"networks,omitzero"`
	// Env is for its scripts. It prevails over what an entry says.
	Env Env `json:"env,omitzero"`
	// Unknown is a field of the record that this program does not know, or not
	// all in it. Then only Match is set: to ignore the field could be to start
	// what it was meant to hold back, and to pass over the record to start what
	// is meant for others.
	Unknown string `json:"-"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (x *Machine) UnmarshalJSON(data []byte) error {
	type plain Machine
	known, unknown, err := decodeKnown[plain](data)
	switch {
	case err != nil:
		return err
	case known != nil:
		*x = Machine(*known)
		return nil
	}
	// Whom the record is for must be known in full.
	var fields struct{ Match json.RawMessage }
	*x = Machine{Unknown: unknown}
	return cmp.Or(json.Unmarshal(data, &fields), decodeStrict(fields.Match, &x.Match))
}

// Menu is shown before the list of a machine is tried. It offers that list and
// then further entries; who does not choose gets the first.
type Menu struct {
	// Seconds is how long a choice is waited for.
	Seconds int `json:"seconds"`
	// Entries are offered after those of the machine's list.
	Entries []string `json:"entries,omitzero"`
	// Unknown is a field that this program does not know. Then nothing else is
	// set, and no menu is shown: who may choose what cannot be told.
	Unknown string `json:"-"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *Menu) UnmarshalJSON(data []byte) error {
	type plain Menu
	known, unknown, err := decodeKnown[plain](data)
	*m = Menu{Unknown: unknown}
	if known != nil {
		*m = Menu(*known)
	}
	return err
}

// Limits tighten what the agent allows itself; a larger number than its own
// changes nothing, and neither does 0. Times are whole seconds.
type Limits struct {
	// Network is how long the first lease is waited for.
	Network int `json:"network,omitzero"`
	// Manifest is for all requests to one site for statements, manifest and
	// document.
	Manifest int `json:"manifest,omitzero"`
	// Stall is the longest silence within a download.
	Stall int `json:"stall,omitzero"`
	// Object is for the download of one object.
	Object int `json:"object,omitzero"`
	// Attempts are the requests in a row to one URL that bring nothing new.
	Attempts int `json:"attempts,omitzero"`
	// Rounds are those that fail before the medium's own entries are tried.
	Rounds int `json:"rounds,omitzero"`
	// Pause is the longest between two rounds.
	Pause int `json:"pause,omitzero"`
}

// UnmarshalJSON implements json.Unmarshaler. A limit that this program does not
// know is one on something that it does not do, or does not bound so.
func (l *Limits) UnmarshalJSON(data []byte) error {
	type plain Limits
	return json.Unmarshal(data, (*plain)(l))
}

// Match recognises a machine. Every field that is set must fit; a Match with
// none set is malformed.
type Match struct {
	// MAC is one of the machine's, lower case with colons.
	MAC string `json:"mac,omitzero"`
	// UUID is the SMBIOS system UUID, lower case.
	UUID string `json:"uuid,omitzero"`
	// Serial is the SMBIOS system serial number.
	Serial string `json:"serial,omitzero"`
}

// Identity is what a machine knows about itself. Case does not matter in MACs
// and UUID.
type Identity struct {
	MACs   []string
	UUID   string
	Serial string
}

// For returns what the manifest says to the machine id: the record of the first
// that matches, otherwise one with the default. The manifest's menu is filled in
// where the record has none. Its Boot may be empty, and is where the record has
// something unknown.
func (m *Manifest) For(id Identity) Machine {
	found := Machine{Boot: m.Default}
	for _, machine := range m.Machines {
		if machine.Match.fits(id) {
			found = machine
			break
		}
	}
	found.Boot = slices.Clone(found.Boot)
	if found.Unknown == "" {
		found.Menu = cmp.Or(found.Menu, m.Menu)
	}
	return found
}

// Select returns the names of the entries that the machine id boots, in order,
// see [Manifest.For]. There may be none.
func (m *Manifest) Select(id Identity) []string { return m.For(id).Boot }

// fits tells whether every field that is set fits id. A Match without any
// fits nothing.
func (m Match) fits(id Identity) bool {
	if m == (Match{}) {
		return false
	}
	hasMAC := slices.ContainsFunc(id.MACs, func(mac string) bool { return strings.EqualFold(mac, m.MAC) })
	return (m.MAC == "" || hasMAC) &&
		(m.UUID == "" || strings.EqualFold(m.UUID, id.UUID)) &&
		(m.Serial == "" || m.Serial == id.Serial)
}
