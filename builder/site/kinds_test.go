package site

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
)

// TestPublishKinds: entries without objects are published beside those with some,
// and what an entry asks of the agent reaches it.
func TestPublishKinds(t *testing.T) {
	p := newProject(t)
	installer := p.options.Entries["installer"].Linux
	installer.Network, installer.Watchdog = true, 300
	p.options.Entries["disk"] = manifest.Entry{Title: "Installed system", Local: &manifest.Local{Disk: "S3Z8NB0K"}}
	p.options.Entries["off"] = manifest.Entry{Title: "Switch off", Power: &manifest.Power{Action: manifest.Off}}
	p.options.Default = []string{"installer", "disk", "off"}
	if res := p.publish(t); res.Objects != 2 {
		t.Errorf("%d objects, want those of the installer", res.Objects)
	}
	p.offers(t, 1)
	a, err := asMedium(t.Context(), p.options.Keys.Store, p.terms(), Files(p.options.Dir), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(p.options.Entries, a.Manifest.Entries); diff != "" {
		t.Errorf("published entries (-want +got):\n%s", diff)
	}
}

// works gives the project an entry of each kind that works on machines, and what
// belongs to them.
func (p *project) works(t *testing.T) {
	t.Helper()
	program, toolbox := p.file(t, "run", []byte("#!/bin/sh\n")), p.file(t, "toolbox", []byte("hsqs"))
	image, index, seed := p.file(t, "image", []byte("image")), p.file(t, "index", []byte("index")), p.file(t, "seed", []byte("seed"))
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEw6VSDgdXPuB1YnhE5SJt9XtQHBH0G3YQFTM+iF1UX"
	p.options.Entries["repair"] = manifest.Entry{Title: "Repair", Script: &manifest.Script{Program: program, Toolbox: &toolbox}}
	p.options.Entries["rescue"] = manifest.Entry{Title: "Rescue", Rescue: &manifest.Rescue{Keys: []string{key}, Toolbox: &toolbox}}
	p.options.Entries["image"] = manifest.Entry{Title: "Image", Flash: &manifest.Flash{
		Image: image, Index: index, Files: []manifest.FlashFile{{Partition: 1, Path: "/seed", Object: &seed}},
	}}
	p.options.Files = map[string]object.Ref{"data": p.file(t, "data", []byte("data"))}
	p.options.Menu = &manifest.Menu{Seconds: 10, Entries: []string{"rescue"}}
	p.options.Limits = &manifest.Limits{Rounds: 1}
}

// TestPublishWorks: whatever a manifest names is on the site, be it needed at the
// start of an entry or later, and is looked for before the manifest is offered.
func TestPublishWorks(t *testing.T) {
	p := newProject(t)
	p.works(t)
	if res := p.publish(t); res.Objects != 8 {
		t.Errorf("%d objects, want 2 of the installer and 6 others", res.Objects)
	}
	p.offers(t, 1)
	a, err := asMedium(t.Context(), p.options.Keys.Store, p.terms(), Files(p.options.Dir), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	got := PublishOptions{Entries: a.Manifest.Entries, Menu: a.Manifest.Menu, Limits: a.Manifest.Limits, Files: a.Manifest.Files}
	want := PublishOptions{Entries: p.options.Entries, Menu: p.options.Menu, Limits: p.options.Limits, Files: p.options.Files}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	for ref, path := range p.options.Objects {
		if filepath.Base(path) == "kernel" || filepath.Base(path) == "initrd" {
			continue
		}
		missing := newProject(t)
		missing.works(t)
		delete(missing.options.Objects, ref)
		if _, err := Publish(t.Context(), missing.options); err == nil || !strings.Contains(err.Error(), ref.SHA256.String()) {
			t.Errorf("without %s: %v", filepath.Base(path), err)
		}
	}
}

// TestPublishRevoked: an object that is revoked is refused wherever it is named.
func TestPublishRevoked(t *testing.T) {
	for name, where := range map[string]string{
		"run": `entry "repair"`, "toolbox": `entry "re`, "image": `entry "image"`, "index": `entry "image"`, "seed": `entry "image"`, "data": `file "data"`,
	} {
		p, sim := newRotating(t)
		p.works(t)
		for ref, path := range p.options.Objects {
			if filepath.Base(path) == name {
				sim.Issue(func(st *trust.Statement) {
					st.Revoked.Objects = append(st.Revoked.Objects, trust.RevokedObject{SHA256: ref.SHA256, Reason: "a hole", Since: sim.At})
				})
			}
		}
		p.take(t, sim)
		if _, err := Publish(t.Context(), p.options); !errors.Is(err, accept.ErrRevoked) || !strings.Contains(err.Error(), where) {
			t.Errorf("%s: %v, want ErrRevoked in %s", name, err, where)
		}
	}
}

// TestPublishLeaks: a secret key is found in whatever part of an entry it lies.
func TestPublishLeaks(t *testing.T) {
	for _, name := range []string{"run", "toolbox", "image", "index", "seed", "data"} {
		p := newProject(t)
		secret, err := os.ReadFile(filepath.Join(p.secrets, firstFile(t, p.secrets)))
		if err != nil {
			t.Fatal(err)
		}
		p.works(t)
		swap(p, t, name, secret)
		if _, err := Publish(t.Context(), p.options); !errors.Is(err, leak.ErrSecret) {
			t.Errorf("%s: %v, want ErrSecret", name, err)
		}
	}
}

// swap replaces the content of one of the project's files, wherever it is named.
func swap(p *project, t *testing.T, name string, data []byte) {
	t.Helper()
	for old, path := range p.options.Objects {
		if filepath.Base(path) != name {
			continue
		}
		now := p.file(t, name, data)
		text, err := json.Marshal(p.options.Entries)
		if err != nil {
			t.Fatal(err)
		}
		was, is := fmt.Sprintf(`{"size":%d,"sha256":"%s"}`, old.Size, old.SHA256), fmt.Sprintf(`{"size":%d,"sha256":"%s"}`, now.Size, now.SHA256)
		p.options.Entries = nil
		if err := json.Unmarshal(bytes.ReplaceAll(text, []byte(was), []byte(is)), &p.options.Entries); err != nil {
			t.Fatal(err)
		}
		for name, ref := range p.options.Files {
			if ref == old {
				p.options.Files[name] = now
			}
		}
		return
	}
	t.Fatalf("no file %s", name)
}

// firstFile returns the name of a file in dir.
func firstFile(t *testing.T, dir string) string {
	t.Helper()
	names, err := os.ReadDir(dir)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", dir, names, err)
	}
	return names[0].Name()
}

// TestDocumentsHaveMenus: a machine's document holds what its menu offers, and no
// more; the site's menu is in it where it has none of its own.
func TestDocumentsHaveMenus(t *testing.T) {
	p := newProject(t)
	p.works(t)
	p.fleet(2)
	p.options.Machines[1].Menu = &manifest.Menu{Seconds: 5, Entries: []string{"image"}}
	p.publish(t)
	for i, want := range []string{"[installer rescue] 10 [rescue]", "[image installer] 5 [image]"} {
		id := manifest.DocumentID(p.options.Machines[i].Match)
		data, err := os.ReadFile(filepath.Join(p.options.Dir, filepath.FromSlash(manifest.DocumentPath(id))))
		if err != nil {
			t.Fatal(err)
		}
		var m manifest.Manifest
		if err := json.Unmarshal(data, &m); err != nil {
			t.Fatal(err)
		}
		menu := m.For(manifest.Identity{MACs: []string{p.options.Machines[i].Match.MAC}}).Menu
		if got := fmt.Sprint(slices.Sorted(maps.Keys(m.Entries)), " ", menu.Seconds, " ", menu.Entries); got != want {
			t.Errorf("document %d: %s, want %s", i, got, want)
		}
		if m.Limits == nil || len(m.Files) != 1 {
			t.Errorf("document %d: limits %v, files %v", i, m.Limits, m.Files)
		}
	}
	report, err := Verify(t.Context(), VerifyOptions{
		Dir: p.options.Dir, Stores: []*trust.Store{p.options.Keys.Store}, Terms: p.terms(), Time: deskTime(time.Now()),
	})
	if err != nil || len(report.Problems) != 0 || report.Objects != 8 {
		t.Errorf("%d objects, %q, %v", report.Objects, report.Problems, err)
	}
}
