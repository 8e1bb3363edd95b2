// Package report is the story of one boot as data: what the machine is, which
// stages it went through and how long they took, what it boots or why it does
// not. The agent sends it to whoever owns the machine, builder/reports keeps it.
//
// The agent feeds a [Recorder], takes a [Report] out of it at the hand-over and
// at the end of each failed round, and sends it with [Post]. The server calls
// [Decode]. Decode promises that all text is printable ASCII of a bounded
// length and that the machine's names are well formed, so that a report can be
// shown on a terminal and [Machine.ID] used as a file name.
//
// A report holds no secrets: no command lines, and of URLs neither credentials
// nor query. It proves nothing either: nobody signs it, so that it is the claim
// of whoever sent it.
package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/strictjson"
)

const (
	// Format is the only layout version that this package reads and writes.
	Format = 1
	// MaxSize bounds a report, in bytes. One of a boot without trouble has 2000.
	MaxSize = 64 << 10
	// Path is where a site takes reports, relative to its root.
	Path = "reports"
)

// Bounds of what one report holds. More than MaxSize is never sent, and the
// oldest stages are the first to go.
const (
	maxStages  = 256 // a round of one site has about 10
	maxObjects = 64  // a kernel and its initrds, a few times over
	maxMACs    = 32  // a server with eight cards of four ports each
	maxName    = 64  // of a stage, an entry, a medium, as in manifests
	maxText    = 512 // of a failure or the model
	maxHost    = 261 // a name of 255 characters (RFC 1035, 2.3.4) with a port
)

// MaxProfile bounds a boot profile, in bytes: a live system of 500 chunks has 700.
const MaxProfile = 16 << 10

// ErrMalformed is wrapped by errors that say that bytes are no report.
var ErrMalformed = errors.New("malformed report")

// Outcome is how far a boot has come when its report is made.
type Outcome string

// The outcomes.
const (
	HandingOver Outcome = "handing-over" // the next kernel is loaded and starts now
	Waiting     Outcome = "waiting"      // a round failed, another follows
	Rebooting   Outcome = "rebooting"    // the agent gave up, and starts the machine anew
	Failed      Outcome = "failed"       // an entry was tried that cannot be tried again
	Working     Outcome = "working"      // a script, a rescue or a flash is at work
	Done        Outcome = "done"         // one of these has ended well, and nothing follows for now
)

// Report is the story of one boot so far. Each further report of the same boot
// takes the place of the one before.
type Report struct {
	Format int `json:"format"`
	// Boot tells boots apart: a random UUID, see [BootID].
	Boot    string  `json:"boot"`
	Machine Machine `json:"machine"`
	// Model is the maker's name for the machine.
	Model string `json:"model,omitzero"`
	// Medium is the build id of the medium, and Product its statement's.
	Medium  string `json:"medium"`
	Product string `json:"product"`
	// Uptime is when the report was made, in milliseconds since power-on.
	Uptime int64 `json:"uptime_ms"`
	// Time is the same by the machine's clock, and TimeTrusted whether somebody
	// vouches for that.
	Time        time.Time `json:"time"`
	TimeTrusted bool      `json:"time_trusted,omitzero"`
	// Statement is the newest trust statement that the machine believes; Epoch
	// and Version are those of the manifest that it last accepted, 0 for none.
	Statement int64 `json:"statement,omitzero"`
	Epoch     int64 `json:"epoch,omitzero"`
	Version   int64 `json:"version,omitzero"`
	// Entry is the one that starts, or the last that was tried.
	Entry   string  `json:"entry,omitzero"`
	Outcome Outcome `json:"outcome"`
	// Code and Text are the last failure on the way, be it that the boot went
	// on all the same. Codes are explained in docs/troubleshooting.md.
	Code string `json:"code,omitzero"`
	Text string `json:"text,omitzero"`
	// Stages and Objects are in the order in which they began. Dropped counts
	// those of both that there was no room for.
	Stages  []Stage  `json:"stages,omitzero"`
	Objects []Object `json:"objects,omitzero"`
	Dropped int64    `json:"dropped,omitzero"`
	// Works are the last scripts, rescues and flashes, in the order in which they
	// began.
	Works []Work `json:"works,omitzero"`
	// Profile is what was read of an image so far, as package chunks writes it.
	Profile []byte `json:"profile,omitzero"`
}

// Machine is what a machine knows about itself, spelled as manifests do.
type Machine struct {
	UUID   string   `json:"uuid,omitzero"`
	Serial string   `json:"serial,omitzero"`
	MACs   []string `json:"macs,omitzero"`
}

// Stage is a part of the boot, or a failure on the way.
type Stage struct {
	Name string `json:"name"`
	// Start is in milliseconds since power-on, Took in milliseconds.
	Start int64 `json:"start_ms"`
	Took  int64 `json:"ms"`
	// Code and Text say why it failed. Both are empty where it did not.
	Code string `json:"code,omitzero"`
	Text string `json:"text,omitzero"`
}

// Object is something that was fetched.
type Object struct {
	What   string    `json:"what"` // "kernel", "initrd 1 of 2"
	Size   int64     `json:"size"` // in bytes
	SHA256 object.ID `json:"sha256"`
	Took   int64     `json:"ms"`
	// From is the server's host, with its port where the URL names one.
	From string `json:"from,omitzero"`
}

// ID names the machine, as [manifest.DocumentID] does: by the first of UUID,
// serial number and MACs that there is. It is empty where there is none, and
// otherwise safe as a file name, of at most 135 lower-case letters, digits and '-'.
func (m Machine) ID() string {
	if ids := manifest.DocumentIDs(m.identity()); len(ids) > 0 {
		return ids[0]
	}
	return ""
}

