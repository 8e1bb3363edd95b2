// Package control lets programs in the toolbox talk to the agent: what machine
// this is, verified objects of the manifest, a line for the report, a disk to be
// written, and what is to come next.
//
// The agent calls [Listen], which serves a socket in the toolbox. In the toolbox
// the agent's own program lies as /usr/bin/farboot, and started under that [Name]
// it is the client, [Client]. Each request is a connection: one line of JSON each
// way, and lines of progress between.
//
// What comes next is only noted here, see [Server.Next]: a script first ends, and
// a person who logged in gets an answer before the connection goes. The package
// promises that a request is bounded in size and time, that an object is written
// only into a file which the client opened itself (the agent opens no path that it
// is told), and that names come from the signed manifest alone: that is for the
// [Handlers] to hold, who are given the name and nothing else.
//
// It is no border of trust: who can open the socket is root on the machine.
package control

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// Name is what the client is called, and what the agent looks for in its own name.
const Name = "farboot"

// socket is where the server listens, below the toolbox's root. The client has the
// same path in its root.
const socket = "run/farboot/control.sock"

const (
	// maxRequest bounds a request, in bytes: the text of a report, spelled as
	// JSON, takes six times its size at worst.
	maxRequest = 32 << 10
	// MaxText bounds the text for a report, in bytes.
	MaxText = 4 << 10
	// maxReply bounds a line of an answer, in bytes: the disks of a server with
	// hundreds of them.
	maxReply = 1 << 20
)

// Info is what a program may want to know of the machine and of this boot.
type Info struct {
	// Site is the URL of the site that the manifest is from. It is empty where the
	// medium carries the entry.
	Site string `json:"site,omitzero"`
	// Entry is the name of the entry that runs.
	Entry string `json:"entry"`
	// Machine names the machine as documents do, "uuid-4c4c4544-...".
	Machine string   `json:"machine,omitzero"`
	MACs    []string `json:"macs,omitzero"`
	UUID    string   `json:"uuid,omitzero"`
	Serial  string   `json:"serial,omitzero"`
	// Medium is the build id of the medium.
	Medium string `json:"medium"`
	// Statement and Version are those of trust statement and manifest, 0 where
	// there is no manifest.
	Statement int64 `json:"statement,omitzero"`
	Version   int64 `json:"manifest_version,omitzero"`
}

// fact is one line of an Info.
type fact struct{ name, value string }

// facts lists all there is to know, by the names that people use.
func (i Info) facts() []fact {
	return []fact{
		{"site", i.Site},
		{"entry", i.Entry},
		{"machine", i.Machine},
		{"macs", strings.Join(i.MACs, " ")},
		{"uuid", i.UUID},
		{"serial", i.Serial},
		{"medium", i.Medium},
		{"statement", fmt.Sprint(i.Statement)},
		{"manifest_version", fmt.Sprint(i.Version)},
	}
}

// Environ returns the same for programs: FARBOOT_SITE=... and so on. All are
// always set, to nothing where nothing is known, so that a script may use set -u.
func (i Info) Environ() []string {
	var env []string
	for _, f := range i.facts() {
		env = append(env, "FARBOOT_"+strings.ToUpper(f.name)+"="+f.value)
	}
	return env
}

// Disk is one that can be written, or not.
type Disk struct {
	// Node is its device, "/dev/sda".
	Node   string `json:"node"`
	Model  string `json:"model,omitzero"`
	Serial string `json:"serial,omitzero"`
	// ID is its wwid, as manifests name it.
	ID   string `json:"id,omitzero"`
	Size int64  `json:"size"` // in bytes
	// Bar says why it is not written, "" where it could be.
	Bar string `json:"bar,omitzero"`
}

// Handlers do what is asked for. Those that are nil refuse. They are called in
// parallel; ctx ends when the client goes away, or the server.
type Handlers struct {
	Info func() Info
	// Entry tells why an entry cannot be booted, nil where it can.
	Entry func(name string) error
	// Fetch writes an object of the manifest, by name or SHA-256, into to, a
	// regular file that is empty and can be written at any place. It returns nil
	// only where the whole of it was verified.
	Fetch func(ctx context.Context, name string, to *os.File, progress func(done, total int64)) error
	// Report adds a line of printable text to what the owner is sent.
	Report func(text string) error
	// Flash writes the image of a flash entry, to another disk than the entry
	// names where disk is not empty: by serial number or wwid.
	Flash func(ctx context.Context, entry, disk string, progress func(text string)) error
	Disks func() ([]Disk, error)
}

// What can come next.
const (
	DoBoot   = "boot"      // the entry of that name
	DoNext   = "boot-next" // the next one of the machine's list
	DoReboot = "reboot"
	DoOff    = "off"
)

// Next is what was asked to come next.
type Next struct {
	// Do is one of the constants above.
	Do string
	// Entry is the entry's name with DoBoot.
	Entry string
}

// String is for people: "booting installer".
func (n Next) String() string {
	switch n.Do {
	case DoBoot:
		return "booting " + n.Entry
	case DoNext:
		return "going on with the next entry"
	case DoReboot:
		return "restarting the machine"
	}
	return "switching the machine off"
}

// request is what a client sends, in one line.
type request struct {
	Do   string `json:"do"`
	Name string `json:"name,omitzero"` // of an entry or an object
	Text string `json:"text,omitzero"` // for the report
	Disk string `json:"disk,omitzero"` // to flash
}

// reply is one line of an answer. The last one has Done.
type reply struct {
	Done  bool   `json:"done,omitzero"`
	Error string `json:"error,omitzero"` // what went wrong; only with Done
	Text  string `json:"text,omitzero"`  // progress, or the result in a line
	Info  *Info  `json:"info,omitzero"`
	Disks []Disk `json:"disks,omitzero"`
}
