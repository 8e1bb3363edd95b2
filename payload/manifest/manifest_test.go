package manifest

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/trust"
	"github.com/farboot/farboot/payload/trust/trusttest"
)

var issued = time.Date(2026, 11, 21, 9, 0, 0, 0, time.UTC)

// addresses compares netip's types, which have no exported fields.
var addresses = cmpopts.EquateComparable(netip.Prefix{}, netip.Addr{})

// sample returns a manifest that has everything.
func sample() *Manifest {
	kernel, initrd := object.OfBytes([]byte("kernel")), object.OfBytes([]byte("initrd"))
	script, toolbox := object.OfBytes([]byte("#!/bin/sh\n")), object.OfBytes([]byte("hsqs"))
	image, index := object.OfBytes([]byte("image")), object.OfBytes([]byte("index"))
	return &Manifest{
		Format: Format, Epoch: 2, Version: 7, Issued: issued, Expires: issued.AddDate(0, 1, 0),
		Product: "demo", Arch: "amd64", Channel: "stable",
		Entries: map[string]Entry{
			"installer": {Title: "Debian installer", Linux: &Linux{
				Kernel: kernel, Initrd: []object.Ref{initrd, kernel}, Cmdline: "console=ttyS0,115200 priority=low",
				Network: true, Watchdog: 300,
			}},
			"disk":     {Title: "What is installed", Local: &Local{Disk: "S3Z8NB0K"}},
			"firmware": {Title: "Next boot device", Local: &Local{Firmware: true}},
			"off":      {Title: "Switch off", Power: &Power{Action: Off}},
			"memtest":  {Title: "Memory test", Linux: &Linux{Kernel: kernel}},
			"repair": {Title: "Repair the disk", Script: &Script{
				Program: script, Args: []string{"--yes", "", "two words"}, Env: Env{"DISK": "sda", "EMPTY": ""},
				Toolbox: &toolbox, Seconds: 600, Then: ThenReboot,
			}},
			"rescue": {Title: "Rescue", Rescue: &Rescue{
				Keys: []string{publicKey}, Toolbox: &toolbox, HostKey: HostKeyBoot, Port: 2222, Seconds: 3600, Then: ThenLocal,
			}},
			"xen": {Title: "Xen", Xen: &Xen{
				Hypervisor: kernel, Options: "dom0_mem=512M console=com1", Kernel: kernel, Initrd: []object.Ref{initrd, kernel}, Cmdline: "console=hvc0",
				Modules: []XenModule{{Object: image, Args: "ucode"}, {Object: index}}, Network: true, Watchdog: 300,
			}},
			"image": {Title: "Write the image", Flash: &Flash{
				Image: image, Format: "zst", Index: index, Disk: Disk{Serial: "S3Z8NB0K", ID: "naa.5000", MinSize: 1, MaxSize: 1 << 40, Pick: PickSmallest},
				Grow: true, Then: ThenNext, Again: true, Files: []FlashFile{
					{Partition: 1, Path: "/etc/hostname", Mode: 0o600, Content: "web1\n\tä\n"}, {Partition: 2, Path: "/seed", Object: &initrd},
				},
			}},
			"live": {Title: "A live ISO", Iso: isoSample()},
			"root": {Title: "A root file system", Image: imageSample()},
		},
		Menu:   &Menu{Seconds: 10, Entries: []string{"memtest", "off"}},
		Limits: &Limits{Network: 30, Manifest: 60, Stall: 10, Object: 600, Attempts: 2, Rounds: 1, Pause: 30},
		Files:  map[string]object.Ref{"data.tar.gz": initrd},
		Machines: []Machine{
			{
				Match: Match{MAC: "52:54:00:12:34:56"}, Boot: []string{"installer", "memtest"}, Menu: &Menu{Seconds: 1800},
				Networks: []netconf.Network{{VLAN: 7, Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}}},
				Env:      Env{"HOST": "web1"},
			},
			{Match: Match{UUID: "4c4c4544-0042-3510-8050-b4c04f4d5931", Serial: "B5QM5Y1"}, Boot: []string{"memtest"}},
		},
		Default: []string{"installer"},
	}
}

