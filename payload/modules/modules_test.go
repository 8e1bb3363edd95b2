package modules

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// Lines as depmod writes them for Debian's 6.1 kernel, cut short.
const (
	dep = `kernel/drivers/net/ethernet/realtek/r8169.ko: kernel/drivers/net/phy/libphy.ko kernel/drivers/net/mdio/mdio_devres.ko
kernel/drivers/net/mdio/mdio_devres.ko: kernel/drivers/net/phy/libphy.ko
kernel/drivers/net/phy/libphy.ko:
kernel/drivers/net/phy/realtek.ko: kernel/drivers/net/phy/libphy.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/net/core/failover.ko
kernel/drivers/net/net_failover.ko: kernel/net/core/failover.ko
kernel/net/core/failover.ko:
kernel/drivers/usb/host/uhci-hcd.ko.xz:
kernel/crypto/crct10dif_common.ko:
kernel/arch/x86/crypto/crct10dif-pclmul.ko: kernel/crypto/crct10dif_common.ko kernel/lib/crc-t10dif.ko
kernel/lib/crc-t10dif.ko:
`
	alias = `# Aliases extracted from modules themselves.
alias pci:v000010ECd00008168sv*sd*bc*sc*i* r8169
alias pci:v000010ECd00008129sv*sd*bc02sc00i* r8169
alias virtio:d00000001v* virtio_net
alias pci:v*d*sv*sd*bc0Csc03i00* uhci_hcd
alias usb:v0BDAp8153d30[0-9A-F][!0]dc*dsc*dp*ic*isc*ip*in* r8169
alias dup:* virtio_net
alias dup:*x virtio_net
alias dup:y* r8169
alias crct10dif crct10dif_pclmul
alias net-pf-17 virtio_net
`
	softdep = `# Soft dependencies extracted from modules themselves.
softdep r8169 pre: realtek missing post: virtio_net
softdep uhci_hcd gcm
softdep crc_t10dif pre: crct10dif
`
)

// folder returns lib/modules/<release> with the three files.
func folder(dep, alias, softdep string) fstest.MapFS {
	return fstest.MapFS{
		"modules.dep":     {Data: []byte(dep)},
		"modules.alias":   {Data: []byte(alias)},
		"modules.softdep": {Data: []byte(softdep)},
	}
}

// read reads a folder that is right.
func read(t testing.TB, dep, alias, softdep string) *Index {
	t.Helper()
	x, err := Read(folder(dep, alias, softdep))
	if err != nil {
		t.Fatal(err)
	}
	return x
}

func TestMatch(t *testing.T) {
	x := read(t, dep, alias, softdep)
	for modalias, want := range map[string][]string{
		"pci:v000010ECd00008168sv00001849sd00008168bc02sc00i00": {"r8169"},
		"pci:v000010ECd00008129sv00001849sd00008168bc02sc00i00": {"r8169"},
		"pci:v000010ECd00008129sv00001849sd00008168bc03sc00i00": nil,
		"pci:v00008086d00007020sv00001AF4sd00001100bc0Csc03i00": {"uhci_hcd"},
		"virtio:d00000001v00001AF4":                             {"virtio_net"},
		"usb:v0BDAp8153d30A1dc00dsc00dp00icFFiscFFip00in00":     {"r8169"},
		"usb:v0BDAp8153d30A0dc00dsc00dp00icFFiscFFip00in00":     nil,
		"dup:yx":                     {"virtio_net", "r8169"},
		"net-pf-17":                  {"virtio_net"},
		"net_pf_17":                  {"virtio_net"},
		"net]":                       nil,
		"[net":                       nil,
		"":                           nil,
		strings.Repeat("dup:", 1024): nil,
	} {
		if diff := cmp.Diff(want, x.Match(modalias)); diff != "" {
			t.Errorf("%.60q: %s", modalias, diff)
		}
	}
}

