package netconf

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// addr and prefix make netip values comparable by cmp.
var text = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

// full is a list that uses every field.
const full = `[
 {"card": {"mac": "52:54:00:12:34:56", "driver": "virtio_net", "name": "eth*"}, "vlan": 100, "mtu": 9000,
  "addresses": ["192.0.2.7/24", "2001:db8::7/64"], "gateways": ["192.0.2.1", "fe80::1"],
  "dns": ["192.0.2.53", "2001:db8::53"], "proxy": "http://proxy.example:3128"},
 {"bond": {"mode": "802.3ad", "members": [{"driver": "ixgbe"}, {"mac": "52:54:00:12:34:57"}]}, "ipv6": "off"},
 {"ipv4": "off"},
 {}
]`

func TestDecode(t *testing.T) {
	got, err := Decode([]byte(full))
	if err != nil {
		t.Fatal(err)
	}
	addrs := func(list ...string) (found []netip.Addr) {
		for _, s := range list {
			found = append(found, netip.MustParseAddr(s))
		}
		return found
	}
	want := []Network{
		{
			Card: Card{MAC: "52:54:00:12:34:56", Driver: "virtio_net", Name: "eth*"}, VLAN: 100, MTU: 9000,
			Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24"), netip.MustParsePrefix("2001:db8::7/64")},
			Gateways:  addrs("192.0.2.1", "fe80::1"), DNS: addrs("192.0.2.53", "2001:db8::53"),
			Proxy: "http://proxy.example:3128",
		},
		{Bond: &Bond{Mode: "802.3ad", Members: []Card{{Driver: "ixgbe"}, {MAC: "52:54:00:12:34:57"}}}, IPv6: Off},
		{IPv4: Off},
		{},
	}
	if diff := cmp.Diff(want, got, text); diff != "" {
		t.Error(diff)
	}
	again, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if back, err := Decode(again); err != nil || !cmp.Equal(got, back, text) {
		t.Errorf("written and read again: %v, %v", back, err)
	}
	if got := Modules(want); !slices.Equal(got, []string{"8021q", "bonding"}) {
		t.Errorf("modules %q", got)
	}
}

// Each text has one defect; the error names it.
func TestRefusals(t *testing.T) {
	for text, phrase := range map[string]string{
		`{}`:                                   "cannot unmarshal",
		`[{"search": ["a"]}]`:                  "unknown field",
		`[{"vlan": 4095}]`:                     "vlan 4095",
		`[{"vlan": -1}]`:                       "vlan -1",
		`[{"mtu": 500}]`:                       "mtu 500",
		`[{"mtu": 65536}]`:                     "mtu 65536",
		`[{"mtu": 1000}]`:                      "IPv6 needs 1280",
		`[{"ipv4": "static"}]`:                 `ipv4 "static"`,
		`[{"ipv4": "auto"}]`:                   `ipv4 "auto"`,
		`[{"ipv6": "dhcp"}]`:                   `ipv6 "dhcp"`,
		`[{"addresses": ["a"]}]`:               "no '/'",
		`[{"dns": ["127.0.0.1"]}]`:             "dns 127.0.0.1",
		`[{}, {"ipv4": "off", "ipv6": "off"}]`: "network 2: neither",
		`[{"ipv4": "dhcp", "addresses": ["192.0.2.7/24"]}]`:                                  "beside a static IPv4",
		`[{"ipv6": "auto", "addresses": ["2001:db8::7/64"]}]`:                                "beside a static IPv6",
		`[{"ipv6": "off", "addresses": ["2001:db8::7/64"]}]`:                                 "beside a static IPv6",
		`[{"addresses": ["192.0.2.0/24"]}]`:                                                  "whole network",
		`[{"addresses": ["192.0.2.255/24"]}]`:                                                "whole network",
		`[{"addresses": ["2001:db8::/64"]}]`:                                                 "whole network",
		`[{"addresses": ["127.0.0.1/8"]}]`:                                                   "want a host's",
		`[{"addresses": ["fe80::7/64"]}]`:                                                    "want a host's",
		`[{"addresses": ["::ffff:192.0.2.7/120"]}]`:                                          "want a host's",
		`[{"addresses": ["10.0.0.1/7"]}]`:                                                    "want a host's",
		`[{"addresses": ["192.0.2.7/24", "192.0.2.7/25"]}]`:                                  "stands twice",
		`[{"gateways": ["192.0.2.1"]}]`:                                                      "no static address",
		`[{"addresses": ["192.0.2.7/24"], "gateways": ["fe80::1"]}]`:                         "no static address",
		`[{"addresses": ["192.0.2.7/24"], "gateways": ["192.0.2.7"]}]`:                       "this machine itself",
		`[{"addresses": ["192.0.2.7/24"], "gateways": ["192.0.2.1", "192.0.2.2"]}]`:          "second one",
		`[{"addresses": ["192.0.2.7/24"], "gateways": ["0.0.0.0"]}]`:                         "gateway 0.0.0.0",
		`[{"addresses": ["2001:db8::7/64"], "gateways": ["fe80::1%eth0"]}]`:                  "gateway fe80::1%eth0",
		`[{"dns": ["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"]}]`:                    "4 DNS servers",
		`[{"dns": ["192.0.2.1", "192.0.2.1"]}]`:                                              "stands twice",
		`[{"proxy": "https://proxy:3128"}]`:                                                  "want http://host:port",
		`[{"proxy": "http://proxy"}]`:                                                        "want a port",
		`[{"proxy": "http://proxy:0"}]`:                                                      "want a port",
		`[{"proxy": "http://proxy:3128/path"}]`:                                              "without user or path",
		`[{"proxy": "http://:3128"}]`:                                                        "want http://host:port",
		`[{"card": {"mac": "52:54:00:12:34:5G"}}]`:                                           "mac ",
		`[{"card": {"mac": "52:54:00:AB:34:56"}}]`:                                           "lower case",
		`[{"card": {"mac": "01:00:5e:00:00:01"}}]`:                                           "one card's",
		`[{"card": {"driver": "-b"}}]`:                                                       "driver ",
		`[{"card": {"driver": "a b"}}]`:                                                      "driver ",
		`[{"card": {"name": "eth["}}]`:                                                       "name ",
		`[{"bond": {"mode": "lacp", "members": [{"name": "eth*"}]}}]`:                        `bond mode "lacp"`,
		`[{"bond": {"mode": "802.3ad", "members": []}}]`:                                     "bond of 0 members",
		`[{"bond": {"mode": "802.3ad", "members": [{}]}}]`:                                   "member 1 names no card",
		`[{"bond": {"mode": "802.3ad", "members": [{"mac": "x"}]}}]`:                         "member 1: mac",
		`[{"bond": {"mode": "802.3ad", "members": [{"name": "a"}, {"name": "a"}]}}]`:         "member 2 stands twice",
		`[{"card": {"name": "a"}, "bond": {"mode": "802.3ad", "members": [{"name": "a"}]}}]`: "exclude each other",
		`[{},{},{},{},{},{},{},{},{}]`:                                                       "9 networks",
	} {
		if _, err := Decode([]byte(text)); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), phrase) {
			t.Errorf("Decode(%s) = %v; want %q", text, err, phrase)
		}
	}
}

