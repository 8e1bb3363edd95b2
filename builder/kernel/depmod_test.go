package kernel

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/modules"
)

// words turns a file of the index into a set of lines; in modules.dep the order
// within a line is depmod's own affair.
func words(text string) map[string]bool {
	lines := map[string]bool{}
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) == 0 || w[0] == "#" {
			continue
		}
		if strings.HasSuffix(w[0], ":") {
			slices.Sort(w[1:])
		}
		lines[strings.Join(w, " ")] = true
	}
	return lines
}

// TestDepmodAgrees runs depmod(8) on the result and compares, and then asks
// modprobe(8) what payload/modules is asked.
func TestDepmodAgrees(t *testing.T) {
	k := build(t, members(t, machine...), "net", "usb", "filesystems", "touch-screen")
	dir := t.TempDir()
	for _, f := range k.Modules {
		data, _ := f.Read()
		file := filepath.Join(dir, f.Path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, data, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(need(t, "depmod", "kmod"), "-b", dir, release).CombinedOutput(); err != nil {
		t.Fatalf("depmod: %v\n%s", err, out)
	}
	names, index := chosen(t, k)
	for _, file := range []string{modules.DepFile, modules.AliasFile, modules.SoftdepFile} {
		theirs, err := os.ReadFile(filepath.Join(dir, "lib/modules", release, file))
		if err != nil {
			t.Fatal(err)
		}
		want := words(string(theirs))
		if file == modules.AliasFile { // ours alone: see companions
			want["alias pci:v000015B3d00001003sv*sd*bc*sc*i* mlx4_en"] = true
		}
		if diff := cmp.Diff(want, words(index[file])); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
	x, err := modules.Parse(index[modules.DepFile], index[modules.AliasFile], index[modules.SoftdepFile])
	if err != nil {
		t.Fatal(err)
	}
	compareOrder(t, x, dir, names)
	compareMatch(t, x, dir)
}

// modprobe runs modprobe(8) below dir and returns its lines.
func modprobe(t *testing.T, dir string, args ...string) []string {
	t.Helper()
	args = append([]string{"-C", "/dev/null", "-d", dir, "-S", release}, args...)
	out, err := exec.Command(need(t, "modprobe", "kmod"), args...).Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' })
}

func compareOrder(t *testing.T, x *modules.Index, dir string, names []string) {
	for _, name := range names {
		var want []string
		for _, line := range modprobe(t, dir, "--show-depends", name) {
			path := strings.TrimSpace(strings.TrimPrefix(line, "insmod "+dir+"/lib/modules/"+release+"/"))
			if !slices.Contains(want, path) { // it repeats what it wants twice
				want = append(want, path)
			}
		}
		got, err := x.Order(name)
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got) // what does not need each other may come in any order
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func compareMatch(t *testing.T, x *modules.Index, dir string) {
	for modalias, want := range map[string]int{
		"pci:v000010ECd00008168sv00001849sd00008168bc02sc00i00": 1,
		"pci:v000010ECd00008169sv00001849sd00008168bc02sc00i00": 0,
		"pci:v00001AF4d00001041sv00001AF4sd00001100bc0Csc03i30": 2,
		"mdio:00000000000111001100100100010100":                 1,
		"mdio:00000000000111001100100100010":                    0,
		"cpu:type:x86,ven0000fam0006mod001E:feature:,0094,":     1,
		"crypto-crc32c": 2,
		"crypto_crc32c": 2,
		"fs-ext4":       1,
	} {
		theirs := modprobe(t, dir, "-R", modalias)
		ours := x.Match(modalias)
		slices.Sort(theirs)
		slices.Sort(ours)
		if diff := cmp.Diff(theirs, ours); (len(ours) != 0 || len(theirs) != 0) && diff != "" {
			t.Errorf("%s: %s", modalias, diff)
		}
		if len(ours) != want {
			t.Errorf("%s: got %q, want %d", modalias, ours, want)
		}
	}
}
