package manifest

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/object"
)

// isoSample returns an entry that has everything.
func isoSample() *Iso {
	ref := object.OfBytes([]byte("x"))
	return &Iso{
		Carried: Carried{
			Image: chunks.Image{Index: ref, URLs: []string{"https://cdn.example/live.iso"}}, Release: "6.1.0-56-amd64", Modules: &ref,
			Cmdline: "boot=live live-media={device} quiet", Memory: 768, Profile: &ref, Network: true, Watchdog: 300,
		},
		Kernel: Part{Path: "/live/vmlinuz", Offset: 69632, Size: 8 << 20},
		Initrd: []Part{{Path: "/live/initrd.img", Offset: 9 << 20, Size: 40 << 20}, {Object: &ref}},
		Init:   Init{File: &ref}, Family: "live-boot",
	}
}

// imageSample returns an entry that has everything.
func imageSample() *Image {
	ref, packed := object.OfBytes([]byte("y")), object.OfBytes([]byte("packed"))
	return &Image{
		Carried: Carried{
			Image:   chunks.Image{Index: ref, Zst: &chunks.Zst{File: packed, Table: ref}},
			Release: "6.12.9+deb13~1-amd64", Modules: &ref, Cmdline: "console=ttyS0",
		},
		Kernel: ref, Fstype: "squashfs", Init: "/usr/lib/systemd/systemd", Overlay: &Overlay{Label: "farboot-data"}, Copy: CopyRAM,
	}
}

// TestIsoValidate breaks one thing of the sample at a time.
func TestIsoValidate(t *testing.T) {
	for name, breakIt := range map[string]func(*Iso){
		"nowhere":        func(x *Iso) { x.Image.URLs = nil },
		"two places":     func(x *Iso) { x.Image.Castr = true },
		"no index":       func(x *Iso) { x.Image.Index = object.Ref{} },
		"no release":     func(x *Iso) { x.Release = "" },
		"a folder's":     func(x *Iso) { x.Release = "../6.1" },
		"dots":           func(x *Iso) { x.Release = ".." },
		"modules":        func(x *Iso) { x.Modules.Size = 1<<30 + 1 },
		"profile":        func(x *Iso) { x.Profile.SHA256 = object.ID{} },
		"memory":         func(x *Iso) { x.Memory = -1 },
		"line":           func(x *Iso) { x.Cmdline = "a\x00" },
		"long line":      func(x *Iso) { x.Cmdline = strings.Repeat("x", 2047-len(Device)-2) + Device },
		"watchdog":       func(x *Iso) { x.Watchdog = 1 },
		"no kernel":      func(x *Iso) { x.Kernel = Part{} },
		"kernel's path":  func(x *Iso) { x.Kernel.Path = "live/vmlinuz" },
		"large kernel":   func(x *Iso) { x.Kernel.Size = 256<<20 + 1 },
		"before it":      func(x *Iso) { x.Kernel.Offset = -1 },
		"behind it":      func(x *Iso) { x.Kernel.Offset = 1 << 62 },
		"two kernels":    func(x *Iso) { x.Kernel.Object = x.Modules },
		"kernel's hash":  func(x *Iso) { x.Kernel = Part{Object: &object.Ref{Size: 1}} },
		"no initrd":      func(x *Iso) { x.Initrd = nil },
		"initrds":        func(x *Iso) { x.Initrd = slices.Repeat(x.Initrd, 9) },
		"an initrd":      func(x *Iso) { x.Initrd[0].Size = 0 },
		"no init":        func(x *Iso) { x.Init = Init{} },
		"two inits":      func(x *Iso) { x.Init.Link = "/bin/sh" },
		"relative link":  func(x *Iso) { x.Init = Init{Link: "usr/lib/systemd/systemd"} },
		"large init":     func(x *Iso) { x.Init.File.Size = 64<<20 + 1 },
		"no family":      func(x *Iso) { x.Family = "" },
		"family's shape": func(x *Iso) { x.Family = "Live boot" },
	} {
		x := isoSample()
		ref := *x.Modules
		x.Modules, x.Init.File = &ref, &object.Ref{Size: 1, SHA256: ref.SHA256}
		breakIt(x)
		if err := (Entry{Title: "x", Iso: x}).Validate(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := Entry{Title: "x", Iso: isoSample()}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	if e.Kind() != "iso" || e.Then() != "" || len(e.Refs()) != 5 {
		t.Errorf("kind %q, then %q, %d objects", e.Kind(), e.Then(), len(e.Refs()))
	}
	if got, want := e.Iso.Line("/dev/nbd0"), "boot=live live-media=/dev/nbd0 quiet"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if a, b := e.Iso.Kernel.Length(), e.Iso.Initrd[1].Length(); a != 8<<20 || b != 1 {
		t.Errorf("kernel of %d, initrd of %d bytes", a, b)
	}
}

// TestImageValidate breaks one thing of the sample at a time.
func TestImageValidate(t *testing.T) {
	for name, breakIt := range map[string]func(*Image){
		"no kernel":     func(x *Image) { x.Kernel = object.Ref{} },
		"no fstype":     func(x *Image) { x.Fstype = "" },
		"fstype":        func(x *Image) { x.Fstype = "btrfs" },
		"init":          func(x *Image) { x.Init = "/sbin/../init" },
		"no label":      func(x *Image) { x.Overlay.Label = "" },
		"long label":    func(x *Image) { x.Overlay.Label = strings.Repeat("x", 17) },
		"copy":          func(x *Image) { x.Copy = "disk" },
		"no image":      func(x *Image) { x.Carried.Image = chunks.Image{} },
		"line":          func(x *Image) { x.Cmdline = `a="` },
		"small archive": func(x *Image) { x.Carried.Image.Zst.Table.Size = 7 },
	} {
		x := imageSample()
		breakIt(x)
		if err := (Entry{Title: "x", Image: x}).Validate(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := Entry{Title: "x", Image: imageSample()}
	if err := e.Validate(); err != nil {
		t.Error(err)
	}
	if e.Kind() != "image" || e.Then() != "" || len(e.Refs()) != 5 || e.Image.Program() != "/usr/lib/systemd/systemd" {
		t.Errorf("kind %q, then %q, %d objects, init %q", e.Kind(), e.Then(), len(e.Refs()), e.Image.Program())
	}
	if got := new(Image).Program(); got != "/sbin/init" {
		t.Errorf("init %q", got)
	}
}

// TestIsoUnknown: an entry with a field that is not known, in depth as well, does not
// start, and costs nothing else.
func TestIsoUnknown(t *testing.T) {
	data, err := json.Marshal(Entry{Title: "x", Iso: isoSample()})
	if err != nil {
		t.Fatal(err)
	}
	for part, want := range map[string]string{`"family":`: "iso+seed", `"path":`: "iso+kernel", `"sha256":`: "iso+image"} {
		var e Entry
		if err := json.Unmarshal([]byte(strings.Replace(string(data), part, `"seed":1,`+part, 1)), &e); err != nil || e.Unknown != want {
			t.Errorf("%s: unknown %q, %v, want %q", part, e.Unknown, err, want)
		}
	}
}
