package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Entry is one thing that a machine can boot. Exactly one kind is set.
//
// In JSON an entry has a title and one more key, which names its kind. Media
// outlive the agents on them, so a kind that this program does not know makes
// an entry that cannot be started, and not a manifest that cannot be read:
// what else the manifest lists still boots.
type Entry struct {
	Title string
	Linux *Linux
	// Unknown is the kind of an entry that this program does not know.
	Unknown string
}

// knownEntry is the JSON form of entries that this program writes.
type knownEntry struct {
	Title string `json:"title"`
	Linux *Linux `json:"linux,omitzero"`
}

// MarshalJSON implements json.Marshaler. An entry of an unknown kind has lost
// what it held, and is refused.
func (e Entry) MarshalJSON() ([]byte, error) {
	if e.Unknown != "" {
		return nil, fmt.Errorf("entry of the unknown kind %q", e.Unknown)
	}
	return json.Marshal(knownEntry{e.Title, e.Linux})
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Entry) UnmarshalJSON(data []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	for kind := range fields {
		if kind == "title" || kind == "linux" {
			continue
		}
		if e.Unknown != "" || fields["linux"] != nil || CheckName(kind) != nil {
			return errors.New("an entry has a title and one kind")
		}
		e.Unknown = kind
		delete(fields, kind)
	}
	known, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	var k knownEntry
	dec := json.NewDecoder(bytes.NewReader(known))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&k); err != nil {
		return err
	}
	e.Title, e.Linux = k.Title, k.Linux
	return nil
}
