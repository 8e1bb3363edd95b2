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
	Title string
	Linux *Linux
	Local *Local
	Power *Power
	// Unknown is the kind of an entry that this program does not know, or
	// "linux+FIELD" where it knows the kind and not the field, or not all in it.
	Unknown string
}

// Linux is a kernel with its initrds and its literal command line.
type Linux struct {
	Kernel  object.Ref   `json:"kernel"`
	Initrd  []object.Ref `json:"initrd,omitzero"`
	Cmdline string       `json:"cmdline"`
	// Network appends the network in use to the command line, as BOOTIF= and
	// ip=. Nothing else is ever appended.
	Network bool `json:"network,omitzero"`
	// Watchdog arms a hardware watchdog of so many seconds before the kernel is
	// started, and leaves it running: a system that does not take it over is
	// reset. 0 arms none.
	Watchdog int `json:"watchdog,omitzero"`
}

// Local starts what is installed on the machine.
type Local struct {
	// Firmware restarts into the firmware's next boot device, in the place of
	// looking at disks.
	Firmware bool `json:"firmware,omitzero"`
	// Disk is the serial number or the wwid of the only disk to look at, as
	// sysfs shows it; empty is every one.
	Disk string `json:"disk,omitzero"`
}

// Power restarts the machine or switches it off.
type Power struct {
	// Action is [Reboot] or [Off].
	Action string `json:"action"`
}

// The actions of a [Power] entry.
const (
	Reboot = "reboot"
	Off    = "off"
)

// knownEntry is the JSON form of entries that this program writes.
type knownEntry struct {
	Title string `json:"title"`
	Linux *Linux `json:"linux,omitzero"`
	Local *Local `json:"local,omitzero"`
	Power *Power `json:"power,omitzero"`
}

// MarshalJSON implements json.Marshaler. An entry of an unknown kind has lost
// what it held, and is refused.
func (e Entry) MarshalJSON() ([]byte, error) {
	if e.Unknown != "" {
		return nil, fmt.Errorf("entry of the unknown kind %q", e.Unknown)
	}
	return json.Marshal(knownEntry{e.Title, e.Linux, e.Local, e.Power})
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
	}
	e.Unknown = kind
	return nil
}

// decodeKind reads the content of a known kind into to, or names in e.Unknown
// the first of its fields that is not known in full.
func decodeKind[T any](e *Entry, kind string, content json.RawMessage, to **T) error {
	var known T
	err := decodeStrict(content, &known)
	if err == nil {
		*to = &known
		return nil
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(content, new(T)) != nil || json.Unmarshal(content, &fields) != nil {
		return err // it is not for want of knowing
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		one, err := json.Marshal(map[string]json.RawMessage{name: fields[name]})
		if err != nil {
			return err
		}
		if decodeStrict(one, new(T)) != nil {
			e.Unknown = kind + "+" + name
			return CheckName(name)
		}
	}
	return err
}

// decodeStrict is json.Unmarshal that refuses unknown fields. Package strictjson
// has seen the whole before.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(v)
}
