package live

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/google/go-cmp/cmp"
)

// hash is what "mkpasswd -m sha-512 farboot saltsalt" prints.
const hash = "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/"

// entry is one that the words change.
func entry() manifest.Live {
	return manifest.Live{Hostname: "farboot", SSH: &manifest.LiveSSH{Keys: []string{"key"}}, Words: manifest.LiveWords()}
}

func TestWords(t *testing.T) {
	got, network, err := Words(entry(), "BOOT_IMAGE=/x quiet farboot.live.hostname=xen1 farboot.live.timezone=Europe/Vienna "+
		"farboot.live.network=192.0.2.7/24,192.0.2.1,192.0.2.53,192.0.2.54 farboot.live.password="+hash+" farboot.live.ssh=off panic=30")
	if err != nil {
		t.Fatal(err)
	}
	want := entry()
	want.Hostname, want.Timezone, want.Password, want.SSH = "xen1", "Europe/Vienna", hash, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	address := func(s string) netip.Addr { return netip.MustParseAddr(s) }
	wantNet := &netconf.Network{
		Addresses: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}, IPv6: netconf.Off,
		Gateways: []netip.Addr{address("192.0.2.1")}, DNS: []netip.Addr{address("192.0.2.53"), address("192.0.2.54")},
	}
	equal := cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
	if diff := cmp.Diff(wantNet, network, equal); diff != "" {
		t.Error(diff)
	}
	plain := manifest.Live{Hostname: "farboot"}
	if got, network, err := Words(plain, "quiet farboot.fallback"); err != nil || network != nil || !cmp.Equal(got, plain) {
		t.Errorf("without words: %+v, %v, %v", got, network, err)
	}
}

// Each line has one defect. None changes anything by halves.
func TestWordsRefused(t *testing.T) {
	for word, allowed := range map[string][]string{
		"farboot.live.ssh=off":                              {"hostname"},
		"farboot.live.password=" + hash:                     nil,
		"farboot.live.keys=x":                               manifest.LiveWords(),
		"farboot.live.ssh":                                  manifest.LiveWords(),
		"farboot.live.hostname=":                            manifest.LiveWords(),
		"farboot.live.ssh=on":                               manifest.LiveWords(),
		"farboot.live.hostname=a_b":                         manifest.LiveWords(),
		"farboot.live.timezone=../x":                        manifest.LiveWords(),
		"farboot.live.password=secret":                      manifest.LiveWords(),
		"farboot.live.network=dhcp":                         manifest.LiveWords(),
		"farboot.live.network=192.0.2.7":                    manifest.LiveWords(),
		"farboot.live.network=192.0.2.0/24":                 manifest.LiveWords(),
		"farboot.live.network=192.0.2.7/24,gateway":         manifest.LiveWords(),
		"farboot.live.network=192.0.2.7/24,2001:db8::1":     manifest.LiveWords(),
		"farboot.live.network=192.0.2.7/24,192.0.2.1,dns":   manifest.LiveWords(),
		"farboot.live.network=192.0.2.7/24,192.0.2.1,0.0.0": manifest.LiveWords(),
	} {
		x := entry()
		x.Words = allowed
		if got, network, err := Words(x, "quiet "+word); !errors.Is(err, ErrWord) || network != nil || !cmp.Equal(got, manifest.Live{}) {
			t.Errorf("%s: %+v, %v, %v", word, got, network, err)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("a password is shown: %v", err)
		}
	}
}

// FuzzWords: whatever is typed at a boot loader, what comes of it is an entry that
// a manifest could hold, and a network that recipes could.
func FuzzWords(f *testing.F) {
	f.Add("farboot.live.hostname=xen1 farboot.live.network=2001:db8::7/64,fe80::1")
	f.Add("farboot.live.network=192.0.2.7/24,192.0.2.1,192.0.2.53 farboot.live.ssh=off")
	f.Add("farboot.live.password=" + hash + " farboot.live.timezone=UTC")
	f.Fuzz(func(t *testing.T, cmdline string) {
		x, network, err := Words(manifest.Live{Words: manifest.LiveWords()}, cmdline)
		if err != nil {
			return
		}
		if err := (manifest.Entry{Title: "x", Live: &x}).Validate(); err != nil {
			t.Errorf("%q makes an entry that is refused: %v", cmdline, err)
		}
		if network != nil && netconf.Check([]netconf.Network{*network}) != nil {
			t.Errorf("%q makes a network that is refused: %+v", cmdline, network)
		}
	})
}
