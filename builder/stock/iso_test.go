//go:build boot || long

package stock_test

import (
	"os"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/internal/liveiso"
	"github.com/farboot/farboot/builder/stock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// TestISO: what a manifest says of a live ISO is where it says, and what was made beside
// it is made once.
func TestISO(t *testing.T) {
	iso, err := os.ReadFile(liveiso.Build(t))
	if err != nil {
		t.Fatal(err)
	}
	d := newDesk(t, map[string][]byte{"live.iso": iso}, `
  e:
    title: x
    iso: {image: live, options: {hostname: reading-room, ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f anna"]}, cache: {size: 64}, memory: 700}
  tree: {title: x, iso: {image: tree, watchdog: 60}}
images:
  live: {file: live.iso}
  tree: {file: live.iso, format: castr}
`)
	var first *manifest.Iso
	for range 2 {
		s := stock.New(t.Context(), d.parts)
		e, err := d.recipe.Site.Entries["e"].Manifest(s)
		if err != nil {
			t.Fatal(err)
		}
		x := e.Iso
		if err := e.Validate(); err != nil {
			t.Error(err)
		}
		for name, p := range map[string]manifest.Part{"/live/vmlinuz": x.Kernel, "/live/initrd.img": x.Initrd[0]} {
			if p.Path != name || p.Object != nil || p.Offset%2048 != 0 || p.Offset+p.Size > int64(len(iso)) {
				t.Errorf("%s: %+v", name, p)
			}
		}
		if got := string(iso[x.Kernel.Offset+0x202:][:4]); got != "HdrS" {
			t.Errorf("what lies where the kernel should begins %q", got)
		}
		if len(x.Initrd) != 2 || !strings.Contains(string(content(t, s, *x.Initrd[1].Object)), "ssh-ed25519 AAAA") {
			t.Errorf("initrds %+v", x.Initrd)
		}
		if init := content(t, s, *x.Init.File); !strings.HasPrefix(string(init), "#!/bin/sh") {
			t.Errorf("init %.20q", init)
		}
		if data := content(t, s, *x.Modules); !strings.HasPrefix(string(data), "\x28\xb5\x2f\xfd") {
			t.Errorf("modules %.4q", data)
		}
		if x.Memory != 700 || x.Cache == nil || x.Cache.Size != 64 || x.Image.Zst == nil || x.Family != "live-boot" || !strings.HasSuffix(x.Cmdline, "hostname=reading-room") {
			t.Errorf("%+v", x)
		}
		if first != nil && (*first.Modules != *x.Modules || first.Image.Index != x.Image.Index) {
			t.Errorf("made again, it is %+v", x)
		}
		first = x
		if e, err = d.recipe.Site.Entries["tree"].Manifest(s); err != nil || !e.Iso.Image.Castr || e.Iso.Watchdog != 60 || e.Iso.Memory < 300 {
			t.Fatalf("%+v, %v", e.Iso, err)
		}
		if _, err := s.Chunked(d.recipe.Site.Images["tree"]); err != nil || len(s.Trees()) != 1 {
			t.Errorf("%d trees, %v", len(s.Trees()), err)
		}
		if got := object.OfBytes(content(t, s, x.Image.Index)); got != x.Image.Index {
			t.Errorf("index %v", got)
		}
	}
}
