package site

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/manifest"
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
