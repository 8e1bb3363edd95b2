package boot

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/state"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// simLab is a lab whose keys change. The medium carries statement 1.
type simLab struct {
	*lab
	sim *trusttest.Sim
}

func newSimLab(t *testing.T) *simLab {
	t.Helper()
	l := &simLab{newLab(t), trusttest.NewSim(t, "demo", built)}
	files := l.sim.Files()
	l.keys = &trusttest.Site{Statement: files["trust/1.json"], Signature: files["trust/1.json.sig"], Store: l.sim.Store(1)}
	return l
}

// publish serves the lab's manifest as version of the newest epoch, with all
// statements, and returns the site.
func (l *simLab) publish(t *testing.T, version int64) *site {
	t.Helper()
	l.keys.Manifest = l.sim.Manifest
	l.manifest.Epoch, l.manifest.Version = l.sim.Statement().Epoch, version
	files := l.files(t)
	maps.Copy(files, l.sim.Files())
	return l.site(t, files)
}

// floor returns that of the lab's manifest at some version, with bytes of its own.
func floor(version int64) state.Floor {
	return state.Floor{
		Statement: 1, Epoch: 1, Version: version, SHA256: object.OfBytes([]byte("other")).SHA256, Issued: built,
	}
}

// saw wants exactly one line for each beginning.
func saw(t *testing.T, l *lab, prefixes ...string) {
	t.Helper()
	for _, prefix := range prefixes {
		if n := len(l.said(prefix)); n != 1 {
			t.Errorf("%d lines begin with %q:\n%s", n, prefix, strings.Join(l.lines, "\n"))
		}
	}
}

// A medium of statement 1 follows the site to statement 4, says so once, and
// remembers it before the next kernel starts.
func TestFollowsStatements(t *testing.T) {
	l := newSimLab(t)
	l.sim.Rotate(trusttest.Manifest)
	l.sim.Rotate(trusttest.Root)
	l.sim.Rotate(trusttest.Manifest)
	s := l.publish(t, 12)
	l.places = []string{"firmware variable X"}
	l.execute = func() error {
		if l.memory.Floor.Version != 12 {
			t.Error("started before it was remembered")
		}
		return nil
	}
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "trust: statement 4 (the medium carries 1), product demo: 1 of ", "memory: firmware variable X: nothing yet", "floor: none")
	want := state.Floor{Statement: 4, StatementSHA256: l.sim.Store(4).ID(), Epoch: 1, Version: 12, SHA256: object.OfBytes(s.files[manifest.File]).SHA256, Issued: l.manifest.Issued}
	if !l.memory.Floor.Equal(want) {
		t.Errorf("remembers %+v, want %+v", l.memory.Floor, want)
	}
	// The next power-on starts from there.
	l.lines, l.loaded, l.executed = nil, nil, 0
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "memory: firmware variable X: statement 4, manifest 1.12", "floor: statement 4, manifest 1.12, by firmware variable X")
}

// A statement that cannot be followed is one line, and the manifest is judged by
// the last good one.
func TestBadStatement(t *testing.T) {
	l := newSimLab(t)
	l.sim.Rotate(trusttest.Manifest)
	s := l.publish(t, 12)
	s.put("trust/3.json", []byte("{}"))
	s.put("trust/3.json.sig", []byte{})
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "trust: [malformed] "+l.sites[0]+": trust statement 3: ", "trust: statement 2 (")
}

// Not every server knows 404.
func TestStatementAnsweredBadly(t *testing.T) {
	for status, want := range map[int]string{
		http.StatusInternalServerError: "trust: [unreachable] ", http.StatusBadRequest: "trust: [refused] ",
	} {
		l := newSimLab(t)
		s := l.publish(t, 12)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/trust/2.json" {
				w.WriteHeader(status)
				return
			}
			s.Config.Handler.ServeHTTP(w, r)
		}))
		t.Cleanup(server.Close)
		l.sites = []string{server.URL}
		handedOver(t, l.lab, l.run(t))
		saw(t, l.lab, want)
	}
}