func TestOrder(t *testing.T) {
	x := read(t, dep, alias, softdep)
	for name, want := range map[string][]string{
		"libphy":     {"kernel/drivers/net/phy/libphy.ko"},
		"uhci-hcd":   {"kernel/drivers/usb/host/uhci-hcd.ko.xz"},
		"uhci_hcd":   {"kernel/drivers/usb/host/uhci-hcd.ko.xz"},
		"virtio_net": {"kernel/net/core/failover.ko", "kernel/drivers/net/net_failover.ko", "kernel/drivers/net/virtio_net.ko"},
		"r8169": {"kernel/drivers/net/phy/libphy.ko", "kernel/drivers/net/mdio/mdio_devres.ko",
			"kernel/drivers/net/phy/realtek.ko", "kernel/drivers/net/ethernet/realtek/r8169.ko"},
		// It wishes for a module that needs it: the wish is passed over.
		"crc-t10dif":       {"kernel/lib/crc-t10dif.ko"},
		"crct10dif_pclmul": {"kernel/crypto/crct10dif_common.ko", "kernel/lib/crc-t10dif.ko", "kernel/arch/x86/crypto/crct10dif-pclmul.ko"},
	} {
		got, err := x.Order(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if _, err := x.Order("wifi"); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), `"wifi"`) {
		t.Errorf("got %v, want ErrUnknown", err)
	}
}

func TestReadRefuses(t *testing.T) {
	long := "a.ko:" + strings.Repeat(" b.ko", maxDeps+1) + "\nb.ko:\n"
	for name, tc := range map[string]struct{ dep, alias, softdep, want string }{
		"itself":         {"a.ko: a.ko\n", "", "", "depends on itself"},
		"circle":         {"a.ko: b.ko a.ko\nb.ko: a.ko b.ko\n", "", "", "depends on itself"},
		"open circle":    {"a.ko: b.ko\nb.ko: a.ko\n", "", "", "does not list"},
		"not complete":   {"a.ko: b.ko\nb.ko: c.ko\nc.ko:\n", "", "", `"c.ko"`},
		"missing":        {"a.ko: b.ko\n", "", "", `"b.ko" is not listed`},
		"other place":    {"a.ko: x/b.ko\nb.ko:\n", "", "", `"x/b.ko" is not listed`},
		"twice":          {"a-b.ko:\nx/a_b.ko.xz:\n", "", "", "listed twice"},
		"absolute":       {"/a.ko:\n", "", "", "not a module's path"},
		"parent":         {"../a.ko:\n", "", "", "not a module's path"},
		"no module":      {"a.so:\n", "", "", "not a module's path"},
		"no name":        {".ko:\n", "", "", "not a module's path"},
		"no colon":       {"a.ko\n", "", "", "line 1"},
		"many":           {long, "", "", "more than 512"},
		"alias words":    {"a.ko:\n", "\n# x\nalias a\n", "", "line 3"},
		"alias bracket":  {"a.ko:\n", "alias x[a a\n", "", "unmatched bracket"},
		"alias module":   {"a.ko:\n", "alias x b\n", "", `"b" is not in modules.dep`},
		"softdep module": {"a.ko:\n", "", "softdep b pre: a\n", `"b" is not in modules.dep`},
		"softdep words":  {"a.ko:\n", "", "softdep\n", "want"},
		"softdep many":   {"a.ko:\n", "", "softdep a pre:" + strings.Repeat(" a", maxDeps+1), "soft dependencies"},
		"too large":      {"a.ko:\n", strings.Repeat("# 5678\n", maxFile/7+1), "", "more than 8388608 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Read(folder(tc.dep, tc.alias, tc.softdep))
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want ErrMalformed with %q", err, tc.want)
			}
		})
	}
	for _, file := range []string{"modules.dep", "modules.alias", "modules.softdep"} {
		fsys := folder(dep, alias, softdep)
		delete(fsys, file)
		if _, err := Read(fsys); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("without %s: got %v", file, err)
		}
	}
}

