package site

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/keys"
	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

// fleet gives the project n machines with documents.
func (p *project) fleet(n int) {
	p.options.Documents, p.options.Machines = true, nil
	for i := range n {
		p.options.Machines = append(p.options.Machines, manifest.Machine{
			Match: manifest.Match{MAC: fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&0xff)}, Boot: []string{"installer"},
		})
	}
}

// boots returns what machine i of the fleet boots, and by which document.
func (p *project) boots(t *testing.T, store *trust.Store, i int) (names []string, document string, err error) {
	t.Helper()
	j := accept.New(store, p.terms())
	files, now := Files(p.options.Dir), deskTime(p.options.Now)
	if err := j.Walk(t.Context(), files); err != nil {
		return nil, "", err
	}
	site, err := j.Manifest(t.Context(), files, now)
	if err != nil {
		return nil, "", err
	}
	id := manifest.Identity{MACs: []string{fmt.Sprintf("52:54:00:00:%02x:%02x", i>>8, i&0xff)}}
	a, err := j.Document(t.Context(), files, now, site, id)
	if err != nil {
		return nil, "", err
	}
	return a.Manifest.Select(id), a.Manifest.Document, nil
}

func TestDocuments(t *testing.T) {
	p, sim := newRotating(t)
	memtest := p.options.Entries["installer"]
	memtest.Title = "Memory test"
	p.options.Entries["memtest"] = memtest
	p.options.Default = []string{"memtest"}
	p.fleet(20)
	if res := p.publish(t); res.Documents != 20 {
		t.Errorf("result %+v", res)
	}
	for i := range 21 {
		names, document, err := p.boots(t, sim.Store(1), i)
		want := fmt.Sprintf("[installer] mac-52-54-00-00-00-%02x", i)
		if i == 20 {
			want = "[memtest] "
		}
		if got := fmt.Sprint(names, " ", document); got != want || err != nil {
			t.Errorf("machine %d: %s, %v, want %s", i, got, err, want)
		}
	}
	for name, mode := range p.list(t) {
		if mode != 0o644 {
			t.Errorf("%s: mode %v", name, mode)
		}
	}
	// Others take its place neither as the site's manifest nor as each other.
	swap := func(from, to string) {
		for _, suffix := range []string{"", ".sig"} {
			if err := os.WriteFile(filepath.Join(p.options.Dir, to+suffix), p.read(t, from+suffix), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	swap("machines/mac-52-54-00-00-00-01.json", "machines/mac-52-54-00-00-00-02.json")
	if _, _, err := p.boots(t, sim.Store(1), 2); !errors.Is(err, manifest.ErrWrongProduct) {
		t.Errorf("another machine's document: %v", err)
	}
	p.fleet(2)
	p.publish(t)
	if left := entries(t, filepath.Join(p.options.Dir, "machines")); len(left) != 4 {
		t.Errorf("documents after the fleet shrank: %v", left)
	}
	swap("machines/mac-52-54-00-00-00-01.json", "manifest.json")
	if _, _, err := p.boots(t, sim.Store(1), 1); !errors.Is(err, manifest.ErrWrongProduct) {
		t.Errorf("a document as manifest: %v", err)
	}
}

// TestDocumentsSwap: between all steps of a publication that makes the fleet
// smaller, replaces a key, and changes the default, every machine boots what
// was meant for it before or after, or tries once more. The one that leaves the
// fleet never boots the old default.
func TestDocumentsSwap(t *testing.T) {
	for _, rotated := range []bool{false, true} {
		for stop, count := 0, 1; stop <= count; stop++ {
			count = stopDocuments(t, stop, rotated)
		}
	}
}

// stopDocuments stops that publication after some of its steps, and returns how
// many there are.
func stopDocuments(t *testing.T, stop int, rotated bool) (count int) {
	p, sim := newRotating(t)
	wipe := p.options.Entries["installer"]
	p.options.Entries["wipe"], p.options.Entries["wait"] = wipe, wipe
	p.options.Default = []string{"wipe"}
	p.fleet(3)
	p.publish(t)
	if rotated {
		sim.Rotate(trusttest.Manifest)
	}
	p.take(t, sim)
	p.fleet(2)
	p.options.Default = []string{"wait"}
	run := &publication{PublishOptions: p.options}
	ctx := t.Context()
	_, err := run.run(ctx, run.begin, run.describe, func() error { return run.sign(ctx) },
		func() error { return run.objects(ctx) }, func() error { return run.documents(ctx) }, run.carry,
		func() error {
			steps, err := run.swap()
			count = len(steps)
			for _, step := range steps[:min(stop, count)] {
				err = errors.Join(err, step())
			}
			return err
		})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		names, _, err := p.boots(t, sim.Store(1), i)
		got := fmt.Sprint(names)
		switch {
		// Documents are signed by the new key alone: between two renames
		// machines try once more.
		case errors.Is(err, trust.ErrUntrusted) && rotated:
		// So does a machine whose document is about to go.
		case errors.Is(err, accept.ErrRollback) && i == 2:
		case err != nil:
			t.Errorf("after %d of %d steps, machine %d: %v", stop, count, i, err)
		case got != "[installer]" && !(i == 2 && got == "[wait]"):
			t.Errorf("after %d of %d steps, machine %d boots %s", stop, count, i, got)
		}
	}
	p.options.Now = p.options.Now.Add(time.Second)
	p.publish(t)
	for i, want := range []string{"[installer]", "[installer]", "[wait]"} {
		if names, _, err := p.boots(t, sim.Store(1), i); err != nil || fmt.Sprint(names) != want {
			t.Errorf("machine %d boots %v, %v, want %s", i, names, err, want)
		}
	}
	return count
}

func TestDocumentsEnd(t *testing.T) {
	p, _ := newRotating(t)
	p.fleet(3)
	p.publish(t)
	p.options.Documents = false
	p.publish(t)
	if _, err := os.Lstat(filepath.Join(p.options.Dir, "machines")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("documents are still there: %v", err)
	}
	p.offers(t, 2)
}

// TestVersions: a site that was lost or restored from an old copy goes on where
// the keys folder knows that it was.
func TestVersions(t *testing.T) {
	p, sim := newRotating(t)
	p.publish(t)
	data, sigs := p.read(t, "manifest.json"), p.read(t, "manifest.json.sig")
	p.publish(t)
	for name, lose := range map[string]func() error{
		"folder lost":     func() error { return os.RemoveAll(p.options.Dir) },
		"manifest lost":   func() error { return os.Remove(filepath.Join(p.options.Dir, "manifest.json")) },
		"signatures lost": func() error { return os.Remove(filepath.Join(p.options.Dir, "manifest.json.sig")) },
		"old copy": func() error {
			return errors.Join(os.WriteFile(filepath.Join(p.options.Dir, "manifest.json"), data, 0o644),
				os.WriteFile(filepath.Join(p.options.Dir, "manifest.json.sig"), sigs, 0o644))
		},
		"notes lost": func() error { return os.Remove(filepath.Join(p.options.Keys.Dir, keys.PublishedFile)) },
	} {
		before := p.publish(t).Version
		if err := lose(); err != nil {
			t.Fatal(err)
		}
		if res := p.publish(t); res.Version != before+1 {
			t.Errorf("%s: version %d after %d", name, res.Version, before)
		}
	}
	sim.Revoke(sim.Manifest)
	p.take(t, sim)
	if res := p.publish(t); res.Epoch != 2 || res.Version != 1 {
		t.Errorf("after a key was revoked: %+v", res)
	}
	if res := p.publish(t); res.Epoch != 2 || res.Version != 2 {
		t.Errorf("then: %+v", res)
	}
}

// TestThiefWroteHere: a manifest that a thief of an old key put into the folder
// is neither signed once more nor continued, once the key is revoked.
func TestThiefWroteHere(t *testing.T) {
	p, sim := newRotating(t)
	p.publish(t)
	thief := *p
	thief.options.Keys = &keys.Set{Dir: t.TempDir(), Store: p.options.Keys.Store, Chain: p.options.Keys.Chain}
	if err := keys.Record(thief.options.Keys.Dir, keys.Publication{
		Arch: "amd64", Channel: "stable", Statement: 1, Epoch: 1, Version: 1 << 62, SHA256: object.OfBytes(nil).SHA256, Issued: p.options.Now,
	}); err != nil {
		t.Fatal(err)
	}
	thief.publish(t) // version 2^62 + 1
	if _, err := Publish(t.Context(), p.options); !errors.Is(err, accept.ErrFastForward) {
		t.Errorf("Publish goes on from the thief's version: %v", err)
	}
	sim.Rotate(trusttest.Manifest)
	p.take(t, sim)
	run := &publication{PublishOptions: p.options}
	if _, err := run.run(t.Context(), run.begin, run.describe, run.carry); err != nil {
		t.Fatal(err)
	}
	if run.carried != nil {
		t.Error("the thief's manifest was signed once more")
	}
	sim.Issue(func(st *trust.Statement) {
		st.Epoch++
		st.Revoked.Keys = append(st.Revoked.Keys, trust.RevokedKey{
			Fingerprint: sim.Store(1).Statement().Roles.Manifest.Keys[0], Reason: "stolen", Since: sim.At,
		})
	})
	p.take(t, sim)
	if _, err := Publish(t.Context(), p.options); !errors.Is(err, ErrForeign) {
		t.Errorf("Publish over what a thief published: %v, want ErrForeign", err)
	}
}

func TestRevokedObject(t *testing.T) {
	p, sim := newRotating(t)
	p.publish(t)
	kernel := p.options.Entries["installer"].Linux.Kernel
	sim.Issue(func(st *trust.Statement) {
		st.Revoked.Objects = append(st.Revoked.Objects, trust.RevokedObject{SHA256: kernel.SHA256, Reason: "hole in the network", Since: sim.At})
	})
	p.take(t, sim)
	before := p.snapshot(t)
	_, err := Publish(t.Context(), p.options)
	if !errors.Is(err, accept.ErrRevoked) || !strings.Contains(err.Error(), `entry "installer"`) || !strings.Contains(err.Error(), "hole in the network") {
		t.Errorf("Publish = %v", err)
	}
	if p.snapshot(t) != before {
		t.Error("the site has changed")
	}
	r := p.verify(t, sim)
	if r.Problems != nil {
		t.Errorf("a site at statement 1: %v", r.Problems)
	}
	for name, data := range sim.Files() {
		if err := os.WriteFile(filepath.Join(p.options.Dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if r := p.verify(t, sim); len(r.Problems) != 1 || !strings.Contains(r.Problems[0], "hole in the network") {
		t.Errorf("a site that offers a revoked kernel: %q", r.Problems)
	}
}

// verify reports on the site, for a medium of each statement that it has.
func (p *project) verify(t *testing.T, sim *trusttest.Sim) Report {
	t.Helper()
	o := VerifyOptions{Dir: p.options.Dir, Time: deskTime(p.options.Now)}
	for n := int64(1); n <= sim.Statement().Version; n++ {
		if _, err := os.Stat(filepath.Join(o.Dir, accept.StatementFile(n))); err == nil {
			o.Stores = append(o.Stores, sim.Store(n))
		}
	}
	r, err := Verify(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestVerify(t *testing.T) {
	p, sim := newRotating(t)
	p.fleet(5)
	p.publish(t)
	sim.Rotate(trusttest.Manifest)
	p.take(t, sim)
	p.publish(t)
	r := p.verify(t, sim)
	if r.Problems != nil || len(r.Media) != 2 || r.Media[0].Reaches != 2 || r.Media[0].Version != 2 || r.Version != 2 || r.Statement != 2 ||
		r.Objects != 2 || r.Bytes != 600_006 || r.Documents != 5 || len(r.Signers) != 1 || r.Channel != "stable" || r.Doubts != nil {
		t.Errorf("report %+v", r)
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
	ref := p.options.Entries["installer"].Linux.Kernel
	for name, c := range map[string]struct {
		damage func(dir string) error
		says   string
	}{
		"object flipped": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, ref.Path()), bytes.Repeat([]byte("Kernel"), 100_000), 0o644)
		}, "content has sha256"},
		"object missing": {func(dir string) error { return os.Remove(filepath.Join(dir, ref.Path())) }, "no such file"},
		"document edited": {func(dir string) error {
			name := filepath.Join(dir, "machines/mac-52-54-00-00-00-01.json")
			data, err := os.ReadFile(name)
			return errors.Join(err, os.WriteFile(name, bytes.Replace(data, []byte("quiet"), []byte("QUIET"), 1), 0o644))
		}, `document "mac-52-54-00-00-00-01"`},
		"document of a stranger": {func(dir string) error {
			return os.Rename(filepath.Join(dir, "machines/mac-52-54-00-00-00-01.json"), filepath.Join(dir, "machines/mac-52-54-00-00-00-77.json"))
		}, "no machine would ask for it"},
		"documents missing": {func(dir string) error { return os.RemoveAll(filepath.Join(dir, "machines")) }, "documents:"},
		"manifest edited":   {func(dir string) error { return os.Truncate(filepath.Join(dir, "manifest.json"), 100) }, "untrusted"},
		"chain broken":      {func(dir string) error { return os.Truncate(filepath.Join(dir, "trust/2.json"), 100) }, "trust statement 2"},
	} {
		t.Run(name, func(t *testing.T) {
			copied := *p
			copied.options.Dir = filepath.Join(t.TempDir(), "site")
			if err := os.CopyFS(copied.options.Dir, os.DirFS(p.options.Dir)); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(copied.options.Dir); err != nil {
				t.Fatal(err)
			}
			r := copied.verify(t, sim)
			if len(r.Problems) == 0 || !strings.Contains(strings.Join(r.Problems, "\n"), c.says) {
				t.Errorf("problems %q, want one that says %q", r.Problems, c.says)
			}
		})
	}
	later := *p
	later.options.Now = p.options.Now.AddDate(0, 2, 0)
	if r := later.verify(t, sim); len(r.Problems) != 2 || !strings.Contains(r.Problems[0], "expired") {
		t.Errorf("two months later: %q", r.Problems)
	}
}