// document returns one for the second machine of sample.
func document() *Manifest {
	m := sample()
	m.Machines, m.Default = m.Machines[1:], nil
	m.Document = "uuid-4c4c4544-0042-3510-8050-b4c04f4d5931"
	return m
}

// withDocuments returns the manifest of a site that has documents.
func withDocuments() *Manifest {
	m := sample()
	m.Machines, m.Documents = nil, true
	return m
}

func TestEncodeDecode(t *testing.T) {
	site := trusttest.New(t, "demo", issued)
	local := sample()
	local.Issued = local.Issued.In(time.FixedZone("", 7200)).Add(time.Millisecond)
	data, err := Encode(local)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(site.Open(t, data, issued))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got, addresses); diff != "" {
		t.Errorf("Decode(Encode(m)) differs (-want +got):\n%s", diff)
	}
}

func TestDecodeWantsAManifest(t *testing.T) {
	site := trusttest.New(t, "demo", issued)
	data, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	sig := site.Root.Sign(t, trust.PurposeStatement, data, issued)
	v, err := site.Store.Open(trust.PurposeStatement, data, sig, issued)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Decode(v); !errors.Is(err, ErrMalformed) {
		t.Errorf("Decode of bytes signed as a statement: %v, want ErrMalformed", err)
	}
	if _, err := Decode(trust.Verified{}); !errors.Is(err, ErrMalformed) {
		t.Errorf("Decode(trust.Verified{}): %v, want ErrMalformed", err)
	}
}

