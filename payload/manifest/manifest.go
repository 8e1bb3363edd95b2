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
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

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
}

// Machine says which entries a machine boots, in order.
type Machine struct {
	Match Match    `json:"match"`
	Boot  []string `json:"boot"`
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

// Select returns the names of the entries that the machine id boots, in order:
// those of the first machine that matches, otherwise the default. There may be
// none.
func (m *Manifest) Select(id Identity) []string {
	for _, machine := range m.Machines {
		if machine.Match.fits(id) {
			return slices.Clone(machine.Boot)
		}
	}
	return slices.Clone(m.Default)
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
