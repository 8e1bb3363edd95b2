package settings_test

import (
	"bytes"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/state"
)

// key is one of ssh-keygen's.
const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEw6VSDgdXPuB1YnhE5SJt9XtQHBH0G3YQFTM+iF1UX"

// full returns settings that have everything.
func full() settings.Settings {
	kernel, initrd := object.OfBytes([]byte("kernel")), object.OfBytes([]byte("initrd"))
	return settings.Settings{
		Format: settings.Format, Site: []string{"http://10.0.2.2:8080/"}, Arch: "amd64", Channel: "stable",
		Build: "0123456789abcdef", Built: time.Date(2026, 11, 20, 0, 12, 41, 0, time.UTC),
		Lineage: object.OfBytes([]byte("statement 1")).SHA256,
		Floor: state.Floor{
			Statement: 2, Epoch: 1, Version: 12, SHA256: object.OfBytes([]byte("manifest")).SHA256,
			Issued: time.Date(2026, 11, 19, 0, 0, 0, 0, time.UTC),
		},
		RequireTime: true, TrustRTC: true,
		Networks: []netconf.Network{
			{VLAN: 7, Card: netconf.Card{Driver: "ixgbe"}},
			{Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}, DNS: []netip.Addr{netip.MustParseAddr("192.0.2.53")}},
		},
		Proxy: "http://proxy.example:3128", Syslog: "udp://[2001:db8::1]:514",
		Report: []string{settings.ReportSite, "https://reports.example/farboot"},
		Fallback: []manifest.Entry{
			{Title: "Rescue", Linux: &manifest.Linux{Kernel: kernel, Initrd: []object.Ref{initrd}, Cmdline: "quiet", Watchdog: 60}},
			{Title: "Installed system", Local: &manifest.Local{}},
			{Title: "Repair", Script: &manifest.Script{Program: object.OfBytes([]byte("#!/bin/sh\n")), Then: manifest.ThenLocal}},
		},
		Toolbox: &settings.Toolbox{Ref: object.OfBytes([]byte("hsqs")), Place: settings.PlaceMedium},
		Limits:  &manifest.Limits{Network: 20, Rounds: 1},
	}
}

