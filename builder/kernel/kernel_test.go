package kernel

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/modules"
)

// build calls Build and fails the test where that fails.
func build(t testing.TB, files []member, want ...string) *Kernel {
	t.Helper()
	k, err := Build(walk(files...), want)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// chosen returns the names of a kernel's modules, sorted, and the texts of its
// index by file name.
func chosen(t testing.TB, k *Kernel) (names []string, index map[string]string) {
	t.Helper()
	index = map[string]string{}
	for _, f := range k.Modules {
		place, ok := strings.CutPrefix(f.Path, "lib/modules/"+k.Release+"/")
		if !ok {
			t.Fatalf("%s lies elsewhere", f.Path)
		}
		if n := modules.Name(f.Path); n != "" {
			names = append(names, n)
			continue
		}
		data, err := f.Read()
		if err != nil {
			t.Fatal(err)
		}
		index[place] = string(data)
	}
	slices.Sort(names)
	return names, index
}

func TestSetsAreClosedUnderDependency(t *testing.T) {
	files := members(t, machine...)
	for _, tc := range []struct{ want, have string }{
		{"", "efivarfs sd_mod virtio_pci virtio_ring xhci_hcd xhci_pci"},
		{"net", "efivarfs libphy mdio_devres mlx4_core mlx4_en r8169 realtek sd_mod virtio_pci virtio_ring xhci_hcd xhci_pci"},
		{"usb", "efivarfs sd_mod virtio_pci virtio_ring xhci_hcd xhci_pci"},
		{"ext4", "crc32c_generic crc32c_intel efivarfs ext4 mbcache sd_mod virtio_pci virtio_ring xhci_hcd xhci_pci"},
		{"filesystems touch-screen", "crc32c_generic crc32c_intel efivarfs ext4 mbcache sd_mod touch_screen virtio_pci virtio_ring xhci_hcd xhci_pci"},
		{"touch_screen usb usb", "efivarfs sd_mod touch_screen virtio_pci virtio_ring xhci_hcd xhci_pci"},
	} {
		names, _ := chosen(t, build(t, files, strings.Fields(tc.want)...))
		if got := strings.Join(names, " "); got != tc.have {
			t.Errorf("%q:\ngot  %s\nwant %s", tc.want, got, tc.have)
		}
	}
}

func TestResult(t *testing.T) {
	files := members(t, machine...)
	k := build(t, files, "net")
	if k.Release != release || string(k.Image) != "bzImage" {
		t.Errorf("release %q, image %q", k.Release, k.Image)
	}
	if diff := cmp.Diff([]string{"rtl_nic/a.fw", "rtl_nic/b.fw"}, k.Firmware); diff != "" {
		t.Error(diff)
	}
	var paths []string
	for _, f := range k.Modules {
		paths = append(paths, f.Path)
		if modules.Name(f.Path) == "" {
			continue
		}
		data, err := f.Read()
		i := slices.IndexFunc(files, func(m member) bool { return m.name == "./"+f.Path })
		if err != nil || i < 0 || !bytes.Equal(data, files[i].data) {
			t.Errorf("%s: not the package's bytes (%v)", f.Path, err)
		}
	}
	if !slices.IsSorted(paths) {
		t.Errorf("not sorted: %q", paths)
	}
}

// TestOrderOfThePackageDoesNotShow builds from the same files back to front.
func TestOrderOfThePackageDoesNotShow(t *testing.T) {
	files := members(t, machine...)
	_, want := chosen(t, build(t, files, "net", "filesystems"))
	slices.Reverse(files)
	_, got := chosen(t, build(t, files, "filesystems", "net"))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestCompressedModules holds that .ko.xz and its like come out as plain .ko,
// as does a package with /usr/lib/modules.
func TestCompressedModules(t *testing.T) {
	plain := members(t, machine...)
	want, index := chosen(t, build(t, plain, "net", "ext4"))
	for ext, tool := range map[string][]string{
		".xz": {"xz", "xz-utils"}, ".zst": {"zstd", "zstd"}, ".gz": {"gzip", "gzip"},
	} {
		files := slices.Clone(plain)
		for i, m := range files {
			if !strings.HasSuffix(m.name, ".ko") {
				continue
			}
			cmd := exec.Command(need(t, tool[0], tool[1]), "-c")
			cmd.Stdin = bytes.NewReader(m.data)
			packed, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			files[i] = member{strings.Replace(m.name, "./lib", "./usr/lib", 1) + ext, packed}
		}
		got, gotIndex := chosen(t, build(t, files, "net", "ext4"))
		if diff := cmp.Diff(want, got) + cmp.Diff(index, gotIndex); diff != "" {
			t.Errorf("%s: %s", ext, diff)
		}
	}
}

func TestBuiltin(t *testing.T) {
	files := append(members(t, machine[0], machine[1],
		synth{path: "fs/a", uses: []string{"lib/built_in"}, info: "softdep=pre: crypto-md5"}),
		member{"./lib/modules/" + release + "/modules.builtin", []byte("kernel/lib/built-in.ko\nkernel/net/unix/unix.ko\n")},
		member{"./lib/modules/" + release + "/modules.builtin.modinfo", []byte("md5.alias=crypto-md5\x00md5.license=GPL\x00")})
	names, _ := chosen(t, build(t, files, "a", "unix", "built-in"))
	if got := strings.Join(names, " "); got != "a virtio_pci virtio_ring" {
		t.Errorf("got %s", got)
	}
}

func TestUnknownNamesGetAHint(t *testing.T) {
	files := members(t, machine...)
	for name, want := range map[string]string{
		"nett":       `did you mean "net"? sets are filesystems, net, shares, storage, toolbox, usb, watchdog`,
		"r8168":      `did you mean "r8169"? `,
		"xhci-pic":   `did you mean "xhci_pci"? `,
		"zzzzzzzzzz": `in kernel 6.1.0-test; sets are`,
		"":           `module ""`,
	} {
		_, err := Build(walk(files...), []string{name})
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", name, err, want)
		}
	}
}

func TestRefusesBrokenPackages(t *testing.T) {
	mod := func(s synth) member { return members(t, s)[2] }
	good := []member{mod(machine[0]), mod(machine[1]), image}
	wrongName := mod(synth{path: "fs/a"})
	wrongName.name = strings.Replace(wrongName.name, "a.ko", "b.ko", 1)
	circle := []member{
		mod(synth{path: "fs/a", uses: []string{"fs/b"}}), mod(synth{path: "fs/b", uses: []string{"fs/a"}}),
	}
	failing := errors.New("read failed")
	for name, tc := range map[string]struct {
		files []member
		want  string
	}{
		"no kernel":        {good[:2], "vmlinuz of 0 bytes"},
		"no modules":       {good[2:], "0 modules"},
		"nothing":          {nil, "0 modules"},
		"set is missing":   {good, `no module of the set "watchdog"`},
		"two kernels":      {append(good, member{"./boot/vmlinuz-6.2", []byte("x")}), `"6.2"`},
		"other release":    {append(good, member{"./lib/modules/5.0/kernel/a.ko", nil}), `"5.0"`},
		"no release":       {append(good, member{"./boot/vmlinuz-", nil}), `release ""`},
		"not ELF":          {append(good, member{"./lib/modules/" + release + "/kernel/a.ko", []byte("\x7fELF")}), "a.ko"},
		"not xz":           {append(good, member{"./lib/modules/" + release + "/kernel/a.ko.xz", []byte("abc")}), "a.ko.xz"},
		"not gz":           {append(good, member{"./lib/modules/" + release + "/kernel/a.ko.gz", []byte("abc")}), "a.ko.gz"},
		"not zst":          {append(good, member{"./lib/modules/" + release + "/kernel/a.ko.zst", []byte("abc")}), "a.ko.zst"},
		"name of another":  {append(good, wrongName), `calls itself "a"`},
		"same name twice":  {append(good, mod(synth{path: "fs/a"}), mod(synth{path: "lib/a"})), "same name"},
		"dependency lacks": {append(good, mod(synth{path: "fs/a", uses: []string{"fs/gone"}})), `depends on "gone"`},
		"circle":           {append(good, circle...), "does not list"},
		"circle of one":    {append(good, mod(synth{path: "fs/a", uses: []string{"fs/a"}})), `depends on "a"`},
		"alias":            {append(good, mod(synth{path: "fs/a", info: "alias=x[y"})), "unmatched bracket"},
		"alias of 2 words": {append(good, mod(synth{path: "fs/a", info: "alias=x y"})), "want"},
	} {
		t.Run(name, func(t *testing.T) {
			ask := "a"
			if strings.HasPrefix(name, "set ") {
				ask = "watchdog"
			}
			_, err := Build(walk(tc.files...), []string{ask})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
	_, err := Build(func(func(*tar.Header, io.Reader) error) error { return failing }, nil)
	if !errors.Is(err, failing) {
		t.Errorf("got %v", err)
	}
}

// endless is a file that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

func TestLimits(t *testing.T) {
	for _, name := range []string{
		"./boot/vmlinuz-" + release,
		"./lib/modules/" + release + "/kernel/a.ko",
		"./lib/modules/" + release + "/modules.builtin",
		"./lib/modules/" + release + "/modules.builtin.modinfo",
	} {
		_, err := Build(func(f func(*tar.Header, io.Reader) error) error {
			return f(&tar.Header{Name: name, Typeflag: tar.TypeReg}, endless{})
		}, nil)
		if !errors.Is(err, ErrPackage) || !strings.Contains(err.Error(), "more than") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// FuzzModinfo holds that no bytes make the reader fail otherwise than by its
// error.
func FuzzModinfo(f *testing.F) {
	f.Add(machine[2].compile(f))
	f.Add([]byte("\x7fELF"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := readModinfo(data); err != nil && !errors.Is(err, ErrPackage) {
			t.Fatal(err)
		}
	})
}

// TestLinesHaveReasons keeps the table of sets readable: every line says why,
// and none is hidden by another of its list.
func TestLinesHaveReasons(t *testing.T) {
	for _, s := range append(sets(), baseSet()) {
		for _, list := range [][]line{s.take, s.leave} {
			for i, l := range list {
				if l.why == "" || l.place != strings.Trim(l.place, "/") || strings.HasSuffix(l.place, ".ko") {
					t.Errorf("%s: %+v", s.name, l)
				}
				for j, other := range list {
					if i != j && anyCovers([]line{other}, l.place) {
						t.Errorf("%s: %s is covered by %s", s.name, l.place, other.place)
					}
				}
			}
		}
		for _, l := range s.leave {
			if !anyCovers(s.take, l.place) {
				t.Errorf("%s leaves %s, which it does not take", s.name, l.place)
			}
		}
	}
	if got := fmt.Sprint(Sets()); got != "[filesystems net shares storage toolbox usb watchdog xen]" {
		t.Errorf("sets are %s", got)
	}
}
