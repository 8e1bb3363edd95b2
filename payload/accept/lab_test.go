package accept_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// day0 is when everything begins: keys, statement 1, the medium.
var day0 = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// The machine that asks, and another one.
var (
	machine = manifest.Identity{UUID: "4c4c4544-0042-3510-8050-b4c04f4d5931", MACs: []string{"52:54:00:12:34:56"}}
	other   = manifest.Match{MAC: "52:54:00:12:34:57"}
)

// site is what a server serves.
type site map[string][]byte

// read is an accept.Files.
func (s site) read(_ context.Context, name string, max int64) ([]byte, error) {
	data, ok := s[name]
	switch {
	case !ok:
		return nil, &fs.PathError{Op: "get", Path: name, Err: fs.ErrNotExist}
	case int64(len(data)) > max:
		return nil, errors.New("too large")
	}
	return data, nil
}

// with returns a copy that has the other's files, too.
func (s site) with(more site) site {
	s = maps.Clone(s)
	maps.Copy(s, more)
	return s
}

// sample returns a manifest of the given version and of the sim's epoch, which
// runs for a month.
func sample(sim *trusttest.Sim, version int64) *manifest.Manifest {
	return &manifest.Manifest{
		Epoch: sim.Statement().Epoch, Version: version, Issued: sim.At, Expires: sim.At.AddDate(0, 1, 0),
		Product: "demo", Arch: "amd64", Channel: "stable",
		Entries: map[string]manifest.Entry{
			"installer": linux("kernel", "initrd"),
			"rescue":    linux("old kernel", "initrd"),
		},
		Default: []string{"installer", "rescue"},
	}
}

// linux returns an entry with the given content as its kernel and initrd.
func linux(kernel, initrd string) manifest.Entry {
	return manifest.Entry{Title: "Linux", Linux: &manifest.Linux{
		Kernel: object.OfBytes([]byte(kernel)), Initrd: []object.Ref{object.OfBytes([]byte(initrd))},
	}}
}

// publish returns the sim's site with a manifest of the given version, after
// changes.
func publish(t *testing.T, sim *trusttest.Sim, version int64, changes ...func(*manifest.Manifest)) site {
	t.Helper()
	m := sample(sim, version)
	for _, change := range changes {
		change(m)
	}
	return site(sim.Files()).with(signed(t, sim, manifest.File, m))
}

// signed returns a manifest's two files, signed by the given keys or by those
// that the newest statement asks for.
func signed(t *testing.T, sim *trusttest.Sim, name string, m *manifest.Manifest, keys ...*trusttest.Key) site {
	t.Helper()
	data, err := manifest.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	return site{name: data, name + ".sig": sim.SignManifest(data, keys...)}
}

// document returns the two files of the document for match, of the given version.
func document(t *testing.T, sim *trusttest.Sim, version int64, match manifest.Match) site {
	t.Helper()
	m := sample(sim, version)
	m.Document = manifest.DocumentID(match)
	m.Machines, m.Default = []manifest.Machine{{Match: match, Boot: []string{"rescue"}}}, nil
	return signed(t, sim, manifest.DocumentPath(m.Document), m)
}

// medium returns a Judge of a medium that was built with the given statement and
// with floor.
func medium(sim *trusttest.Sim, statement int64, floor state.Floor) *accept.Judge {
	return accept.New(sim.Store(statement), terms(floor))
}

func terms(floor state.Floor) accept.Terms {
	return accept.Terms{Product: "demo", Arch: "amd64", Channel: "stable", Floor: floor}
}

// trusted and unsure are the time of day with and without somebody's word.
func trusted(at time.Time) clock.Time { return clock.Time{Now: at, Trusted: true, Source: "https://a"} }
func unsure(at time.Time) clock.Time  { return clock.Time{Now: at, Source: "the firmware's clock"} }

// boot goes through a site as the agent does. A walk that fails is not fatal.
func boot(t *testing.T, j *accept.Judge, s site, now clock.Time) (a *accept.Accepted, walk, err error) {
	t.Helper()
	walk = j.Walk(t.Context(), s.read)
	if a, err = j.Manifest(t.Context(), s.read, now); err == nil {
		a, err = j.Document(t.Context(), s.read, now, a, machine)
	}
	return a, walk, err
}

// boots wants the site to be accepted, by the given statement, and returns what
// was accepted.
func boots(t *testing.T, j *accept.Judge, s site, now clock.Time, statement int64) *accept.Accepted {
	t.Helper()
	a, walk, err := boot(t, j, s, now)
	if err = errors.Join(walk, err); err != nil {
		t.Fatalf("refused: %v", err)
	}
	if a.Statement != statement {
		t.Errorf("judged by statement %d, want %d", a.Statement, statement)
	}
	return a
}

// refuses wants the site to be refused for the given reason, and for no other.
func refuses(t *testing.T, j *accept.Judge, s site, now clock.Time, want error) {
	t.Helper()
	floor := j.Floor()
	a, _, err := boot(t, j, s, now)
	if a != nil || !errors.Is(err, want) {
		t.Errorf("accepted %v, error %v; want %v", a != nil, err, want)
	}
	for _, class := range classes {
		if class != want && errors.Is(err, class) {
			t.Errorf("%v is also of the class %v", err, class)
		}
	}
	if !j.Floor().Equal(floor) {
		t.Errorf("the refusal moved the floor from %v to %v", floor, j.Floor())
	}
}

var classes = []error{
	accept.ErrRollback, accept.ErrEquivocation, accept.ErrFastForward, accept.ErrExpired, accept.ErrNoTime, accept.ErrRevoked,
	trust.ErrUntrusted, trust.ErrMalformed, trust.ErrChain, manifest.ErrMalformed, manifest.ErrWrongProduct, fs.ErrNotExist,
}

// after returns the date so many days later.
func after(days int) time.Time { return day0.AddDate(0, 0, days) }

func newSim(t *testing.T) *trusttest.Sim {
	t.Helper()
	return trusttest.NewSim(t, "demo", day0)
}

// rotations issues statements until the sim has the given one.
func rotations(sim *trusttest.Sim, to int64) {
	for sim.Statement().Version < to {
		sim.Issue(nil)
	}
}

// name makes a subtest's name of a date.
func name(at time.Time, more string) string { return fmt.Sprintf("%d %s", at.Year(), more) }
