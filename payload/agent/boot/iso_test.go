package boot

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/agent/cachedisk"
	"github.com/farboot/farboot/payload/agent/carried"
	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/newc"
	"github.com/farboot/farboot/payload/object"
	"github.com/google/go-cmp/cmp"
)

// release is the kernel's of what the labs boot from images.
const release = "6.1.0-test"

// moduleInitrd holds the modules that it is given, of which card is the lab's card's.
func moduleInitrd(t *testing.T, names ...string) []byte {
	t.Helper()
	var dep string
	var files []newc.File
	add := func(name, text string) {
		files = append(files, newc.File{Name: "lib/modules/" + release + "/" + name, Mode: newc.Regular | 0o644, Size: int64(len(text)), Content: strings.NewReader(text)})
	}
	for _, name := range names {
		dep += "kernel/" + name + ".ko:\n"
		add("kernel/"+name+".ko", "module "+name)
	}
	add("modules.dep", dep)
	if slices.Contains(names, "card") {
		add("modules.alias", "alias pci:card* card\n")
	}
	var out bytes.Buffer
	if err := newc.Write(&out, files); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// isoLab is a lab whose entry is a live system.
type isoLab struct {
	*simLab
	entry   *manifest.Iso
	image   []byte
	objects map[string][]byte
}

// newISOLab returns one of which everything is as it should be.
func newISOLab(t *testing.T) *isoLab {
	t.Helper()
	l := &isoLab{simLab: newSimLab(t), objects: map[string][]byte{}}
	l.image = bytes.Repeat([]byte("kernel-and-initrd"), 10_000)
	x, err := caibx.Make(bytes.NewReader(l.image), 16<<10)
	if err != nil {
		t.Fatal(err)
	}
	index, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	extra := object.OfBytes(second)
	init := object.OfBytes([]byte("#!/bin/sh"))
	l.entry = &manifest.Iso{
		Carried: manifest.Carried{Image: chunks.Image{Index: l.add(index)}, Release: release, Cmdline: "boot=live live-media={device}", Memory: 700},
		Kernel:  manifest.Part{Path: "/live/vmlinuz", Offset: 17, Size: 6}, Family: "live-boot", Init: manifest.Init{File: &init},
		Initrd: []manifest.Part{{Path: "/live/initrd", Offset: 100_000, Size: 50_001}, {Object: &extra}},
	}
	l.add([]byte("#!/bin/sh"))
	l.modules(t, "fuse", "loop", "squashfs", "card")
	l.carriage = Carriage{
		Program: save(t, "the agent"), Roots: "/nowhere",
		Cards: func() []carried.Card {
			return []carried.Card{{MAC: "52:54:00:12:34:56", Driver: "card", Aliases: []string{"pci:card1"}}, {MAC: "other"}}
		},
		Devices: func() []string { return []string{"pci:card1"} },
		Total:   func() int64 { return 700 << 20 },
		Cache:   func(context.Context, cachedisk.Where) (*cachedisk.Found, error) { return nil, cachedisk.ErrNone },
		Labelled: func(_ context.Context, label string) (local.Volume, error) {
			return local.Volume{Partition: "sda1"}, map[bool]error{true: carried.ErrNoDisk}[label != "keep"]
		},
	}
	return l
}

// save writes a file of the test.
func save(t *testing.T, text string) string {
	t.Helper()
	name := t.TempDir() + "/file"
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// add makes an object of the site.
func (l *isoLab) add(data []byte) object.Ref {
	ref := object.OfBytes(data)
	l.objects[ref.Path()] = data
	return ref
}

// modules gives the kernel these.
func (l *isoLab) modules(t *testing.T, names ...string) {
	t.Helper()
	ref := l.add(moduleInitrd(t, names...))
	l.entry.Modules = &ref
}

// go boots the lab.
func (l *isoLab) boot(t *testing.T, entry manifest.Entry) error {
	t.Helper()
	l.boots(entry)
	s := newSite(t, map[string][]byte{"live.iso": l.image})
	if x := entry.Iso; x != nil && x.Image.URLs == nil {
		x.Image.URLs = []string{s.URL + "/live.iso"}
	} else if x := entry.Image; x != nil {
		x.Image.URLs = []string{s.URL + "/live.iso"}
	}
	site := l.publish(t, 12)
	for name, data := range l.objects {
		site.put(name, data)
	}
	return l.run(t)
}

// archive returns what an archive holds.
func archive(t *testing.T, data string) map[string]string {
	t.Helper()
	got := map[string]string{}
	err := newc.Read(strings.NewReader(data), func(f newc.File) error {
		text, err := io.ReadAll(f.Content)
		got["/"+f.Name] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestISO: kernel and initrds come to kexec as the image has them, with the agent
// behind them, and the command line names the device.
func TestISO(t *testing.T) {
	l := newISOLab(t)
	if err := l.boot(t, manifest.Entry{Iso: l.entry}); err != nil || len(l.loaded) != 1 {
		t.Fatalf("%v; log:\n%s", err, strings.Join(l.lines, "\n"))
	}
	got := l.loaded[0]
	if got.image != string(l.image[17:23]) || got.cmdline != "boot=live live-media=/dev/loop0" {
		t.Errorf("kernel %q, command line %q", got.image, got.cmdline)
	}
	before := string(l.image[100_000:][:50_001]) + "\x00\x00\x00" + string(second)
	before += strings.Repeat("\x00", -len(before)&3)
	rest, ok := strings.CutPrefix(got.initrd, before)
	if !ok {
		t.Fatal("the initrds are others")
	}
	files := archive(t, rest)
	d, err := carry.Decode([]byte(files[carry.File]))
	if err != nil {
		t.Fatal(err)
	}
	delete(files, carry.File)
	want := map[string]string{
		carry.Dir: "", carry.Modules: "", carry.Init: "#!/bin/sh", "/init": "the agent",
		carry.Modules + "/000-fuse.ko": "module fuse", carry.Modules + "/001-loop.ko": "module loop",
		carry.Modules + "/002-squashfs.ko": "module squashfs", carry.Modules + "/003-card.ko": "module card",
	}
	if diff := cmp.Diff(want, files); diff != "" {
		t.Error(diff)
	}
	if d.Door != carry.FUSE || d.Root != nil || len(d.Sites) != 1 || d.Image.Index != l.entry.Image.Index {
		t.Errorf("%+v", d)
	}
	networks := []netconf.Network{
		{Card: netconf.Card{MAC: "52:54:00:12:34:56"}, Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.2.15/24")}, IPv6: netconf.Off},
		{Card: netconf.Card{MAC: "52:54:00:12:34:56"}},
	}
	if fmt.Sprint(d.Networks) != fmt.Sprint(networks) {
		t.Errorf("networks %v, want %v", d.Networks, networks)
	}
	saw(t, l.lab, "preflight: kernel "+release)
}

// TestISODoor: a kernel with nothing but nbd has another device.
func TestISODoor(t *testing.T) {
	l := newISOLab(t)
	l.modules(t, "nbd", "card")
	l.entry.Init = manifest.Init{Link: "/usr/lib/systemd/systemd"}
	if err := l.boot(t, manifest.Entry{Iso: l.entry}); err != nil || len(l.loaded) != 1 || l.loaded[0].cmdline != "boot=live live-media=/dev/nbd0" {
		t.Fatalf("%v; log:\n%s", err, strings.Join(l.lines, "\n"))
	}
}

// TestISORefused: what would end in a black screen is told before anything is loaded.
func TestISORefused(t *testing.T) {
	for want, change := range map[string]func(*testing.T, *isoLab){
		"entry-1: [no-driver] ":                              func(t *testing.T, l *isoLab) { l.modules(t, "fuse", "loop") },
		"entry-1: [no-door] ":                                func(t *testing.T, l *isoLab) { l.modules(t, "fuse", "card") },
		"entry-1: [no-memory] not enough memory: the system": func(t *testing.T, l *isoLab) { l.entry.Memory = 800 },
		"entry-1: [no-memory] not enough memory: loading":    func(t *testing.T, l *isoLab) { l.available = 10 << 20 },
		"entry-1: [corrupt] ":                                func(t *testing.T, l *isoLab) { l.image[100_000]++ },
		"entry-1: [bad-image] ":                              func(t *testing.T, l *isoLab) { l.entry.Kernel.Offset = int64(len(l.image)) },
		"entry-1: [not-found] ":                              func(t *testing.T, l *isoLab) { clear(l.objects) },
		"entry-1: [no-driver] the system's":                  func(t *testing.T, l *isoLab) { l.entry.Release = "5.10" },
	} {
		t.Run(want, func(t *testing.T) {
			l := newISOLab(t)
			change(t, l)
			if err := l.boot(t, manifest.Entry{Iso: l.entry}); err == nil || len(l.loaded) != 0 || len(l.said(want)) == 0 {
				t.Errorf("%v, loaded %d; log:\n%s", err, len(l.loaded), strings.Join(l.lines, "\n"))
			}
		})
	}
}

// TestImage: a root file system has no initrd but what carries the agent, which is
// told what to mount and start.
func TestImage(t *testing.T) {
	l := newISOLab(t)
	l.modules(t, "fuse", "loop", "squashfs", "overlay", "ext4", "card")
	x := &manifest.Image{Carried: l.entry.Carried, Kernel: object.OfBytes(kernel), Fstype: "squashfs", Overlay: &manifest.Overlay{Label: "keep"}, Copy: manifest.CopyRAM}
	x.Cmdline = "console=ttyS0"
	if err := l.boot(t, manifest.Entry{Image: x}); err != nil || len(l.loaded) != 1 {
		t.Fatalf("%v; log:\n%s", err, strings.Join(l.lines, "\n"))
	}
	files := archive(t, l.loaded[0].initrd)
	d, err := carry.Decode([]byte(files[carry.File]))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&carry.Root{Entry: "entry-1", Fstype: "squashfs", Init: "/sbin/init", Label: "keep", Copy: true}, d.Root); diff != "" || files[carry.Init] != "" || l.loaded[0].image != string(kernel) {
		t.Error(diff)
	}
	l = newISOLab(t)
	l.modules(t, "fuse", "loop", "squashfs", "overlay", "ext4", "card")
	x.Modules, x.Overlay = l.entry.Modules, &manifest.Overlay{Label: "other"}
	if err := l.boot(t, manifest.Entry{Image: x}); err == nil || len(l.said("entry-1: [no-overlay] ")) == 0 {
		t.Errorf("%v; log:\n%s", err, strings.Join(l.lines, "\n"))
	}
}
