package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/farboot/farboot/payload/object"
)

// Entry is one thing that a machine can boot. Exactly one kind is set.
//
// In JSON an entry has a title and one more key, which names its kind. Media
// outlive the agents on them, so a kind that this program does not know makes
// an entry that cannot be started, and not a manifest that cannot be read:
// what else the manifest lists still boots. The same goes for a known kind with
// a field that this program does not know: to ignore it could be to start what
// the field was meant to hold back. What a later version means anew it must
// therefore say by a new kind or field, never by a new value.
type Entry struct {
	Title  string
	Linux  *Linux
	Local  *Local
	Power  *Power
	Script *Script
	Rescue *Rescue
	Flash  *Flash
	Xen    *Xen
	Live   *Live
	Iso    *Iso
	Image  *Image
	// Unknown is the kind of an entry that this program does not know, or
	// "linux+FIELD" where it knows the kind and not the field, or not all in it.
	Unknown string
}

// content is what an entry of one kind holds.
type content interface {
	kind() string
	// refs lists every object that it names.
	refs() []object.Ref
	// then is what comes after it, "" where nothing does.
	then() string
	validate(Bounds) error
}

// contents returns what is set, which is one in an entry that is whole and known.
func (e Entry) contents() []content {
	var all []content
	if e.Linux != nil {
		all = append(all, e.Linux)
	}
	if e.Local != nil {
		all = append(all, e.Local)
	}
	if e.Power != nil {
		all = append(all, e.Power)
	}
	if e.Script != nil {
		all = append(all, e.Script)
	}
	if e.Rescue != nil {
		all = append(all, e.Rescue)
	}
	if e.Flash != nil {
		all = append(all, e.Flash)
	}
	if e.Xen != nil {
		all = append(all, e.Xen)
	}
	if e.Live != nil {
		all = append(all, e.Live)
	}
	if e.Iso != nil {
		all = append(all, e.Iso)
	}
	if e.Image != nil {
		all = append(all, e.Image)
	}
	return all
}

// Kind names the entry's kind, also one that this program does not know.
func (e Entry) Kind() string {
	for _, c := range e.contents() {
		return c.kind()
	}
	return e.Unknown
}

// Refs lists every object that the entry names, those that are needed at its
// start and those that are read as it goes on. It has no others.
func (e Entry) Refs() []object.Ref {
	var all []object.Ref
	for _, c := range e.contents() {
		all = append(all, c.refs()...)
	}
	return all
}

// Then is what comes after a script that ended well, a rescue that ended or a
// flash: [ThenNext] and the like, with each kind's default filled in. For other
// kinds it is empty: they do not come back.
func (e Entry) Then() string {
	for _, c := range e.contents() {
		return c.then()
	}
	return ""
}

// knownEntry is the JSON form of entries that this program writes.
type knownEntry struct {
	Title  string  `json:"title"`
	Linux  *Linux  `json:"linux,omitzero"`
	Local  *Local  `json:"local,omitzero"`
	Power  *Power  `json:"power,omitzero"`
	Script *Script `json:"script,omitzero"`
	Rescue *Rescue `json:"rescue,omitzero"`
	Flash  *Flash  `json:"flash,omitzero"`
	Xen    *Xen    `json:"xen,omitzero"`
	Live   *Live   `json:"live,omitzero"`
	Iso    *Iso    `json:"iso,omitzero"`
	Image  *Image  `json:"image,omitzero"`
}

// MarshalJSON implements json.Marshaler. An entry of an unknown kind has lost
// what it held, and is refused.
func (e Entry) MarshalJSON() ([]byte, error) {
	if e.Unknown != "" {
		return nil, fmt.Errorf("entry of the unknown kind %q", e.Unknown)
	}
	return json.Marshal(knownEntry{e.Title, e.Linux, e.Local, e.Power, e.Script, e.Rescue, e.Flash, e.Xen, e.Live, e.Iso, e.Image})
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Entry) UnmarshalJSON(data []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	title := fields["title"]
	delete(fields, "title")
	kinds := slices.Collect(maps.Keys(fields))
	if title == nil || len(kinds) != 1 || CheckName(kinds[0]) != nil {
		return errors.New("an entry has a title and one kind")
	}
	*e = Entry{}
	if err := json.Unmarshal(title, &e.Title); err != nil {
		return err
	}
	kind, content := kinds[0], fields[kinds[0]]
	switch kind {
	case "linux":
		return decodeKind(e, kind, content, &e.Linux)
	case "local":
		return decodeKind(e, kind, content, &e.Local)
	case "power":
		return decodeKind(e, kind, content, &e.Power)
	case "script":
		return decodeKind(e, kind, content, &e.Script)
	case "rescue":
		return decodeKind(e, kind, content, &e.Rescue)
	case "flash":
		return decodeKind(e, kind, content, &e.Flash)
	case "xen":
		return decodeKind(e, kind, content, &e.Xen)
	case "live":
		return decodeKind(e, kind, content, &e.Live)
	case "iso":
		return decodeKind(e, kind, content, &e.Iso)
	case "image":
		return decodeKind(e, kind, content, &e.Image)
	}
	e.Unknown = kind
	return nil
}

// decodeKind reads the content of a known kind into to, or names in e.Unknown
// the first of its fields that is not known in full.
func decodeKind[T any](e *Entry, kind string, content json.RawMessage, to **T) error {
	known, unknown, err := decodeKnown[T](content)
	if unknown != "" {
		e.Unknown = kind + "+" + unknown
		return nil
	}
	*to = known
	return err
}

// decodeKnown decodes strictly. Where that fails for nothing but a field that
// is not known in full, be it in depth, it returns the name of the first.
func decodeKnown[T any](content json.RawMessage) (known *T, unknown string, err error) {
	known = new(T)
	if err = decodeStrict(content, known); err == nil {
		return known, "", nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(content, new(T)) != nil || json.Unmarshal(content, &fields) != nil {
		return nil, "", err // it is not for want of knowing
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		one, err := json.Marshal(map[string]json.RawMessage{name: fields[name]})
		if err != nil {
			return nil, "", err
		}
		if decodeStrict(one, new(T)) == nil {
			continue
		}
		if err := CheckName(name); err != nil {
			return nil, "", err
		}
		return nil, name, nil
	}
	return nil, "", err
}

// decodeStrict is json.Unmarshal that refuses unknown fields. Package strictjson
// has seen the whole before.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}