// What one site shows of the chain counts for the next one: a thief who serves
// what a revoked key signed gets nowhere, in whichever order sites are asked.
func TestRevokedKeyOnNextSite(t *testing.T) {
	l := newSimLab(t)
	thief := l.publish(t, 13)
	l.sim.Revoke(l.sim.Manifest)
	good := l.publish(t, 1)
	good.mu.Lock()
	delete(good.files, object.OfBytes(kernel).Path())
	good.mu.Unlock()
	l.sites = []string{good.URL, thief.URL}
	thief.mu.Lock()
	delete(thief.files, object.OfBytes(kernel).Path())
	thief.mu.Unlock()
	refused(t, l.lab, l.run(t), "manifest: [untrusted] "+thief.URL)
	saw(t, l.lab, "manifest: version 1 of epoch 2")
}

// A publication that revokes a key changes statements and manifest. A machine
// that comes when only one of the two has arrived asks once more.
func TestHalfPublished(t *testing.T) {
	for name, part := range map[string]string{"statement first": "trust/", "manifest first": "manifest"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newSimLab(t)
			l.limits.Publication = 500 * time.Millisecond
			s := l.publish(t, 12)
			l.sim.Issue(func(st *trust.Statement) { st.Epoch++ })
			whole := l.publish(t, 1).files
			l.sites = l.sites[:1]
			for name, data := range whole {
				if strings.HasPrefix(name, part) {
					s.put(name, data)
				}
			}
			go func() {
				for s.count(manifest.Signature) == 0 {
					time.Sleep(time.Millisecond)
				}
				for name, data := range whole {
					s.put(name, data)
				}
			}()
			handedOver(t, l.lab, l.run(t))
			saw(t, l.lab, "manifest: version 1 of epoch 2")
			if l.opened != 1 {
				t.Errorf("that took %d rounds", l.opened)
			}
		})
	}
}

// Sites that are behind, or that lie, are followed by the next one.
func TestFloorRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		version int64 // of the first site
		floor   int64
		want    string
	}{
		"rollback":     {11, 12, "manifest: [rollback] "},
		"equivocation": {12, 12, "manifest: [equivocation] "},
		"fast-forward": {12 + accept.MaxJump + 1, 12, "manifest: [fast-forward] "},
	} {
		for _, by := range []string{"this medium", "partition sdb2"} {
			t.Run(name+" by "+by, func(t *testing.T) {
				t.Parallel()
				l := newSimLab(t)
				l.publish(t, c.version)
				l.publish(t, 13)
				if by == "this medium" {
					l.settings.Floor = floor(c.floor)
				} else {
					l.memory.Floor, l.places = floor(c.floor), []string{"partition sdb2"}
				}
				handedOver(t, l.lab, l.run(t))
				saw(t, l.lab, fmt.Sprintf("floor: statement 1, manifest 1.%d, by %s", c.floor, by), c.want+l.sites[0], "manifest: version 13 of epoch 1")
				if got := l.saved[0].Floor.Version; len(l.saved) != 1 || got != 13 {
					t.Errorf("saved %+v", l.saved)
				}
			})
		}
	}
}

// A rollback alone boots nothing and leaves the memory as it is.
func TestRollback(t *testing.T) {
	l := newSimLab(t)
	l.publish(t, 11)
	l.memory.Floor = floor(12)
	refused(t, l.lab, l.run(t), "manifest: [rollback] ")
	if len(l.saved) != 0 {
		t.Errorf("saved %+v", l.saved)
	}
}

// A manifest that leads to no kernel is not remembered: it must not shut out an
// older one that does.
func TestRememberWhatRuns(t *testing.T) {
	l := newSimLab(t)
	broken := l.publish(t, 13)
	l.publish(t, 12)
	l.sites = slices.Clone(l.sites)
	gone := object.OfBytes([]byte("gone"))
	l.manifest.Entries = map[string]manifest.Entry{"installer": {Title: "Gone", Linux: &manifest.Linux{Kernel: gone}}}
	l.manifest.Version = 13
	for name, data := range l.files(t) {
		broken.put(name, data)
	}
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "manifest: version 13 ", "manifest: version 12 ")
	if len(l.saved) != 1 || l.saved[0].Floor.Version != 12 {
		t.Errorf("saved %+v", l.saved)
	}
}