// FuzzRead holds that Read does not fail otherwise than by its errors, and that
// what it accepts can be ordered.
func FuzzRead(f *testing.F) {
	f.Add(dep, alias, softdep, "pci:v000010ECd00008168sv00001849sd00008168bc02sc00i00")
	f.Add("a.ko: b.ko\nb.ko:\n", "alias b* a\n", "softdep b pre: bb\n", "bbb")
	f.Fuzz(func(t *testing.T, dep, alias, softdep, key string) {
		x, err := Read(folder(dep, alias, softdep))
		if err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		x.Match(key)
		for name, m := range x.modules {
			paths, err := x.Order(name)
			if err != nil || paths[len(paths)-1] != m.path {
				t.Fatalf("%q: %q, %v", name, paths, err)
			}
			at := map[string]int{}
			for i, p := range paths {
				at[p] = i + 1
			}
			for _, p := range paths {
				for _, d := range x.modules[Name(p)].deps {
					if at[d.path] == 0 || at[d.path] > at[p] {
						t.Fatalf("%q loads before %q in %q", p, d.path, paths)
					}
				}
			}
		}
	})
}

// FuzzMatch compares with path.Match, which means the same by a pattern as long
// as there is no '/', '!', '-' or '\' in it and no bracket in the key.
func FuzzMatch(f *testing.F) {
	f.Add("pci:v*d*sv*sd*bc0Csc03i00*", "pci:v00008086d00007020sv00001AF4sd00001100bc0Csc03i00")
	f.Add("a[bc]?*d", "abxxd")
	f.Add("*a*a*a*b", strings.Repeat("a", 40))
	f.Add("[^ab]*", "c")
	f.Fuzz(func(t *testing.T, pattern, key string) {
		a := aliases{}
		if a.add(pattern, &module{}, 0) != nil {
			return
		}
		got := len(a.match(key)) > 0
		if len(key) > maxKey || strings.ContainsAny(key, "[]") || strings.ContainsAny(pattern+key, `/!-\`) || !ascii(pattern+key) {
			return
		}
		want, err := path.Match(pattern, key)
		if err == nil && got != want {
			t.Errorf("%q, %q: got %v, want %v", pattern, key, got, want)
		}
	})
}

// ascii tells whether bytes and runes of s are the same.
func ascii(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 126 })
}

func TestGlob(t *testing.T) {
	for _, tc := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"**", "x/y", true}, {"?", "", false},
		{"a*b", "ab", true}, {"a*b", "axbxb", true}, {"a*b", "axbx", false}, {"*?", "a", true},
		{"[abc]", "b", true}, {"[abc]", "d", false}, {"[!abc]", "d", true}, {"[^abc]", "a", false},
		{"[a-c]", "b", true}, {"[a-c]", "-", false}, {"[a-]", "-", true}, {"[0-9A-F]", "E", true},
		{"[a-c]", "", false}, {`\*`, "*", true}, {`\*`, "a", false}, {`a\`, `a\`, true},
	} {
		if got := glob(tc.pattern, tc.s); got != tc.want {
			t.Errorf("%q, %q: got %v", tc.pattern, tc.s, got)
		}
	}
}

// BenchmarkMatch asks as a machine does: 10,000 aliases, 100 devices.
func BenchmarkMatch(b *testing.B) {
	var dep, alias strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&dep, "kernel/m%d.ko:\n", i)
		for j := range 10 {
			fmt.Fprintf(&alias, "alias pci:v%08Xd%08Xsv*sd*bc*sc*i* m%d\n", 0x8086+i%7, 16*i+j, i)
		}
	}
	x := read(b, dep.String(), alias.String(), "")
	for b.Loop() {
		for i := range 100 {
			x.Match(fmt.Sprintf("pci:v%08Xd%08Xsv00001849sd00008168bc02sc00i00", 0x8086+i%7, 16*i))
		}
	}
}
