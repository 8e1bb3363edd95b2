package apt

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/source/aptsim"
	"github.com/farboot/farboot/payload/object"
)

// TestClosureAsApt asks apt what it would install into an empty root, with the
// archive of today, and wants the same packages in the same versions.
func TestClosureAsApt(t *testing.T) {
	x, apt := realArchive(t)
	for _, list := range []string{
		"busybox-static",
		"e2fsprogs xfsprogs btrfs-progs dosfstools ntfs-3g mdadm lvm2 cryptsetup parted gdisk rsync curl openssh-client nano smartmontools pciutils busybox-static",
		"bash coreutils grep sed gawk findutils util-linux procps",
		"systemd systemd-sysv dbus libpam-systemd udev",
		"grub-efi-amd64 grub-pc-bin efibootmgr shim-signed",
		"python3 python3-yaml python3-requests ansible-core",
		"git vim less man-db perl tmux",
		"nfs-common cifs-utils open-iscsi nbd-client multipath-tools",
		"debootstrap mmdebstrap zstd xz-utils gnupg ca-certificates",
		"network-manager wpasupplicant tcpdump nmap iperf3 bind9-dnsutils",
		"qemu-system-x86 libvirt-daemon-system",
	} {
		names := strings.Fields(list)
		packages, err := x.Closure(names)
		if err != nil {
			t.Errorf("%s: %v", list, err)
			continue
		}
		var got []string
		for _, p := range packages {
			got = append(got, p.Name+" "+p.Version)
		}
		if diff := cmp.Diff(apt.install(names), got); diff != "" {
			t.Errorf("%s: apt's answer (-) and ours (+):\n%s", list, diff)
		}
	}
}

// realApt is apt with a state of its own, whose root is empty.
type realApt struct {
	t    *testing.T
	root string
}

// realArchive reads the machine's own repositories, and lets apt read the very
// same files.
func realArchive(t *testing.T) (*Index, *realApt) {
	t.Helper()
	a := &realApt{t, t.TempDir()}
	cfg, err := Configure(bookworm, "", "/")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	c := newClient(t)
	fetch := c.Fetch
	c.Fetch = func(ctx context.Context, urls []string, ref object.Ref) (string, error) {
		path, err := fetch(ctx, urls, ref)
		files = append(files, path)
		return path, err
	}
	var parts []*part
	for _, r := range cfg.Repositories { // one after the other, since apt cares for the order
		p, err := c.openRepository(t.Context(), cfg, r)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	a.feed(files)
	return newIndex(cfg, parts), a
}

// feed gives apt the indexes, as repositories on the disk.
func (a *realApt) feed(files []string) {
	a.t.Helper()
	for _, dir := range []string{"var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/apt.conf.d"} {
		if err := os.MkdirAll(filepath.Join(a.root, dir), 0o755); err != nil {
			a.t.Fatal(err)
		}
	}
	aptsim.WriteFile(a.t, a.root, "var/lib/dpkg/status", nil)
	aptsim.WriteFile(a.t, a.root, "apt.conf", []byte(`Dir "`+a.root+`"; Dir::State::status "`+a.root+`/var/lib/dpkg/status";
		APT::Architecture "amd64"; APT::Architectures { "amd64"; }; APT::Sandbox::User "root"; Acquire::Languages "none";`))
	var sources strings.Builder
	for i, file := range files {
		f, err := os.Open(file)
		if err != nil {
			a.t.Fatal(err)
		}
		plain, err := expand(f, ".xz")
		if err != nil {
			a.t.Fatal(err)
		}
		text, err := io.ReadAll(plain)
		f.Close()
		if err != nil {
			a.t.Fatal(err)
		}
		aptsim.WriteFile(a.t, a.root, fmt.Sprintf("repo%d/Packages", i), text)
		fmt.Fprintf(&sources, "deb [trusted=yes] file:%s/repo%d ./\n", a.root, i)
	}
	aptsim.WriteFile(a.t, a.root, "etc/apt/sources.list", []byte(sources.String()))
	a.run("update")
}

// run runs apt-get and returns what it prints.
func (a *realApt) run(args ...string) string {
	a.t.Helper()
	cmd := exec.Command("apt-get", args...)
	cmd.Env = append(os.Environ(), "APT_CONFIG="+filepath.Join(a.root, "apt.conf"), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if err != nil {
		a.t.Fatalf("apt-get %q (Debian package apt): %v\n%s", args, err, out)
	}
	return string(out)
}

// install returns what apt would install, as "name version", sorted.
func (a *realApt) install(names []string) []string {
	a.t.Helper()
	var list []string
	for line := range strings.Lines(a.run(append([]string{"install", "--simulate", "--no-install-recommends"}, names...)...)) {
		if words := strings.Fields(line); len(words) > 2 && words[0] == "Inst" {
			list = append(list, words[1]+" "+strings.TrimPrefix(words[2], "("))
		}
	}
	slices.Sort(list)
	return list
}
