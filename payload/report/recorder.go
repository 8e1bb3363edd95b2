package report

import (
	"crypto/rand"
	"encoding/hex"
	"io/fs"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// Recorder collects what a report tells. It is safe for parallel use, and takes
// memory for no more than one report.
type Recorder struct {
	uptime func() time.Duration

	mu     sync.Mutex
	report Report // without stages
	stages []*stage
}

// stage is a stage that may not have ended yet.
type stage struct {
	Stage
	open bool
}

// NewRecorder returns a Recorder for one boot. uptime is the time since power-on;
// only a clock that is never set will do. Of first, which is what is known from
// the beginning, Boot, Model, Medium and Product are taken.
func NewRecorder(uptime func() time.Duration, first Report) *Recorder {
	return &Recorder{uptime: uptime, report: Report{
		Boot:    first.Boot,
		Model:   clean(first.Model, maxText),
		Medium:  clean(first.Medium, maxName),
		Product: clean(first.Product, maxName),
	}}
}

// Stage begins a stage, and the function that it returns ends it.
func (r *Recorder) Stage(name string) (end func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.add(name)
	s.open = true
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		s.end(r.now())
	}
}

// Fail says why a stage failed: the newest of that name that has not ended, or
// one of its own that took no time. A code of [boot.Reason] is wanted.
//
// A report that arrives went over a network. "no-network" is therefore the news
// only as long as there is none other: it is what ends a round after every site
// on every card has failed.
//
// [boot.Reason]: https://pkg.go.dev/github.com/farboot/farboot/payload/agent/boot#Reason
func (r *Recorder) Fail(name, code, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	code, text = clean(code, maxName), clean(text, maxText)
	s := r.open(clean(name, maxName))
	if s == nil {
		s = r.add(name)
	}
	s.Code, s.Text = code, text
	if code != "no-network" || r.report.Code == "" {
		r.report.Code, r.report.Text = code, text
	}
}

// Object says that ref was fetched, in the given time, from rawURL.
func (r *Recorder) Object(what string, ref object.Ref, took time.Duration, rawURL string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.report.Objects) == maxObjects {
		r.report.Objects = slices.Delete(r.report.Objects, 0, 1)
		r.report.Dropped++
	}
	o := Object{What: clean(what, maxName), Size: ref.Size, SHA256: ref.SHA256, Took: took.Milliseconds()}
	if u, err := url.Parse(rawURL); err == nil {
		o.From = clean(u.Host, maxHost)
	}
	r.report.Objects = append(r.report.Objects, o)
}

// Believes says which trust statement the machine has come to.
func (r *Recorder) Believes(statement int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Statement = statement
}

// Accepted says which manifest was accepted.
func (r *Recorder) Accepted(epoch, version int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Epoch, r.report.Version = epoch, version
}

// Chosen says which entry is tried.
func (r *Recorder) Chosen(entry string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Entry = clean(entry, maxName)
}

// Report returns what there is to report at this moment. Stages that have not
// ended took the time until now.
func (r *Recorder) Report(o Outcome, id manifest.Identity, now clock.Time) Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.report
	out.Format, out.Outcome, out.Machine = Format, o, Of(id)
	out.Uptime, out.Time, out.TimeTrusted = r.now(), now.Now.UTC().Truncate(time.Second), now.Trusted
	out.Objects, out.Works = slices.Clone(out.Objects), cloneWorks(out.Works)
	for _, s := range r.stages {
		shown := *s
		shown.end(r.now())
		out.Stages = append(out.Stages, shown.Stage)
	}
	return out
}

// now returns the milliseconds since power-on.
func (r *Recorder) now() int64 { return max(r.uptime().Milliseconds(), 0) }

// add begins a stage that has ended already.
func (r *Recorder) add(name string) *stage {
	if len(r.stages) == maxStages {
		r.stages = slices.Delete(r.stages, 0, 1)
		r.report.Dropped++
	}
	s := &stage{Stage: Stage{Name: clean(name, maxName), Start: r.now()}}
	r.stages = append(r.stages, s)
	return s
}

// open returns the newest stage of that name that has not ended, or nil.
func (r *Recorder) open(name string) *stage {
	for _, s := range slices.Backward(r.stages) {
		if s.open && s.Name == name {
			return s
		}
	}
	return nil
}

// end ends a stage, once.
func (s *stage) end(now int64) {
	if s.open {
		s.open, s.Took = false, max(now-s.Start, 0)
	}
}

// Of takes those of a machine's names that a manifest could hold.
func Of(id manifest.Identity) Machine {
	m := Machine{UUID: strings.ToLower(id.UUID), Serial: id.Serial}
	if manifest.CheckMatch(manifest.Match{UUID: m.UUID}) != nil {
		m.UUID = ""
	}
	if manifest.CheckMatch(manifest.Match{Serial: m.Serial}) != nil {
		m.Serial = ""
	}
	for _, mac := range id.MACs {
		mac = strings.ToLower(mac)
		if manifest.CheckMatch(manifest.Match{MAC: mac}) == nil && len(m.MACs) < maxMACs {
			m.MACs = append(m.MACs, mac)
		}
	}
	return m
}

// bootIDFile is where the kernel has a random UUID that it draws once a boot, see
// Documentation/admin-guide/sysctl/kernel.rst, below /proc.
const bootIDFile = "sys/kernel/random/boot_id"

// BootID returns an id of this boot. proc is the file tree of /proc. Where that
// has none, each call draws another.
func BootID(proc fs.FS) string {
	data, err := fs.ReadFile(proc, bootIDFile)
	if id := strings.TrimSpace(string(data)); err == nil && isUUID(id) {
		return id
	}
	var b [16]byte
	rand.Read(b[:])
	x := hex.EncodeToString(b[:])
	return strings.Join([]string{x[:8], x[8:12], x[12:16], x[16:20], x[20:]}, "-")
}

// maxRead bounds what is looked at of a text, in bytes. Whole words only: half
// a URL hides that what it begins with is a password.
const maxRead = 8 << 10

// clean makes text of at most most bytes that has no secrets and nothing but
// printable ASCII.
func clean(s string, most int) string {
	if len(s) > maxRead {
		s = s[:strings.LastIndexByte(s[:maxRead], ' ')+1] + "..."
	}
	words := strings.Fields(s)
	for i, w := range words {
		words[i] = bare(w)
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, strings.Join(words, " "))
	if len(s) > most {
		return s[:most-len("...")] + "..."
	}
	return s
}

// bare cuts a word that holds a URL down to its harmless part: neither
// credentials nor query nor fragment. It errs on the side of cutting too much.
func bare(word string) string {
	i := strings.Index(word, "://")
	if i < 0 {
		return word
	}
	scheme, rest := word[:i+len("://")], word[i+len("://"):]
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	return scheme + rest[strings.LastIndexByte(rest, '@')+1:]
}