// A machine that cannot remember boots, and says that it does not.
func TestCannotRemember(t *testing.T) {
	l := newSimLab(t)
	l.publish(t, 12)
	l.remember = func() error { return errors.New("memory: partition sdb2: input/output error") }
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "memory: [not-saved] ")
}

// A stick that comes between the look at the memory and the hand-over, and
// remembers more, is heeded; the next round begins with what it remembers.
func TestLateStick(t *testing.T) {
	l := newSimLab(t)
	l.manifest.Entries["second"] = l.manifest.Entries["installer"]
	l.manifest.Default = []string{"installer", "second"}
	l.publish(t, 12)
	l.remember = func() error {
		l.memory.Floor, l.places = floor(14), []string{"partition sdb2"}
		return fmt.Errorf("partition sdb2: %w", state.ErrLower)
	}
	l.stopOn = "(round 3)"
	if err := l.run(t); err == nil || l.executed != 0 {
		t.Errorf("started %d times, %v", l.executed, err)
	}
	saw(t, l.lab, "memory: partition sdb2: statement 1, manifest 1.14", "installer: [rollback] ", "manifest: [rollback] ")
	if len(l.said("second: ")) != 0 {
		t.Error("another entry of the same manifest was tried")
	}
}

// What is remembered is looked at in each round.
func TestStickInSecondRound(t *testing.T) {
	l := newSimLab(t)
	s := l.publish(t, 11)
	l.stopOn = "(round 3)"
	l.load = func() error {
		l.memory.Floor, l.places = floor(12), []string{"partition sdb2"}
		return errors.New("not now")
	}
	if err := l.run(t); err == nil {
		t.Error("started")
	}
	saw(t, l.lab, "floor: none", "floor: statement 1, manifest 1.12, by partition sdb2", "manifest: [rollback] "+s.URL)
}

// An entry whose kernel is revoked is refused and the next one boots.
func TestRevokedObject(t *testing.T) {
	l := newSimLab(t)
	l.sim.Issue(func(st *trust.Statement) {
		st.Revoked.Objects = []trust.RevokedObject{{SHA256: object.OfBytes([]byte("hole")).SHA256, Reason: "CVE-2026-0001", Since: built}}
	})
	l.manifest.Entries["old"] = manifest.Entry{Title: "Old", Linux: &manifest.Linux{Kernel: object.OfBytes([]byte("hole"))}}
	l.manifest.Default = []string{"old", "installer"}
	s := l.publish(t, 12)
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "old: [revoked] ")
	if n := s.count(object.OfBytes([]byte("hole")).Path()); n != 0 {
		t.Error("a revoked kernel was downloaded")
	}
}

// A machine with a document of its own boots by that.
func TestDocument(t *testing.T) {
	l := newSimLab(t)
	l.manifest.Documents = true
	l.manifest.Default = nil
	s := l.publish(t, 12)
	refused(t, l.lab, l.run(t), "choose: [no-entry] ")
	l.lines = nil

	l.manifest.Documents = false
	match := manifest.Match{MAC: l.machine.MACs[0]}
	l.manifest.Document = manifest.DocumentID(match)
	l.manifest.Machines = []manifest.Machine{{Match: match, Boot: []string{"installer"}}}
	files := l.files(t)
	s.put("machines/mac-52-54-00-12-34-56.json", files[manifest.File])
	s.put("machines/mac-52-54-00-12-34-56.json.sig", files[manifest.Signature])
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "manifest: document mac-52-54-00-12-34-56, version 12 of epoch 1")
	if got, want := l.saved[0].Floor.SHA256, object.OfBytes(s.files[manifest.File]).SHA256; got != want {
		t.Errorf("remembers %s, want the manifest's %s", got, want)
	}
}