func (m Machine) identity() manifest.Identity {
	return manifest.Identity{MACs: m.MACs, UUID: m.UUID, Serial: m.Serial}
}

// Encode returns the bytes of a report, of at most [MaxSize]: the oldest stages
// are left out, and counted, until it fits. One that [Decode] would refuse is
// refused.
func Encode(r Report) ([]byte, error) {
	r.Format = Format
	r.Time = r.Time.UTC().Truncate(time.Second)
	for {
		data, err := marshal(r)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		if len(data) > MaxSize && len(r.Stages) > 0 {
			drop := (len(r.Stages) + 7) / 8
			r.Stages = r.Stages[drop:]
			r.Dropped += int64(drop)
			continue
		}
		if _, err := Decode(data); err != nil {
			return nil, err
		}
		return data, nil
	}
}

// marshal leaves '<', '>' and '&' as they are: no browser is meant, and each
// would take six bytes.
func marshal(r Report) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(r)
	return b.Bytes(), err
}

// Decode reads a report that somebody sent.
func Decode(data []byte) (Report, error) {
	var r Report
	if err := strictjson.Decode(data, MaxSize, &r); err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := r.check(); err != nil {
		return Report{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return r, nil
}

// check tells what is wrong with a report.
func (r Report) check() error {
	if r.Format != Format {
		return fmt.Errorf("format %d, this program reads format %d", r.Format, Format)
	}
	if !isUUID(r.Boot) {
		return errors.New("boot: want a UUID in lower case")
	}
	if !slices.Contains([]Outcome{HandingOver, Waiting, Rebooting, Failed, Working, Done}, r.Outcome) {
		return fmt.Errorf("outcome %+.40q", r.Outcome)
	}
	if len(r.Stages) > maxStages || len(r.Objects) > maxObjects || len(r.Works) > maxWorks {
		return fmt.Errorf("%d stages, %d objects and %d works, at most %d, %d and %d",
			len(r.Stages), len(r.Objects), len(r.Works), maxStages, maxObjects, maxWorks)
	}
	if len(r.Profile) > MaxProfile {
		return fmt.Errorf("a boot profile of %d bytes, at most %d", len(r.Profile), MaxProfile)
	}
	if min(r.Uptime, r.Statement, r.Epoch, r.Version, r.Dropped) < 0 {
		return errors.New("a number is negative")
	}
	for _, err := range []error{
		r.Machine.check(),
		checkText("model", r.Model, maxText),
		checkText("medium", r.Medium, maxName),
		checkText("product", r.Product, maxName),
		checkText("entry", r.Entry, maxName),
		checkFailure(r.Code, r.Text),
	} {
		if err != nil {
			return err
		}
	}
	for _, s := range r.Stages {
		if err := s.check(); err != nil {
			return err
		}
	}
	for _, o := range r.Objects {
		if err := o.check(); err != nil {
			return err
		}
	}
	for _, w := range r.Works {
		if err := w.check(); err != nil {
			return err
		}
	}
	return nil
}

// check wants at least one name, and each as a manifest could hold it.
func (m Machine) check() error {
	if len(m.MACs) > maxMACs {
		return fmt.Errorf("machine: %d MACs, at most %d", len(m.MACs), maxMACs)
	}
	if m.ID() == "" {
		return errors.New("machine: want at least one of uuid, serial and macs")
	}
	for _, match := range m.matches() {
		if err := manifest.CheckMatch(match); err != nil {
			return fmt.Errorf("machine: %w", err)
		}
	}
	return nil
}

// matches returns one for each of the machine's names.
func (m Machine) matches() []manifest.Match {
	var all []manifest.Match
	if m.UUID != "" {
		all = append(all, manifest.Match{UUID: m.UUID})
	}
	if m.Serial != "" {
		all = append(all, manifest.Match{Serial: m.Serial})
	}
	for _, mac := range m.MACs {
		all = append(all, manifest.Match{MAC: mac})
	}
	return all
}

func (s Stage) check() error {
	if s.Name == "" || min(s.Start, s.Took) < 0 {
		return errors.New("stage: want a name, and times from 0")
	}
	if err := checkText("stage", s.Name, maxName); err != nil {
		return err
	}
	return checkFailure(s.Code, s.Text)
}

func (o Object) check() error {
	if min(o.Size, o.Took) < 0 {
		return errors.New("object: want size and time from 0")
	}
	if err := checkText("object", o.What, maxName); err != nil {
		return err
	}
	return checkText("object", o.From, maxHost)
}

// checkFailure tells what is wrong with a code and the text that belongs to it.
func checkFailure(code, text string) error {
	for _, c := range []byte(code) {
		if (c < 'a' || c > 'z') && c != '-' {
			return fmt.Errorf("code %+.40q: want lower-case letters and '-'", code)
		}
	}
	if code == "" && text != "" {
		return errors.New("text: there is no code for it")
	}
	if err := checkText("code", code, maxName); err != nil {
		return err
	}
	return checkText("text", text, maxText)
}

// checkText refuses what is too long, and everything but printable ASCII.
func checkText(what, s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("%s: %d bytes, at most %d fit", what, len(s), most)
	}
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return fmt.Errorf("%s: byte %#02x is not printable ASCII", what, c)
		}
	}
	return nil
}

// isUUID tells whether s is a UUID in lower case, of any version.
func isUUID(s string) bool {
	return manifest.CheckMatch(manifest.Match{UUID: s}) == nil && s != ""
}