// A password in a proxy's URL is refused without being shown.
func TestProxyPassword(t *testing.T) {
	_, err := Decode([]byte(`[{"proxy": "http://user:hunter2@proxy:3128"}]`))
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []Card{{}, {MAC: "52:54:00:12:34:56"}, {Driver: "e1000e"}, {Name: "eth0"}, {Name: "e*", Driver: "e1000e"}} {
		if !c.Match("52:54:00:12:34:56", "e1000e", "eth0") {
			t.Errorf("%+v does not match", c)
		}
	}
	for _, c := range []Card{{MAC: "52:54:00:12:34:57"}, {Driver: "e1000"}, {Name: "eth1"}, {Name: "e*", Driver: "ixgbe"}} {
		if c.Match("52:54:00:12:34:56", "e1000e", "eth0") {
			t.Errorf("%+v matches", c)
		}
	}
}

func TestKernel(t *testing.T) {
	v4, v6 := netip.MustParsePrefix("192.0.2.7/24"), netip.MustParsePrefix("2001:db8::7/64")
	via4, via6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("fe80::1")
	dns4, dns6 := netip.MustParseAddr("192.0.2.53"), netip.MustParseAddr("2001:db8::53")
	const mac = "52:54:00:12:34:56"
	for name, tc := range map[string]struct {
		use  Use
		want string
	}{
		"IPv4": {
			Use{MAC: mac, Addresses: []netip.Prefix{v4}, Gateways: []netip.Addr{via4}, DNS: []netip.Addr{dns4}},
			"BOOTIF=01-52-54-00-12-34-56 ip=192.0.2.7::192.0.2.1:255.255.255.0:::none:192.0.2.53:",
		},
		"both": {
			Use{MAC: mac, Addresses: []netip.Prefix{v6, v4}, Gateways: []netip.Addr{via6, via4}, DNS: []netip.Addr{dns6, dns4}},
			"BOOTIF=01-52-54-00-12-34-56 ip=192.0.2.7::192.0.2.1:255.255.255.0:::none:192.0.2.53:",
		},
		"IPv6": {
			Use{MAC: mac, Addresses: []netip.Prefix{v6}, Gateways: []netip.Addr{via6.WithZone("eth0")}, DNS: []netip.Addr{dns4, dns6}},
			"BOOTIF=01-52-54-00-12-34-56 ip=[2001:db8::7]::[fe80::1]:64:::none:[2001:db8::53]:",
		},
		"bare": {Use{MAC: mac, Addresses: []netip.Prefix{v4}}, "BOOTIF=01-52-54-00-12-34-56 ip=192.0.2.7:::255.255.255.0:::none::"},
	} {
		if got, err := tc.use.Kernel(); err != nil || got != tc.want {
			t.Errorf("%s: %q, %v\nwant %q", name, got, err, tc.want)
		}
	}
	for _, u := range []Use{{}, {MAC: mac}, {MAC: mac, VLAN: 5, Addresses: []netip.Prefix{v4}}, {MAC: mac, Bonded: true, Addresses: []netip.Prefix{v4}}, {Addresses: []netip.Prefix{v4}}} {
		if got, err := u.Kernel(); !errors.Is(err, ErrInexpressible) || got != "" {
			t.Errorf("Kernel of %+v = %q, %v", u, got, err)
		}
	}
}

// FuzzDecode: what is let pass reads the same when written again, and nothing in
// it can break out of a kernel command line.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte(`[{"proxy": "http://[2001:db8::1]:80"}]`))
	f.Add([]byte(`[{"addresses": ["0.0.0.0/0"]}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := Decode(data)
		if err != nil {
			return
		}
		again, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		back, err := Decode(again)
		if err != nil || !cmp.Equal(list, back, text) {
			t.Errorf("%s\nbecame %s: %v", data, again, err)
		}
		for _, n := range list {
			u := Use{MAC: "52:54:00:12:34:56", Addresses: n.Addresses, Gateways: n.Gateways, DNS: n.DNS}
			if line, err := u.Kernel(); err == nil && (strings.Count(line, " ") != 1 || strings.ContainsAny(line, "\n\"'")) {
				t.Errorf("kernel parameters %q", line)
			}
		}
	})
}
