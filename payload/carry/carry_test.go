package carry

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/report"
	"github.com/google/go-cmp/cmp"
)

// full has every field.
func full() Document {
	ref := object.OfBytes([]byte("profile"))
	return Document{
		Format: Format,
		Image:  chunks.Image{Index: object.OfBytes([]byte("index")), URLs: []string{"https://cdn.example/live.iso"}},
		Sites:  []string{"http://boot.example/"},
		Networks: []netconf.Network{
			{Card: netconf.Card{MAC: "52:54:00:12:34:56"}, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}, Gateways: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, IPv6: netconf.Off},
			{},
		},
		Proxy: "http://proxy.example:3128", Time: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC),
		Door: FUSE, Device: "/dev/loop0", Profile: &ref,
		Root:   &Root{Entry: "desk", Fstype: "squashfs", Init: "/sbin/init", Label: "keep", Copy: true},
		Cache:  &Cache{Label: "DATA", UUID: "1234-5678", Size: 1 << 30, Build: "b", Seen: "1234-5678"},
		Report: &Report{URLs: []string{"http://boot.example/reports"}, Story: report.Report{Format: 1, Boot: "b", Medium: "x", Time: time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)}},
	}
}

func TestRoundTrip(t *testing.T) {
	want := full()
	data, err := Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	same := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(want, got, same, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	if !got.HTTPS() {
		t.Error("an https server needs no certificates")
	}
}

func TestRefuses(t *testing.T) {
	for name, change := range map[string]func(*Document){
		"no image":     func(d *Document) { d.Image = chunks.Image{} },
		"no site":      func(d *Document) { d.Sites = nil },
		"a file":       func(d *Document) { d.Sites = []string{"file:///etc"} },
		"a bad proxy":  func(d *Document) { d.Proxy = "::" },
		"no door":      func(d *Document) { d.Door = "ublk" },
		"no device":    func(d *Document) { d.Device = "/dev/../etc" },
		"no time":      func(d *Document) { d.Time = time.Time{} },
		"a network":    func(d *Document) { d.Networks[0].VLAN = 5000 },
		"an entry":     func(d *Document) { d.Root.Entry = ".." },
		"an init":      func(d *Document) { d.Root.Init = "init" },
		"a fs":         func(d *Document) { d.Root.Fstype = "" },
		"a report":     func(d *Document) { d.Report.URLs = []string{"x"} },
		"beyond bound": func(d *Document) { d.Report.Story.Model = strings.Repeat("x", maxSize) },
	} {
		d := full()
		change(&d)
		if _, err := Encode(d); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	data, err := Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "{}", strings.Replace(string(data), `"format":1`, `"format":2`, 1), strings.Replace(string(data), `"door"`, `"doors"`, 1)} {
		if _, err := Decode([]byte(text)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.50q: %v", text, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	data, err := Encode(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Decode(data)
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		again, err := Encode(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(again); err != nil {
			t.Fatal(err)
		}
	})
}
