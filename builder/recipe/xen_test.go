package recipe_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// siteWithXen has every key of an entry for Xen.
const siteWithXen = `kind: site
entries:
  xen:
    title: Xen
    xen:
      hypervisor: {deb: xen-hypervisor-4.17-amd64, file: boot/xen-4.17-amd64.gz}
      options: dom0_mem=512M console=com1
      kernel: {file: vmlinuz}
      initrd: [{file: a.img}, {file: b.img}]
      cmdline: console=hvc0
      modules: [{file: ucode.bin, args: first second}, {file: policy}]
      network: true
      watchdog: 300
default: [xen]
`

func TestXen(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(siteWithXen))
	if err != nil {
		t.Fatal(err)
	}
	entry := r.Site.Entries["xen"]
	got, err := entry.Manifest(maker{})
	if err != nil {
		t.Fatal(err)
	}
	hypervisor := entry.Xen.Hypervisor.Name()
	want := manifest.Entry{Title: "Xen", Xen: &manifest.Xen{
		Hypervisor: of(hypervisor), Options: "dom0_mem=512M console=com1",
		Kernel: of("file:vmlinuz"), Initrd: []object.Ref{of("file:a.img"), of("file:b.img")}, Cmdline: "console=hvc0",
		Modules: []manifest.XenModule{{Object: of("file:ucode.bin"), Args: "first second"}, {Object: of("file:policy")}}, Network: true, Watchdog: 300,
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	var names []string
	for _, in := range r.Inputs() {
		names = append(names, in.Name())
	}
	if diff := cmp.Diff([]string{hypervisor, "file:vmlinuz", "file:a.img", "file:b.img", "file:ucode.bin", "file:policy"}, names); diff != "" {
		t.Error(diff)
	}
	broken := errors.New("no disk")
	if _, err := entry.Manifest(maker{broken}); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestRefusalsOfXen(t *testing.T) {
	for _, m := range []mistake{
		{"no hypervisor", siteWithXen, "      hypervisor: {deb: xen-hypervisor-4.17-amd64, file: boot/xen-4.17-amd64.gz}\n", "", `entries.xen.xen.hypervisor: want one of deb, url and file`, ``},
		{"file of the package", siteWithXen, ", file: boot/xen-4.17-amd64.gz", "", `x.yaml:6: entries.xen.xen.hypervisor: which file`, `add "file:"`},
		{"no kernel", siteWithXen, "      kernel: {file: vmlinuz}\n", "", `entries.xen.xen.kernel: want one of deb, url and file`, ``},
		{"long options", siteWithXen, "dom0_mem=512M", strings.Repeat("x", 961), `x.yaml:7: entries.xen.xen.options: command line`, ``},
		{"command line", siteWithXen, "console=hvc0", `a="`, `x.yaml:10: entries.xen.xen.cmdline: command line "a=\"": a double quote`, ``},
		{"module", siteWithXen, "{file: policy}", "{args: x}", `x.yaml:11: entries.xen.xen.modules[1]: want one of deb, url and file`, ``},
		{"module's arguments", siteWithXen, "first second", `'"'`, `entries.xen.xen.modules[0].args: command line`, ``},
		{"modules", siteWithXen, "{file: policy}", strings.Repeat("{file: policy}, ", 8), `entries.xen.xen.modules: 9 items, at most 8`, ``},
		{"initrds", siteWithXen, "{file: b.img}", strings.Repeat("{file: b.img}, ", 16), `entries.xen.xen.initrd: 17 items, at most 16`, ``},
		{"watchdog", siteWithXen, "watchdog: 300", "watchdog: 5", `x.yaml:13: entries.xen.xen.watchdog: watchdog of 5 seconds`, `takes it over`},
		{"two kinds", siteWithXen, "    xen:\n", "    local: {}\n    xen:\n", `entries.xen: want exactly one of linux,`, `"xen:"`},
	} {
		t.Run(m.name, m.refused)
	}
}