func TestValidate(t *testing.T) {
	if err := sample().Validate(); err != nil {
		t.Fatal(err)
	}
	onlyMachines := sample()
	onlyMachines.Default = nil
	if err := onlyMachines.Validate(); err != nil {
		t.Errorf("without default: %v", err)
	}
	for name, m := range map[string]*Manifest{"document": document(), "documents": withDocuments()} {
		if err := m.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	noDefault := withDocuments()
	noDefault.Default = nil
	if err := noDefault.Validate(); err != nil {
		t.Errorf("documents, no default: %v", err)
	}
	linux := func(m *Manifest, change func(*Linux)) {
		x := *m.Entries["installer"].Linux
		change(&x)
		m.Entries["installer"] = Entry{Title: "x", Linux: &x}
	}
	for name, breakIt := range map[string]func(*Manifest){
		"format":            func(m *Manifest) { m.Format = 2 },
		"epoch 0":           func(m *Manifest) { m.Epoch = 0 },
		"epoch negative":    func(m *Manifest) { m.Epoch = -1 },
		"version 0":         func(m *Manifest) { m.Version = 0 },
		"version negative":  func(m *Manifest) { m.Version = -1 },
		"no issue":          func(m *Manifest) { m.Issued = time.Time{} },
		"expired at birth":  func(m *Manifest) { m.Expires = m.Issued },
		"product":           func(m *Manifest) { m.Product = "" },
		"product case":      func(m *Manifest) { m.Product = "Demo" },
		"arch":              func(m *Manifest) { m.Arch = "../amd64" },
		"channel":           func(m *Manifest) { m.Channel = "" },
		"no entries":        func(m *Manifest) { m.Entries = nil },
		"entry name":        func(m *Manifest) { m.Entries["Bad name"] = m.Entries["memtest"] },
		"title":             func(m *Manifest) { m.Entries["memtest"] = Entry{Title: "a\x1b[2J", Linux: m.Entries["memtest"].Linux} },
		"no kind":           func(m *Manifest) { m.Entries["memtest"] = Entry{Title: "x"} },
		"kernel size 0":     func(m *Manifest) { linux(m, func(x *Linux) { x.Kernel.Size = 0 }) },
		"kernel negative":   func(m *Manifest) { linux(m, func(x *Linux) { x.Kernel.Size = -1 }) },
		"kernel huge":       func(m *Manifest) { linux(m, func(x *Linux) { x.Kernel.Size = 1 << 40 }) },
		"kernel hash":       func(m *Manifest) { linux(m, func(x *Linux) { x.Kernel.SHA256 = object.ID{} }) },
		"initrd size":       func(m *Manifest) { linux(m, func(x *Linux) { x.Initrd = []object.Ref{{}} }) },
		"many initrds":      func(m *Manifest) { linux(m, func(x *Linux) { x.Initrd = slices.Repeat(x.Initrd, 20) }) },
		"cmdline":           func(m *Manifest) { linux(m, func(x *Linux) { x.Cmdline = "a\nb" }) },
		"watchdog short":    func(m *Manifest) { linux(m, func(x *Linux) { x.Watchdog = 29 }) },
		"watchdog long":     func(m *Manifest) { linux(m, func(x *Linux) { x.Watchdog = 3601 }) },
		"watchdog negative": func(m *Manifest) { linux(m, func(x *Linux) { x.Watchdog = -1 }) },
		"two kinds": func(m *Manifest) {
			m.Entries["off"] = Entry{Title: "x", Local: &Local{}, Power: &Power{Action: Off}}
		},
		"firmware with a disk": func(m *Manifest) { m.Entries["disk"] = Entry{Title: "x", Local: &Local{Firmware: true, Disk: "S3"}} },
		"disk's text":          func(m *Manifest) { m.Entries["disk"] = Entry{Title: "x", Local: &Local{Disk: "S\x1b3"}} },
		"disk's length": func(m *Manifest) {
			m.Entries["disk"] = Entry{Title: "x", Local: &Local{Disk: strings.Repeat("x", 161)}}
		},
		"no action":              func(m *Manifest) { m.Entries["off"] = Entry{Title: "x", Power: &Power{}} },
		"action":                 func(m *Manifest) { m.Entries["off"] = Entry{Title: "x", Power: &Power{Action: "suspend"}} },
		"empty match":            func(m *Manifest) { m.Machines[0].Match = Match{} },
		"mac upper":              func(m *Manifest) { m.Machines[0].Match.MAC = "52:54:00:AB:34:56" },
		"mac dashes":             func(m *Manifest) { m.Machines[0].Match.MAC = "52-54-00-12-34-56" },
		"mac short":              func(m *Manifest) { m.Machines[0].Match.MAC = "52:54:00:12:34" },
		"uuid upper":             func(m *Manifest) { m.Machines[1].Match.UUID = "4C4C4544-0042-3510-8050-b4c04f4d5931" },
		"uuid none":              func(m *Manifest) { m.Machines[1].Match.UUID = "00000000-0000-0000-0000-000000000000" },
		"uuid not set":           func(m *Manifest) { m.Machines[1].Match.UUID = "ffffffff-ffff-ffff-ffff-ffffffffffff" },
		"serial":                 func(m *Manifest) { m.Machines[1].Match.Serial = "a\u202eb" },
		"serial long":            func(m *Manifest) { m.Machines[1].Match.Serial = strings.Repeat("x", 65) },
		"same match twice":       func(m *Manifest) { m.Machines[1].Match = m.Machines[0].Match },
		"boot empty":             func(m *Manifest) { m.Machines[0].Boot = nil },
		"boot unknown":           func(m *Manifest) { m.Machines[0].Boot = []string{"nothing"} },
		"boot twice":             func(m *Manifest) { m.Machines[0].Boot = []string{"memtest", "memtest"} },
		"default empty":          func(m *Manifest) { m.Default = []string{} },
		"default unknown":        func(m *Manifest) { m.Default = []string{"nothing"} },
		"nothing for no one":     func(m *Manifest) { m.Default, m.Machines = nil, nil },
		"documents and machines": func(m *Manifest) { m.Documents = true },
		"documents in a document": func(m *Manifest) {
			*m = *document()
			m.Documents = true
		},
		"document of two":       func(m *Manifest) { m.Document, m.Default = DocumentID(m.Machines[0].Match), nil },
		"document of none":      func(m *Manifest) { *m = *document(); m.Machines = nil },
		"document with default": func(m *Manifest) { *m = *document(); m.Default = []string{"memtest"} },
		"document of another":   func(m *Manifest) { *m = *document(); m.Document = "mac-52-54-00-12-34-57" },
		"document outside":      func(m *Manifest) { *m = *document(); m.Document = "../manifest" },
		"many entries": func(m *Manifest) {
			for i := range 300 {
				m.Entries[fmt.Sprint("e", i)] = m.Entries["memtest"]
			}
		},
	} {
		m := sample()
		breakIt(m)
		if err := m.Validate(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: Validate() = %v, want ErrMalformed", name, err)
		}
		if _, err := Encode(m); !errors.Is(err, ErrMalformed) && name != "format" {
			t.Errorf("%s: Encode() = %v, want ErrMalformed", name, err)
		}
	}
}

// TestDecodeIsStrict is threat 25: whatever two parsers could read differently.
func TestDecodeIsStrict(t *testing.T) {
	data, err := Encode(sample())
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	replace := func(old, new string) string {
		if strings.Count(good, old) == 0 {
			t.Fatalf("sample has no %s", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	for name, text := range map[string]string{
		"empty":          "",
		"truncated":      good[:len(good)/2],
		"trailing":       good + "{}",
		"null":           "null",
		"duplicate key":  replace(`"version": 7`, `"version": 7, "version": 8`),
		"case-folded":    replace(`"version"`, `"Version"`),
		"long s":         replace(`"issued"`, "\"i\u017fued\""),
		"unknown field":  replace(`"version": 7`, `"version": 7, "critical": true`),
		"no epoch":       replace(`  "epoch": 2,`+"\n", ""),
		"null field":     replace(`"version": 7`, `"version": null`),
		"float version":  replace(`"version": 7`, `"version": 7.5`),
		"huge version":   replace(`"version": 7`, `"version": 9223372036854775808`),
		"string version": replace(`"version": 7`, `"version": "7"`),
		"negative size":  replace(`"size": 6`, `"size": -6`),
		"huge size":      replace(`"size": 6`, `"size": 18446744073709551616`),
		"upper-case id":  replace(`"sha256": "`, `"sha256": "A`),
		"bad UTF-8":      replace("Debian", "Deb\xffian"),
		"deep":           strings.Repeat("[", 100_000),
		"10 MB":          good + strings.Repeat(" ", 10<<20),
		"hash as null":   replace(`"cmdline": "console`, `"cmdline": null, "x": "console`),
	} {
		if m, err := decode([]byte(text)); !errors.Is(err, ErrMalformed) || m != nil {
			t.Errorf("%s: decode = %v, %v, want ErrMalformed", name, m, err)
		}
	}
}

func TestSuits(t *testing.T) {
	m := sample()
	if err := m.Suits("demo", "amd64", "stable"); err != nil {
		t.Error(err)
	}
	for _, s := range [][3]string{{"other", "amd64", "stable"}, {"demo", "arm64", "stable"}, {"demo", "amd64", "beta"}, {"", "", ""}} {
		if err := m.Suits(s[0], s[1], s[2]); !errors.Is(err, ErrWrongProduct) {
			t.Errorf("Suits(%q) = %v, want ErrWrongProduct", s, err)
		}
	}
}

func TestSelect(t *testing.T) {
	m := sample()
	const uuid = "4C4C4544-0042-3510-8050-B4C04F4D5931"
	for _, c := range []struct {
		name string
		id   Identity
		want []string
	}{
		{"by second card", Identity{MACs: []string{"02:00:00:00:00:01", "52:54:00:12:34:56"}}, []string{"installer", "memtest"}},
		{"first match decides", Identity{MACs: []string{"52:54:00:12:34:56"}, UUID: uuid, Serial: "B5QM5Y1"}, []string{"installer", "memtest"}},
		{"both fields", Identity{UUID: uuid, Serial: "B5QM5Y1"}, []string{"memtest"}},
		{"one field of two", Identity{UUID: uuid, Serial: "other"}, []string{"installer"}},
		{"unknown", Identity{MACs: []string{"02:00:00:00:00:01"}}, []string{"installer"}},
		{"nameless", Identity{}, []string{"installer"}},
	} {
		if got := m.Select(c.id); !slices.Equal(got, c.want) {
			t.Errorf("%s: Select = %q, want %q", c.name, got, c.want)
		}
	}
	m.Default = nil
	m.Machines[0].Match = Match{}
	if got := m.Select(Identity{MACs: []string{""}}); got != nil {
		t.Errorf("empty match, no default: Select = %q, want none", got)
	}
}
