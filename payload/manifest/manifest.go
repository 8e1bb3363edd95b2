// Package manifest is the signed document of a site: which entries exist, which
// machine boots which, and the size and SHA-256 of every byte that is needed,
// with the literal kernel command line beside them. What a manifest names can
// therefore not be mixed with parts of another.
//
// The machine calls [Decode], which takes only bytes that package trust has
// verified, then [Manifest.Suits] and [Manifest.For]. The builder calls
// [Encode], which refuses what Decode would. [Entry.Refs], [Manifest.Refs] and
// [Manifest.Object] tell what is referred to, so that nobody else walks through
// the kinds of entries. [CheckCmdline], [CheckTitle] and [CheckName] are the
// allow-lists for text; recipes use the same, and the checks of what an entry
// holds. A fleet that does not fit into one manifest has a document for each
// machine, a manifest too; [DocumentID] and [DocumentIDs] name it.
//
// # Old media and new sites
//
// Media outlive the agents on them. What a reader does not know costs no more
// than it must: of an entry, that entry; of a machine's record, what that machine
// boots; of a menu, that it is shown; of the limits, nothing. A key at the top
// that is not known makes the whole unreadable, since it could be there to hold
// something back, unless the manifest itself calls it optional. Of whom a record
// is for, all must be known. Nothing that a reader knows gets another meaning by a
// value that it does not know: that is an error.
//
// The package does not judge time and remembers nothing: whether a manifest has
// expired or is older than the last one is for its caller to say.
package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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
	// Optional names keys beside this one that a reader may pass over if it does
	// not know them; any other that it does not know makes the manifest
	// unreadable for it. A program that writes such a key lists it here if
	// nothing is lost without it, and never where it holds something back.
	Optional []string `json:"optional,omitzero"`
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
	err := strictjson.Decode(data, MaxSize, &m)
	if err != nil {
		if rest := withoutOptional(data); rest != nil {
			m = Manifest{}
			err = strictjson.Decode(rest, MaxSize, &m)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return &m, nil
}

// withoutOptional returns the manifest without the keys that it calls optional
// and this program does not know, or nil if there are none.
func withoutOptional(data []byte) []byte {
	var fields map[string]json.RawMessage
	var optional []string
	if strictjson.Decode(data, MaxSize, &fields) != nil || json.Unmarshal(fields["optional"], &optional) != nil {
		return nil
	}
	all := len(fields)
	for _, name := range optional {
		one, err := json.Marshal(map[string]any{name: nil})
		if err == nil && decodeStrict(one, new(Manifest)) != nil {
			delete(fields, name)
		}
	}
	if len(fields) == all {
		return nil
	}
	rest, err := json.Marshal(fields)
	if err != nil {
		return nil
	}
	return rest
}

// Encode returns the bytes of a manifest, to be signed and published as they
// are. The same manifest gives the same bytes; times are written in UTC and
// whole seconds. One that [Decode] would refuse is refused.
func Encode(m *Manifest) ([]byte, error) {
	out := *m
	out.Format = Format
	out.Issued = m.Issued.UTC().Truncate(time.Second)
	out.Expires = m.Expires.UTC().Truncate(time.Second)
	if err := out.Validate(); err != nil { // what JSON would change is seen only here
		return nil, err
	}
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