func TestRoundTrip(t *testing.T) {
	data, err := settings.Encode(full())
	if err != nil {
		t.Fatal(err)
	}
	got, err := settings.Decode(data)
	if err != nil || !reflect.DeepEqual(got, full()) {
		t.Errorf("Decode = %+v, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	for text, phrase := range map[string]string{
		`{"format": 2, "site": ["http://a/"]}`:             "format 2",
		`{"format": 1, "site": []}`:                        "no site",
		`{"format": 1, "site": ["http://a/"], "debug": 1}`: "unknown field",

		`{"format": 1, "site": ["http://a/"], "floor": {"statement": -1}}`:                  "below zero",
		`{"format": 1, "site": ["http://a/"], "floor": {"statement": 1, "version": 3}}`:     "belong together",
		`{"format": 1, "site": ["http://a/"], "floor": {"statement": 1, "tries": 1}}`:       "unknown field",
		`{"format": 1, "site": ["http://a/"], "floor": {"issued": "2026-01-01T00:00:00Z"}}`: "beside a version",

		`{"format": 1, "site": ["http://a/"], "networks": [{"vlan": 4095}]}`:                   "network 1: vlan",
		`{"format": 1, "site": ["http://a/"], "networks": [{"wifi": "home"}]}`:                 "unknown field",
		`{"format": 1, "site": ["http://a/"], "proxy": "http://p"}`:                            "proxy: no port",
		`{"format": 1, "site": ["http://a/"], "syslog": "tls://p:6514"}`:                       "syslog: ",
		`{"format": 1, "site": ["http://a/"], "report": ["here"]}`:                             "report 1: ",
		`{"format": 1, "site": ["http://a/"], "report": ["site","site","site","site","site"]}`: "5 places",

		`{"format": 1, "site": ["http://a/"], "fallback": [{"title": "x", "hologram": {}}]}`:            `fallback 1: of the unknown kind "hologram"`,
		`{"format": 1, "site": ["http://a/"], "fallback": [{"title": "x", "local": {"partition": 1}}]}`: `"local+partition"`,
		`{"format": 1, "site": ["http://a/"], "fallback": [{"title": "x", "linux": {"cmdline": ""}}]}`:  "fallback 1: malformed manifest: kernel: 0 bytes",

		`{"format": 1, "site": ["http://a/"], "toolbox": {"size": 4, "place": "memory"}}`:                                     "toolbox: sha256 is missing",
		`{"format": 1, "site": ["http://a/"], "toolbox": {"size": 4, "sha256": "` + strings.Repeat("1", 64) + `"}}`:           `toolbox in ""`,
		`{"format": 1, "site": ["http://a/"], "toolbox": {"size": 4, "place": "memory", "packages": ["x"]}}`:                  "unknown field",
		`{"format": 1, "site": ["http://a/"], "limits": {"network": -1}}`:                                                     "limits: network -1",
		`{"format": 1, "site": ["http://a/"], "fallback": [{"title": "x", "rescue": {"keys": ["` + key + `"]}}]}`:             "fallback 1: a rescue needs a toolbox",
		`{"format": 1, "site": ["http://a/"], "fallback": [{"title": "x", "flash": {"image": {}, "index": {}, "disk": {}}}]}`: "fallback 1: an image does not lie",
	} {
		if _, err := settings.Decode([]byte(text)); err == nil || !strings.Contains(err.Error(), phrase) {
			t.Errorf("Decode(%s) = %v; want %q", text, err, phrase)
		}
	}
}

// TestNothingOldChanges: a medium without the new fields is written as before.
func TestNothingOldChanges(t *testing.T) {
	data, err := settings.Encode(settings.Settings{Site: []string{"http://a/"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, field := range []string{"lineage", "floor", "require_time", "trust_rtc", "networks", "proxy", "report", "syslog", "fallback", "toolbox", "limits"} {
		if strings.Contains(string(data), field) {
			t.Errorf("%q stands in\n%s", field, data)
		}
	}
}

func TestEncodeRefusesWhatDecodeWould(t *testing.T) {
	for name, change := range map[string]func(*settings.Settings){
		"floor":    func(s *settings.Settings) { s.Floor = state.Floor{Version: 3} },
		"site":     func(s *settings.Settings) { s.Site, s.Fallback = nil, nil },
		"network":  func(s *settings.Settings) { s.Networks[0].MTU = 1 },
		"proxy":    func(s *settings.Settings) { s.Proxy = "socks5://p:1080" },
		"syslog":   func(s *settings.Settings) { s.Syslog = "udp://log" },
		"report":   func(s *settings.Settings) { s.Report[0] = "ftp://h/" },
		"fallback": func(s *settings.Settings) { s.Fallback[0].Title = "a\x1b[2J" },
		"place":    func(s *settings.Settings) { s.Toolbox.Place = "site" },
		"toolbox":  func(s *settings.Settings) { s.Toolbox = nil },
		"limits":   func(s *settings.Settings) { s.Limits.Pause = 1 << 30 },
		"too many": func(s *settings.Settings) { s.Fallback = slices.Repeat(s.Fallback, 5) },
	} {
		s := full()
		change(&s)
		if data, err := settings.Encode(s); err == nil {
			t.Errorf("%s: Encode = %s", name, data)
		}
	}
}

// FuzzDecode: what is let pass is encoded and read the same again.
func FuzzDecode(f *testing.F) {
	data, err := settings.Encode(full())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"format": 1, "site": ["http://a/"]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := settings.Decode(data)
		if err != nil {
			return
		}
		again, err := settings.Encode(s)
		if len(again) == 0 && len(data) > settings.MaxSize/2 {
			return // indented it is too large
		}
		back, err2 := settings.Decode(again)
		if third, err3 := settings.Encode(back); err != nil || err2 != nil || err3 != nil || !bytes.Equal(again, third) {
			t.Errorf("%s\nbecame %s: %v, %v, %v", data, again, err, err2, err3)
		}
	})
}
