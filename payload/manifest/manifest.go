package manifest

import (
	"time"

	"github.com/farboot/farboot/payload/object"
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

// Manifest says what can be booted and which machine boots what.
type Manifest struct {
	Format int `json:"format"`
	// Version rises with every publication.
	Version int64     `json:"version"`
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	// Product, Arch and Channel must equal the medium's.
	Product string `json:"product"`
	Arch    string `json:"arch"`
	Channel string `json:"channel"`
	// Entries are named by lower-case words: "installer".
	Entries map[string]Entry `json:"entries"`
	// Machines are tried in order; the first that matches decides.
	Machines []Machine `json:"machines,omitzero"`
	// Default lists the entries for all other machines, in order.
	Default []string `json:"default,omitzero"`
}

// Entry is one thing that a machine can boot. Exactly one kind is set.
type Entry struct {
	Title string `json:"title"`
	Linux *Linux `json:"linux,omitzero"`
}

// Linux is a kernel with its initrds and its literal command line.
type Linux struct {
	Kernel  object.Ref   `json:"kernel"`
	Initrd  []object.Ref `json:"initrd,omitzero"`
	Cmdline string       `json:"cmdline"`
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

// Identity is what a machine knows about itself.
type Identity struct {
	MACs   []string
	UUID   string
	Serial string
}
