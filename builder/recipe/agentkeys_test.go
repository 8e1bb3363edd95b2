package recipe_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
)

// mediumWithAll has every key that issue 4 gave to media.
const mediumWithAll = medium + `networks:
  - {card: {driver: ixgbe}, vlan: 7}
  - bond: {mode: 802.3ad, members: [{name: "eth*"}]}
    addresses: [192.0.2.7/24, "2001:db8::7/64"]
    gateways: [192.0.2.1]
    dns: ["2001:db8::53"]
    mtu: 9000
  - {ipv4: off}
proxy: http://proxy.example:3128
report: [site, https://reports.example/]
syslog: udp://log.example:514
fallback:
  - title: Rescue
    linux:
      kernel: {file: rescue/vmlinuz}
      initrd: [{file: rescue/initrd}]
      cmdline: quiet
      network: true
      watchdog: 300
  - {title: Installed system, local: {disk: S3Z8NB0K}}
  - {title: Switch off, power: {action: off}}
`

func TestMediumWithAll(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(mediumWithAll))
	if err != nil {
		t.Fatal(err)
	}
	m := r.Medium
	want := []netconf.Network{
		{Card: netconf.Card{Driver: "ixgbe"}, VLAN: 7},
		{
			Bond:      &netconf.Bond{Mode: "802.3ad", Members: []netconf.Card{{Name: "eth*"}}},
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24"), netip.MustParsePrefix("2001:db8::7/64")},
			Gateways:  []netip.Addr{netip.MustParseAddr("192.0.2.1")}, DNS: []netip.Addr{netip.MustParseAddr("2001:db8::53")}, MTU: 9000,
		},
		{IPv4: netconf.Off},
	}
	comparable := cmp.Options{cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	if diff := cmp.Diff(want, m.Networks, comparable); diff != "" {
		t.Error(diff)
	}
	got := []any{m.Proxy, m.Report, m.Syslog, len(r.Inputs()), r.Inputs()[3].Name()}
	if diff := cmp.Diff([]any{"http://proxy.example:3128", []string{"site", "https://reports.example/"}, "udp://log.example:514", 4, "file:rescue/initrd"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestManifest: an entry becomes a manifest's, its inputs asked for in order.
func TestManifest(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(mediumWithAll))
	if err != nil {
		t.Fatal(err)
	}
	of := func(name string) object.Ref { return object.OfBytes([]byte(name)) }
	want := []manifest.Entry{
		{Title: "Rescue", Linux: &manifest.Linux{
			Kernel: of("file:rescue/vmlinuz"), Initrd: []object.Ref{of("file:rescue/initrd")}, Cmdline: "quiet", Network: true, Watchdog: 300,
		}},
		{Title: "Installed system", Local: &manifest.Local{Disk: "S3Z8NB0K"}},
		{Title: "Switch off", Power: &manifest.Power{Action: manifest.Off}},
	}
	for i, e := range r.Medium.Fallback {
		got, err := e.Manifest(maker{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want[i], got); diff != "" {
			t.Error(diff)
		}
		if err := got.Validate(); err != nil {
			t.Error(err)
		}
	}
	missing := errors.New("missing")
	if _, err := r.Medium.Fallback[0].Manifest(maker{missing}); !errors.Is(err, missing) {
		t.Errorf("Manifest = %v", err)
	}
}

// siteWithAll has every key that issue 4 gave to sites.
const siteWithAll = site + `groups:
  rack-b:
    match: [{serial: B5QM5Y1}]
    boot: [installer]
  rack-a:
    match: [{mac: "52-54-00-AB-34-57"}, {uuid: 4C4C4544-0042-3510-8050-B4C04F4D5931}]
    boot: [installer]
`

func TestGroups(t *testing.T) {
	r, err := recipe.Parse("x.yaml", []byte(siteWithAll))
	if err != nil {
		t.Fatal(err)
	}
	boot := recipe.Plan{Boot: []string{"installer"}}
	want := []recipe.Machine{
		{Match: recipe.Match{MAC: "52:54:00:ab:34:56"}, Plan: boot},
		{Match: recipe.Match{MAC: "52:54:00:ab:34:57"}, Group: "rack-a", Plan: boot},
		{Match: recipe.Match{UUID: "4c4c4544-0042-3510-8050-b4c04f4d5931"}, Group: "rack-a", Plan: boot},
		{Match: recipe.Match{Serial: "B5QM5Y1"}, Group: "rack-b", Plan: boot},
	}
	for range 2 { // asked twice, the same is said twice
		if diff := cmp.Diff(want, r.Site.AllMachines()); diff != "" {
			t.Error(diff)
		}
	}
}

// TestRefusalsOfAgentKeys holds one mistake a row in what the agent is told.
func TestRefusalsOfAgentKeys(t *testing.T) {
	for _, m := range []mistake{
		{"typo in a network", mediumWithAll, "vlan: 7", "vlna: 7", `x.yaml:13: networks[0].vlna: unknown key`, `did you mean "vlan"?`},
		{"vlan", mediumWithAll, "vlan: 7", "vlan: 4095", `x.yaml:13: networks[0]: vlan 4095: want 1 to 4094`, `for example {card`},
		{"card's name", mediumWithAll, `ixgbe`, `"ixgbe; reboot"`, `networks[0]: driver "ixgbe; reboot"`, `for example`},
		{"address without prefix", mediumWithAll, "192.0.2.7/24", "192.0.2.7", `x.yaml:15: networks[1].addresses[0]: "192.0.2.7" is not an address`, `"192.0.2.7/24"`},
		{"address of a network", mediumWithAll, "192.0.2.7/24", "192.0.2.0/24", `x.yaml:14: networks[1]: address 192.0.2.0/24 is that of the whole network`, ``},
		{"empty address", mediumWithAll, "[192.0.2.1]", `[""]`, `x.yaml:16: networks[1].gateways[0]: "" is not an address`, `"192.0.2.53"`},
		{"address as a mapping", mediumWithAll, "[192.0.2.1]", `[{a: b}]`, `networks[1].gateways[0]: want text, have a mapping`, ``},
		{"name for an address", mediumWithAll, `"2001:db8::53"`, `dns.example`, `networks[1].dns[0]: "dns.example" is not an address`, ``},
		{"gateway alone", mediumWithAll, "{ipv4: off}", "{gateways: [192.0.2.1]}", `networks[2]: gateway 192.0.2.1 has no static address`, ``},
		{"no family", mediumWithAll, "{ipv4: off}", "{ipv4: off, ipv6: off}", `networks[2]: neither IPv4 nor IPv6 is on`, ``},
		{"many networks", mediumWithAll, "networks:", "networks:" + strings.Repeat("\n  - {vlan: 8}", 8), `networks: 11 items, at most 8`, ``},
		{"network's proxy with password", mediumWithAll, "{ipv4: off}", `{proxy: "http://u:hunter2@p:1"}`, `networks[2]: proxy: want http://host:port`, ``},
		{"proxy with password", mediumWithAll, "http://proxy", "http://u:hunter2@proxy", `x.yaml:20: proxy: a user name or password`, `http://proxy.example:3128`},
		{"proxy without port", mediumWithAll, "proxy.example:3128", "proxy.example", `proxy: no port`, ``},
		{"report", mediumWithAll, "[site, ", "[sites, ", `x.yaml:21: report[0]: `, `"site" is the site itself`},
		{"report with a query", mediumWithAll, "https://reports.example/", `"https://reports.example/?key=hunter2"`, `report[1]: a query`, ``},
		{"many reports", mediumWithAll, "[site, ", "[site, site, site, site, ", `report: 5 items, at most 4`, ``},
		{"syslog", mediumWithAll, "udp://log.example:514", "log.example:514", `x.yaml:22: syslog: `, `"udp://log.example:514"`},
		{"fallback without a kind", mediumWithAll, "local: {disk: S3Z8NB0K}", "", `x.yaml:31: fallback[1]: want exactly one of linux, local, power, script, rescue, flash, xen, live, iso and image`, `"local: {}"`},
		{"fallback's title", mediumWithAll, "title: Rescue", `title: "Rescue\e[2J"`, `fallback[0].title: character U+001B`, ``},
		{"fallback's kernel", mediumWithAll, "{file: rescue/vmlinuz}", "{deb: grml}", `fallback[0].linux.kernel: which file of package "grml"?`, `add "file:"`},
		{"many fallbacks", mediumWithAll, "fallback:", "fallback:" + strings.Repeat("\n  - {title: x, local: {}}", 6), `fallback: 9 items, at most 8`, ``},
		{"short watchdog", mediumWithAll, "watchdog: 300", "watchdog: 5", `x.yaml:30: fallback[0].linux.watchdog: watchdog of 5 seconds, want 30 to 3600`, `takes it over`},
		{"network in a menu", medium, "    linux:\n", "    linux:\n      network: true\n", `menu[1].linux.network: unknown key`, ``},
		{"disk and firmware", mediumWithAll, "disk: S3Z8NB0K", "disk: S3Z8NB0K, firmware: true", `fallback[1].local: firmware and disk exclude each other`, ``},
		{"action", mediumWithAll, "action: off", "action: of", `x.yaml:32: fallback[2].power.action: action "of"`, `did you mean "off"?`},
		{"no action", mediumWithAll, "{action: off}", "{}", `x.yaml:32: fallback[2].power.action: action ""`, ``},
		{"local alone", siteWithAll, "    linux:\n", "    local:\n    linux:\n", `entries.installer.local: no value`, `{}`},
		{"two kinds in an entry", siteWithAll, "    linux:\n", "    power: {action: reboot}\n    linux:\n", `entries.installer: want exactly one of linux, local, power, script, rescue, flash, xen, live, iso and image`, `"power:"`},
		{"initrds", siteWithAll, "initrd:\n", "initrd:\n" + strings.Repeat("        - {file: x}\n", 15), `entries.installer.linux.initrd: 17 items, at most 16`, ``},
		{"group's name", siteWithAll, "rack-a:", "Rack A:", `groups.Rack A: name`, ``},
		{"group of none", siteWithAll, "[{serial: B5QM5Y1}]", "[]", `x.yaml:17: groups.rack-b.match: the group has no machines`, `add "match:`},
		{"group that boots nothing", siteWithAll, "[{serial: B5QM5Y1}]\n    boot: [installer]", "[{serial: B5QM5Y1}]", `groups.rack-b.boot: it boots nothing`, `add "boot:`},
		{"group with an unknown entry", siteWithAll, "[{serial: B5QM5Y1}]\n    boot: [installer]", "[{serial: B5QM5Y1}]\n    boot: [instaler]", `x.yaml:18: groups.rack-b.boot[0]: no entry`, `did you mean "installer"?`},
		{"match as a mapping", siteWithAll, "[{serial: B5QM5Y1}]", "{serial: B5QM5Y1}", `groups.rack-b.match: want a list`, ``},
		{"machine in two places", siteWithAll, "00-AB-34-57", "00-ab-34-56", `x.yaml:20: groups.rack-a.match[0]: matches the same as machines[0].match`, `first match decides`},
		{"document in two places", siteWithAll, "[{serial: B5QM5Y1}]", "[{uuid: 4c4c4544-0042-3510-8050-b4c04f4d5931, serial: B5QM5Y1}]\n    boot: [installer]\n  rack-c:\n    match: [{serial: B5QM5Y1}, {mac: \"52:54:00:ab:34:56\"}]",
			`groups.rack-c.match[1]: matches the same as machines[0].match`, ``},
		{"one document for two", siteWithAll, "groups:", "documents: true\ngroups:\n  a: {match: [{uuid: 4c4c4544-0042-3510-8050-b4c04f4d5931, serial: B5}], boot: [installer]}",
			`groups.rack-a.match[1]: has the same document as groups.a.match[0]`, `the first of uuid, serial and mac`},
	} {
		t.Run(m.name, m.refused)
	}
}
