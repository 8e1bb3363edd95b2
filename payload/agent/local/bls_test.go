package local

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBLS(t *testing.T) {
	const id = "0123456789abcdef0123456789abcdef"
	for name, want := range map[string]entry{
		"rhel9.conf": {
			Title:   "Red Hat Enterprise Linux (5.14.0-362.8.1.el9_3.x86_64) 9.3 (Plow)",
			Kernel:  "/vmlinuz-5.14.0-362.8.1.el9_3.x86_64",
			Initrds: []string{"/initramfs-5.14.0-362.8.1.el9_3.x86_64.img"},
			Cmdline: "root=/dev/mapper/rhel-root ro crashkernel=1G-4G:192M,4G-64G:256M,64G-:512M rd.lvm.lv=rhel/root rhgb quiet",
			version: "5.14.0-362.8.1.el9_3.x86_64",
		},
		"systemd.conf": {
			Title:   "Debian GNU/Linux 12 (bookworm)",
			Kernel:  "/" + id + "/6.1.0-18-amd64/linux",
			Initrds: []string{"/" + id + "/microcode.cpio", "/" + id + "/6.1.0-18-amd64/initrd.img-6.1.0-18-amd64"},
			Cmdline: "root=UUID=" + debianUUID + " ro quiet systemd.machine_id=" + id,
			version: "6.1.0-18-amd64", sortKey: "debian", machine: id,
		},
	} {
		got := parseBLS(testdata(t, name), nil)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(entry{})); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	env := map[string]string{"kernelopts": "root=/dev/sda ro", "tuned_initrd": "/tuned.img"}
	got := parseBLS("linux /v\ninitrd /i $tuned_initrd\noptions $kernelopts quiet\n", env)
	if got.Cmdline != "root=/dev/sda ro quiet" || !slices.Equal(got.Initrds, []string{"/i", "/tuned.img"}) {
		t.Errorf("%+v", got)
	}
	if got := parseBLS("title EFI\nefi /EFI/shell.efi\n", nil); got.Kernel != "" {
		t.Errorf("%+v", got)
	}
}

func TestOrderBLS(t *testing.T) {
	for name, tc := range map[string]struct {
		files string // "file sort-key version"
		wants string
		want  string
	}{
		"newest":    {"m-5.9.conf|m-5.14.conf|m-5.10.conf", "", "m-5.14.conf m-5.10.conf m-5.9.conf"},
		"rescue":    {"m-0-rescue.conf|m-5.9.conf", "", "m-5.9.conf m-0-rescue.conf"},
		"saved":     {"m-5.9.conf|m-5.14.conf|m-5.10.conf", "m-5.10", "m-5.10.conf m-5.14.conf m-5.9.conf"},
		"pattern":   {"m-5.9.conf|m-5.14.conf|x-1.conf", "x-*", "x-1.conf m-5.14.conf m-5.9.conf"},
		"gone":      {"m-1.conf|m-2.conf", "m-3", "m-2.conf m-1.conf"},
		"sort-key":  {"a.conf z 9|b.conf d 1|c.conf d 2|d.conf", "", "c.conf b.conf a.conf d.conf"},
		"given up":  {"m-2+0-3.conf|m-1.conf", "", "m-1.conf m-2+0-3.conf"},
		"tries":     {"m-2+3.conf|m-1.conf", "m-2", "m-2+3.conf m-1.conf"},
		"candidate": {"m-6.1~rc1.conf|m-6.1.conf|m-6.1.5.conf", "", "m-6.1.5.conf m-6.1.conf m-6.1~rc1.conf"},
	} {
		var entries []entry
		for line := range strings.SplitSeq(tc.files, "|") {
			words := append(strings.Fields(line), "", "")
			entries = append(entries, entry{file: words[0], sortKey: words[1], version: words[2]})
		}
		orderBLS(entries, tc.wants)
		var got []string
		for _, e := range entries {
			got = append(got, e.file)
		}
		if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// FuzzBLS: entries are bounded by their text, and the order of any two versions
// is the same both ways.
func FuzzBLS(f *testing.F) {
	f.Add(testdata(f, "rhel9.conf"), testdata(f, "systemd.conf"), testdata(f, "grubenv"))
	f.Add("linux /v", "options $a${b}$", "a=b")
	f.Fuzz(func(t *testing.T, one, two, env string) {
		vars := parseEnv(env)
		a, b := parseBLS(one, vars), parseBLS(two, vars)
		a.file, b.file = a.Title+".conf", b.Title+".conf"
		if x, y := compareVersions(a.version, b.version), compareVersions(b.version, a.version); x != -y {
			t.Errorf("%q and %q compare %d and %d", a.version, b.version, x, y)
		}
		orderBLS([]entry{a, b}, a.name(), loaderDefault(one))
	})
}
