package accept_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust"
)

// withDocuments makes machines have documents of their own.
func withDocuments(m *manifest.Manifest) { m.Documents = true }

// Each machine has its own document, found by its first name; without one it
// has the manifest's default.
func TestDocument(t *testing.T) {
	sim := newSim(t)
	s := publish(t, sim, 12, withDocuments)
	for _, c := range []struct {
		files   site
		version int64
		boot    []string
	}{
		{nil, 12, []string{"installer", "rescue"}},
		{document(t, sim, 12, other), 12, []string{"installer", "rescue"}},
		{document(t, sim, 12, manifest.Match{MAC: machine.MACs[0]}), 12, []string{"rescue"}},
		{document(t, sim, 13, manifest.Match{UUID: machine.UUID}).with(document(t, sim, 12, manifest.Match{MAC: machine.MACs[0]})), 13, []string{"rescue"}},
	} {
		a := boots(t, medium(sim, 1, state.Floor{}), s.with(c.files), trusted(day0), 1)
		if got := a.Manifest.Select(machine); a.Manifest.Version != c.version || !slices.Equal(got, c.boot) {
			t.Errorf("version %d boots %q, want %d and %q", a.Manifest.Version, got, c.version, c.boot)
		}
		if f := a.Floor(); f.Version != 12 || f.SHA256 != object.OfBytes(s[manifest.File]).SHA256 {
			t.Errorf("floor %v, want the manifest's", f)
		}
	}
	// Without the word of the manifest nobody asks for documents.
	a := boots(t, medium(sim, 1, state.Floor{}), publish(t, sim, 12).with(document(t, sim, 12, manifest.Match{UUID: machine.UUID})), trusted(day0), 1)
	if a.Manifest.Document != "" {
		t.Error("a document was read that the manifest does not announce")
	}
}

// Genuine parts that do not belong together.
func TestMixAndMatch(t *testing.T) {
	sim := newSim(t)
	mac := manifest.Match{MAC: machine.MACs[0]}
	mine := manifest.DocumentPath(manifest.DocumentID(mac))
	s := publish(t, sim, 12, withDocuments)
	moved := func(from site, to string) site {
		for name, data := range from {
			if !strings.HasSuffix(name, ".sig") {
				return site{to: data, to + ".sig": from[name+".sig"]}
			}
		}
		return nil
	}
	both := manifest.Match{MAC: machine.MACs[0], Serial: "another"}
	alike := document(t, sim, 12, manifest.Match{UUID: machine.UUID, Serial: "another"})
	for name, c := range map[string]struct {
		files site
		want  error
	}{
		"document of another machine":          {moved(document(t, sim, 12, other), mine), manifest.ErrWrongProduct},
		"the manifest as a document":           {moved(site{manifest.File: s[manifest.File], manifest.File + ".sig": s[manifest.Signature]}, mine), manifest.ErrWrongProduct},
		"a document as the manifest":           {moved(document(t, sim, 12, mac), manifest.File), manifest.ErrWrongProduct},
		"document of an older version":         {document(t, sim, 11, mac), accept.ErrRollback},
		"document of a version far ahead":      {document(t, sim, 12+accept.MaxJump, mac), accept.ErrFastForward},
		"document of one that shares one name": {alike, manifest.ErrWrongProduct},
		"manifest of 13, signature of 12": {site{
			manifest.File: publish(t, sim, 13)[manifest.File],
		}, trust.ErrUntrusted},
		"document without a signature": {site{mine: document(t, sim, 12, mac)[mine]}, trust.ErrUntrusted},
		"document of another's serial": {moved(document(t, sim, 12, both), mine), manifest.ErrWrongProduct},
	} {
		t.Run(name, func(t *testing.T) {
			refuses(t, medium(sim, 1, state.Floor{}), s.with(c.files), trusted(day0), c.want)
		})
	}
	t.Run("document of an epoch before", func(t *testing.T) {
		stale := document(t, sim, 12, mac)
		sim.Issue(func(st *trust.Statement) { st.Epoch++ })
		refuses(t, medium(sim, 1, state.Floor{}), publish(t, sim, 1, withDocuments).with(stale), trusted(day0), accept.ErrRollback)
	})
}
