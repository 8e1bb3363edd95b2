// Package manifest is the signed document of a site: which entries exist, which
// machine boots which, and the size and SHA-256 of every byte that is needed,
// with the literal kernel command line beside them. What a manifest names can
// therefore not be mixed with parts of another.
//
// The machine calls [Decode], which takes only bytes that package trust has
// verified, then [Manifest.Suits] and [Manifest.Select]. The builder calls
// [Encode], which refuses what Decode would. [CheckCmdline], [CheckTitle] and
// [CheckName] are the allow-lists for text; recipes use the same, and the checks
// of what an entry holds. A fleet that
// does not fit into one manifest has a document for each machine, a manifest
// too; [DocumentID] and [DocumentIDs] name it.
//
// The package does not judge time and remembers nothing: whether a manifest has
// expired or is older than the last one is for its caller to say.
package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/strictjson"
	"github.com/farboot/farboot/payload/trust"
)

const (
	// Format is the only layout version that this package reads and writes.
	Format = 1
	// MaxSize bounds a manifest, in bytes. A site with more machines than fit
	// publishes one document per machine.
	MaxSize = 1 << 20
	// File and Signature are the names of the two files on a site.
	File      = "manifest.json"
	Signature = "manifest.json.sig"
)

var (
	// ErrMalformed is wrapped by errors that say that bytes are no manifest.
	ErrMalformed = errors.New("malformed manifest")
	// ErrWrongProduct is wrapped by errors that say that a manifest is meant
	// for other machines than this one.
	ErrWrongProduct = errors.New("manifest for others")
)

// Manifest says what can be booted and which machine boots what.
type Manifest struct {
	Format int `json:"format"`
	// Epoch is the trust statement's, from 1. Versions are compared within one
	// epoch; a higher one starts the count anew.
	Epoch int64 `json:"epoch"`
	// Version rises with every publication, from 1.
	Version int64     `json:"version"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	// Product, Arch and Channel must equal the medium's.
	Product string `json:"product"`
	Arch    string `json:"arch"`
	Channel string `json:"channel"`
	// Document is set in a document for one machine, and is its id. Neither a
	// site's manifest nor the document of another machine can pass for it, nor
	// it for them: the reader compares it with the name that it asked for.
	Document string `json:"document,omitzero"`
	// Entries are named by lower-case words: "installer".
	Entries map[string]Entry `json:"entries"`
	// Documents says that each machine has a document of its own, see
	// [DocumentIDs]. There are no Machines then.
	Documents bool `json:"documents,omitzero"`
	// Machines are tried in order; the first that matches decides. A document
	// for one machine has exactly that one.
	Machines []Machine `json:"machines,omitzero"`
	// Default lists the entries for all other machines, in order. Without it
	// they have nothing to boot. A document has none.
	Default []string `json:"default,omitzero"`
	// Menu is for the machines that have none of their own; nil is none.
	Menu *Menu `json:"menu,omitzero"`
	// Limits tighten those of the agent; nil leaves them.
	Limits *Limits `json:"limits,omitzero"`
	// Files are objects that scripts can ask for by name.
	Files map[string]object.Ref `json:"files,omitzero"`
}

// Machine says which entries a machine boots, in order, and what else it needs.
type Machine struct {
	Match Match    `json:"match"`
	Boot  []string `json:"boot"`
	// Menu takes the place of the manifest's.
	Menu *Menu `json:"menu,omitzero"`
	// Networks are how this machine is connected, for the time from here on.
	Networks []netconf.Network `json:"networks,omitzero"`
	// Env is for its scripts, and goes before what an entry says.
	Env Env `json:"env,omitzero"`
}

// Menu is shown before the list of a machine is tried. It offers that list and
// then further entries; who does not choose gets the first.
type Menu struct {
	// Seconds is how long a choice is waited for.
	Seconds int `json:"seconds"`
	// Entries are offered after those of the machine's list.
	Entries []string `json:"entries,omitzero"`
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

// Decode reads a manifest that was signed as one.
func Decode(v trust.Verified) (*Manifest, error) {
	if v.Purpose() != trust.PurposeManifest {
		return nil, fmt.Errorf("%w: signed as %q, want %q", ErrMalformed, v.Purpose(), trust.PurposeManifest)
	}
	return decode(v.Bytes())
}

// decode is Decode without the signature.
func decode(data []byte) (*Manifest, error) {
	var m Manifest
	if err := strictjson.Decode(data, MaxSize, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

// Encode returns the bytes of a manifest, to be signed and published as they
// are. The same manifest gives the same bytes; times are written in UTC and
// whole seconds. One that [Decode] would refuse is refused.
func Encode(m *Manifest) ([]byte, error) {
	out := *m
	out.Format = Format
	out.Issued = m.Issued.UTC().Truncate(time.Second)
	out.Expires = m.Expires.UTC().Truncate(time.Second)
	data, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	data = append(data, '\n')
	if _, err := decode(data); err != nil {
		return nil, err
	}
	return data, nil
}

// Suits returns nil if the manifest is meant for machines of the given kind,
// otherwise an error that wraps [ErrWrongProduct].
func (m *Manifest) Suits(product, arch, channel string) error {
	for _, f := range []struct{ what, its, ours string }{
		{"product", m.Product, product}, {"architecture", m.Arch, arch}, {"channel", m.Channel, channel},
	} {
		if f.its != f.ours {
			return fmt.Errorf("%w: it is for %s %q, this is %q", ErrWrongProduct, f.what, f.its, f.ours)
		}
	}
	return nil
}

// For returns what the manifest says to the machine id: the record of the first
// that matches, otherwise one with the default. The manifest's menu is filled in
// where the record has none. Its Boot may be empty.
func (m *Manifest) For(id Identity) Machine {
	found := Machine{Boot: m.Default}
	for _, machine := range m.Machines {
		if machine.Match.fits(id) {
			found = machine
			break
		}
	}
	found.Boot = slices.Clone(found.Boot)
	found.Menu = cmp.Or(found.Menu, m.Menu)
	return found
}

// Select returns the names of the entries that the machine id boots, in order,
// see [Manifest.For]. There may be none.
func (m *Manifest) Select(id Identity) []string { return m.For(id).Boot }

// Refs lists every object that the manifest names, each once, in the order of
// the names.
func (m *Manifest) Refs() []object.Ref {
	var all []object.Ref
	for _, name := range slices.Sorted(maps.Keys(m.Entries)) {
		all = append(all, m.Entries[name].Refs()...)
	}
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		all = append(all, m.Files[name])
	}
	seen := map[object.Ref]bool{}
	return slices.DeleteFunc(all, func(ref object.Ref) bool {
		again := seen[ref]
		seen[ref] = true
		return again
	})
}

// Object returns what the manifest names so: one of its Files by name, or any
// object by its SHA-256.
func (m *Manifest) Object(name string) (object.Ref, bool) {
	if ref, ok := m.Files[name]; ok {
		return ref, true
	}
	id, err := object.ParseID(name)
	if err != nil {
		return object.Ref{}, false
	}
	all := m.Refs()
	i := slices.IndexFunc(all, func(ref object.Ref) bool { return ref.SHA256 == id })
	if i < 0 {
		return object.Ref{}, false
	}
	return all[i], true
}

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
