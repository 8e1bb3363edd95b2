//go:build boot

package boottest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/kernel"
	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source"
	"github.com/farboot/farboot/builder/source/cache"
	"github.com/farboot/farboot/builder/vm"
	"github.com/farboot/farboot/payload/fetch"
)

// TestVM: apt-get installs a package into a Debian that was put on a disk from its
// packages, from a server at the desk; what is installed runs, the exit status arrives,
// and the disk starts afterwards, with a sound file system. An image whose command fails
// stays as it was.
func TestVM(t *testing.T) {
	t.Parallel()
	d := newDebian(t)
	disk := d.disk(t, "ext4")
	out, status := d.farboot(t, "vm", "run", "--commit", disk.file, "--", "sh", "-ec", `
		grep -q '^/dev/vda2 / ext4' /proc/mounts
		apt-get -q update
		apt-get -q -y install hello
		hello`)
	if status != 0 || !strings.Contains(out, "Hello, world!") {
		t.Fatalf("exit status %d\n%s", status, out)
	}
	before := disk.sum(t)
	if out, status := d.farboot(t, "vm", "run", "--commit", disk.file, "--", "sh", "-c", "dpkg -s hello; rm /usr/bin/hello; exit 7"); status != 7 || !strings.Contains(out, "install ok installed") {
		t.Errorf("exit status %d, want 7\n%s", status, out)
	}
	if disk.sum(t) != before {
		t.Error("a command that fails has changed the image")
	}
	if left, err := filepath.Glob(disk.file + "?*"); err != nil || len(left) > 0 {
		t.Errorf("%q is left", left)
	}
	disk.check(t)
	m, ctx := start(t, vm.Config{Kernel: d.kernel, Initrd: d.initrd, Cmdline: disk.cmdline(), Disks: []vm.Disk{{File: disk.file}}})
	expect(t, ctx, m, disk.says(), "hello is there")
}

// debian is what disks with Debian are made of, and a server with a package more.
type debian struct {
	packages
	dir            string
	k              *kernel.Kernel
	kernel, initrd string
	repository     string // as guests reach it
}

// What is on the disks: with apt comes what it needs, and dpkg runs what the others have.
const debianRecipe = `kind: medium
name: debian
kernel: {deb: linux-image-amd64}
trust: keys
site: ["http://10.0.2.2/"]
toolbox:
  packages: [apt, dpkg, base-files, coreutils, diffutils, findutils, grep, gzip, libc-bin, mount, sed, tar, hello]
`

// newDebian fetches packages and serves one of them to apt.
func newDebian(t *testing.T) *debian {
	t.Helper()
	d := &debian{dir: t.TempDir()}
	r, err := recipe.Parse(filepath.Join(d.dir, "debian.yaml"), []byte(debianRecipe))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := cache.DefaultDir()
	if err != nil {
		t.Fatal(err)
	}
	store, err := cache.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	options := source.Options{Cache: store, Client: fetch.New(fetch.DefaultLimits(), fetch.Proxy())}
	l, err := source.Resolve(t.Context(), r, nil, options)
	if err != nil {
		t.Fatal(err)
	}
	if d.blobs, err = source.Fetch(t.Context(), r, l, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.blobs.Close() })
	all, err := d.blobs.Toolbox(r.Medium.Toolbox.Toolbox)
	if err != nil {
		t.Fatal(err)
	}
	d.names = []string{"linux-image-amd64"}
	for _, in := range all {
		if name := strings.TrimPrefix(in.Name, "deb:"); name != "hello" {
			d.names = append(d.names, name)
		}
	}
	d.serve(t, l)
	d.k = d.packages.kernel(t, "virtio_blk", "ext4", "xfs", "btrfs")
	d.kernel = save(t, "vmlinuz", d.k.Image)
	d.initrd = save(t, "initrd.img", d.ramdisk(t, d.k, guestInit("virtio_blk ext4 xfs btrfs")+switchRoot))
	return d
}

// serve makes a repository of one package, as it comes from the mirror.
func (d *debian) serve(t *testing.T, l *lock.Lock) {
	t.Helper()
	path, ref, err := d.blobs.Path(recipe.Input{Deb: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	index := command(t, "dpkg", "dpkg-deb", "--field", path) +
		fmt.Sprintf("Filename: ./hello.deb\nSize: %d\nSHA256: %s\n", ref.Size, ref.SHA256)
	release := fmt.Sprintf("SHA256:\n %x %d Packages\n", sha256.Sum256([]byte(index)), len(index))
	mux := http.NewServeMux()
	mux.HandleFunc("/hello.deb", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, path) })
	for name, text := range map[string]string{"/Packages": index, "/Release": release} {
		mux.HandleFunc(name, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) })
	}
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	d.repository = "http://10.0.2.2:" + u.Port()
}

// disk puts Debian on a disk: what dpkg would unpack, and what it would know of it.
func (d *debian) disk(t *testing.T, kind string) *installed {
	t.Helper()
	disk := &installed{name: "vm-" + kind, bus: vm.VirtIO, kind: kind}
	disk.loader = func(_ installed, root, _ string, t *testing.T) {
		for name, text := range map[string]string{
			"etc/apt/sources.list":       "deb [trusted=yes] " + d.repository + " ./\n",
			"etc/passwd":                 "root:x:0:0:root:/root:/bin/sh\n",
			"etc/group":                  "root:x:0:\n",
			"var/lib/dpkg/status":        d.status(t),
			"var/lib/dpkg/available":     "",
			"var/lib/dpkg/info/format":   "1\n",
			"var/lib/dpkg/updates/.keep": "",
		} {
			putFile(t, filepath.Join(root, name), text, 0o644)
		}
		if err := os.Remove(filepath.Join(root, "var/lib/dpkg/updates/.keep")); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{"tmp", "root", "run", "var/cache/apt/archives/partial", "var/lib/apt/lists/partial", "var/lib/dpkg/triggers"} {
			if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		init := strings.Replace(debianInit, "mount -o remount,ro", "/usr/bin/hello >/dev/null && echo \"hello is there\"\nmount -o remount,ro", 1)
		putFile(t, filepath.Join(root, "sbin/init"), init, 0o755)
	}
	disk.install(t, d.packages, d.k, []byte("no initrd: the test has it\n"))
	return disk
}

// status is dpkg's list of what is installed.
func (d *debian) status(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, name := range d.names[1:] {
		path, _, err := d.blobs.Path(recipe.Input{Deb: name})
		if err != nil {
			t.Fatal(err)
		}
		first, rest, _ := strings.Cut(command(t, "dpkg", "dpkg-deb", "--field", path), "\n")
		fmt.Fprintf(&b, "%s\nStatus: install ok installed\n%s\n", first, rest)
	}
	return b.String()
}

// farboot runs the command and returns what it prints, and its exit status.
func (d *debian) farboot(t *testing.T, args ...string) (string, int) {
	t.Helper()
	cmd := exec.Command(filepath.Join(bin, "farboot"), args...)
	cmd.Dir = d.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), cmd.ProcessState.ExitCode()
}
