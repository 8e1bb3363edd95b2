//go:build boot

package boottest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/vm"
	"github.com/farboot/farboot/payload/manifest"
)

// rescueMedium is a medium with a toolbox that reports to its site; %s is that.
const rescueMedium = `kind: medium
name: netboot
kernel: {deb: linux-image-amd64, modules: [net, storage, filesystems]}
trust: keys
site: ["%s"]
console: [tty0, "ttyS0,115200"]
timeout: 0
report: [site]
toolbox:
  packages: [e2fsprogs, fdisk, util-linux, mount, openssh-sftp-server]
`

// repairSite repairs a disk that has neither a partition table nor a superblock.
const repairSite = `kind: site
entries:
  repair:
    title: Repair the disk
    script:
      program: {text: %q}
      args: [/dev/vda, "two words"]
      env: {LAYOUT: "16M"}
      then: local
default: [repair]
`

// repair is the script. It says what it does, so that the test can follow.
const repair = `#!/bin/sh
set -eu
echo "repairing $1 for $FARBOOT_ENTRY, $2, in $(pwd)"
printf 'label: gpt\nstart=1M, size=14M, type=U\nstart=16M, size=340M, type=L\n' | sfdisk --quiet --wipe=never "$1"
! e2fsck -n "${1}2" || { echo "not broken"; exit 9; }
e2fsck -fy -b 8193 -B 1024 "${1}2" || [ $? -le 2 ]
mount -t ext4 "${1}2" /mnt
echo "repaired by $(farboot info entry)" >/mnt/repaired
umount /mnt
farboot report "disk $1 repaired"
echo "script done"
`

// TestRepair: a disk whose partition table and superblock are gone is repaired by a
// signed script with the toolbox's own e2fsck, mounted and written to; the owner is
// told, and the system on it boots. Before that the script lies altered on the
// site, and does not run.
func TestRepair(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := fetchPackages(t, "linux-image-amd64", "busybox-static", "base-files", "libc6", "libgcc-s1", "gcc-12-base", "dash")
	k := p.kernel(t, "virtio_blk", "ext4")
	d := installed{name: "virtio", bus: vm.VirtIO, kind: "ext4", loader: grubCfg}
	d.install(t, p, k, p.ramdisk(t, k, guestInit("-q virtio_blk ext4")+switchRoot))
	d.wreck(t)
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, rescueMedium, w.url))
	w.publishes(t, fmt.Sprintf(repairSite, repair))
	image, _ := w.build(t)
	reports := w.reports()
	altered := w.alterScript(t, "repair")

	m, ctx := start(t, vm.Config{Image: image, Disks: []vm.Disk{{File: d.file, Bus: d.bus}}})
	expect(t, ctx, m, "choose: repair", "[corrupt]", "waiting")
	if strings.Contains(m.Serial(), "| repairing") {
		t.Fatal("an altered script ran")
	}
	altered(t)
	expect(t, ctx, m, "| repairing /dev/vda for repair, two words, in /tmp/farboot/work", "FILE SYSTEM WAS MODIFIED",
		"report: | disk /dev/vda repaired", "| script done", "handing over", d.says())
	if err := m.Wait(); err != nil {
		t.Errorf("the machine did not end well: %v", err)
	}
	if !reports.have("disk /dev/vda repaired", "script done", "exit status 0") {
		t.Errorf("the owner was not told:\n%s", reports.text())
	}
	d.check(t)
	got := command(t, "e2fsprogs", "debugfs", "-R", "cat /repaired", d.file+".checked")
	if !strings.Contains(got, "repaired by repair") {
		t.Errorf("on the disk there is %q", got)
	}
}

// wreck takes the partition table, both copies, and the file system's superblock.
func (d installed) wreck(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(d.file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []struct{ off, size int64 }{{0, 1 << 20}, {info.Size() - 1<<20, 1 << 20}, {16<<20 + 1024, 1024}} {
		if _, err := f.WriteAt(make([]byte, at.size), at.off); err != nil {
			t.Fatal(err)
		}
	}
}

// publishes publishes a site recipe.
func (w *world) publishes(t *testing.T, recipe string) {
	t.Helper()
	w.write(t, "recipes/site.yaml", []byte(recipe))
	w.farboot(t, "lock", "--update", "recipes/site.yaml")
	w.publish(t)
}

// alterScript changes a script on the site, and returns what puts it right.
func (w *world) alterScript(t *testing.T, entry string) (restore func(*testing.T)) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(w.site, manifest.File))
	if err != nil {
		t.Fatal(err)
	}
	var m manifest.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(w.site, m.Entries[entry].Script.Program.Path())
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	put := func(t *testing.T, data []byte) {
		t.Helper()
		if err := os.WriteFile(name+".new", data, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	put(t, bytes.Replace(good, []byte("set -eu"), []byte("set -ux"), 1))
	return func(t *testing.T) { put(t, good) }
}

// inbox has what machines report.
type inbox struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// reports takes reports beside serving the site.
func (w *world) reports() *inbox {
	in, files := &inbox{}, site.Handler(w.site, nil)
	w.answer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			files.ServeHTTP(rw, r)
			return
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		if _, err := io.Copy(&in.all, http.MaxBytesReader(rw, r.Body, 1<<20)); err == nil {
			rw.WriteHeader(http.StatusNoContent)
		}
	}))
	return in
}

func (in *inbox) text() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.all.String()
}

// have tells whether all words were reported.
func (in *inbox) have(words ...string) bool {
	text := in.text()
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// rescueSite lets one in; %q is her key.
const rescueSite = `kind: site
entries:
  rescue:
    title: Rescue by SSH
    rescue: {keys: [%q], password: "$6$rounds=1000$saltsalt$/IiX/CoEcxCZ9SksEXnbjfCT1LGvD4z5OpJkaFYl/T37OAwuKZ8I8BixDhruhPLkw6lS7dw/6wQWgQnGo7lLg/"}
  marker:
    title: A small system that says hello
    linux:
      kernel: {deb: debian-installer-12-netboot-amd64, file: ` + installerDir + `/linux}
      initrd: [{file: marker.img}, {file: second.img}]
      cmdline: ` + markerCmdline + `
default: [rescue]
`

// TestRescue: OpenSSH's client gets in with the right key, by the host key that the
// screen shows, and with nothing else; files go both ways; nothing is forwarded; and
// "farboot boot marker" is answered before the machine goes there. The next boot has
// another host key. At the console a wrong password is refused and told, and the right
// one, which is shown nowhere, leads to a shell.
func TestRescue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	anna, boris := newKey(t, "anna"), newKey(t, "boris")
	line, err := os.ReadFile(anna + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, rescueMedium, w.url))
	w.publishes(t, fmt.Sprintf(rescueSite, strings.TrimSpace(string(line))))
	image, _ := w.build(t)
	reports := w.reports()
	seen := map[string]bool{}
	for range 2 {
		port := freePort(t)
		m, ctx := start(t, vm.Config{Image: image, NICs: []vm.NIC{{Model: "virtio-net-pci", Net: "user,hostfwd=tcp:127.0.0.1:" + port + "-:22"}}})
		c := client{ctx: ctx, port: port, hosts: filepath.Join(t.TempDir(), "known_hosts")}
		shown := c.meet(t, m)
		if seen[shown] || !reports.have(shown) {
			t.Errorf("host key %s: known from before: %v; reported: %v", shown, seen[shown], reports.have(shown))
		}
		if len(seen) == 0 {
			c.tries(t, anna, boris)
			atConsole(t, ctx, m)
			if !reports.have("ttyS0: wrong password, 1 in a row", "on ttyS0: logged in by the password") {
				t.Error("the logins at the console were not reported")
			}
		}
		seen[shown] = true
		if out, status := c.run(t, anna, "ssh", "HOST", "farboot boot marker"); status != 0 || !strings.Contains(out, "booting marker") {
			t.Errorf("farboot boot marker: %d, %s", status, out)
		}
		expect(t, ctx, m, "handing over", markerRuns, "next kernel done")
		m.Stop()
	}
}

// atConsole logs in on the serial line.
func atConsole(t *testing.T, ctx context.Context, m *vm.VM) {
	t.Helper()
	types := func(text string, phrases ...string) {
		t.Helper()
		if err := m.Type(text); err != nil {
			t.Fatal(err)
		}
		expect(t, ctx, m, phrases...)
	}
	types("\r", "Password: ")
	types("please\r", "wrong password, 1 in a row", "Login as root: press Enter.")
	types("\r", "Password: ")
	types("open sesame\r", "1 wrong passwords were typed here before", "farboot rescue: Rescue by SSH")
	types("echo $(farboot info entry) $((20+22)) $(tty); farboot report seen\r", "rescue 42 /dev/pts/", "report: | seen")
	types("exit\r", "exit status 0")
	if strings.Contains(m.Serial(), "sesame") {
		t.Error("the password is on the screen")
	}
}

// tries does what a person may do, and may not.
func (c client) tries(t *testing.T, right, wrong string) {
	t.Helper()
	file := save(t, "file", bytes.Repeat([]byte("farboot"), 100_000))
	for _, test := range []struct {
		key    string
		status int
		out    string
		args   []string
	}{
		{right, 0, "rescue\nroot", []string{"ssh", "HOST", "farboot info entry; id -un"}},
		{right, 42, "", []string{"ssh", "HOST", "exit 42"}},
		{right, 0, "/dev/pts/", []string{"ssh", "-tt", "HOST", "tty"}},
		{right, 0, "e2fsck 1.", []string{"ssh", "HOST", "e2fsck -V 2>&1"}},
		{right, 0, "", []string{"scp", file, "HOST:/tmp/file"}},
		{right, 0, "", []string{"scp", "HOST:/tmp/file", file + ".back"}},
		{right, 1, "no entry", []string{"ssh", "HOST", "farboot boot nothing"}},
		{wrong, 255, "Permission denied (publickey)", []string{"ssh", "HOST", "true"}},
		{right, 255, "Permission denied (publickey)", []string{"ssh", "-o", "PubkeyAuthentication=no", "HOST", "true"}},
		{right, 255, "remote port forwarding failed", []string{"ssh", "-o", "ExitOnForwardFailure=yes", "-R", "0:127.0.0.1:1", "HOST", "true"}},
		{right, 255, "forwards nothing", []string{"ssh", "-W", "127.0.0.1:22", "HOST"}},
		{right, 0, "agent:\n", []string{"ssh", "-A", "HOST", "echo agent:$SSH_AUTH_SOCK"}},
	} {
		out, status := c.run(t, test.key, test.args...)
		if status != test.status || !strings.Contains(out, test.out) {
			t.Errorf("%q: %d, %q; want %d, %q", test.args, status, out, test.status, test.out)
		}
	}
	a, _ := os.ReadFile(file)
	if b, err := os.ReadFile(file + ".back"); err != nil || !bytes.Equal(a, b) {
		t.Errorf("a file went there and came back with %d of %d bytes, %v", len(b), len(a), err)
	}
}

// client is OpenSSH's, and where its machine is.
type client struct {
	ctx         context.Context
	port, hosts string
}

// shownKey is how the screen shows the host key.
var shownKey = regexp.MustCompile(`host key (SHA256:[A-Za-z0-9+/]{43})`)

// meet waits for the machine, takes its host key from the network, and compares it
// with what the screen shows, as a person should. It returns the fingerprint.
func (c client) meet(t *testing.T, m *vm.VM) string {
	t.Helper()
	expect(t, c.ctx, m, "ssh -p 22 root@", "host key SHA256:", "\n")
	shown := shownKey.FindStringSubmatch(m.Serial())
	if shown == nil {
		t.Fatal("the screen shows no whole host key")
	}
	keys, err := exec.CommandContext(c.ctx, "ssh-keyscan", "-T", "60", "-t", "ed25519", "-p", c.port, "127.0.0.1").Output()
	if err != nil {
		t.Fatalf("ssh-keyscan (Debian package openssh-client): %v", err)
	}
	if err := os.WriteFile(c.hosts, keys, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := command(t, "openssh-client", "ssh-keygen", "-l", "-f", c.hosts); !strings.Contains(got, shown[1]) {
		t.Fatalf("the screen shows %s, the network has %s", shown[1], got)
	}
	return shown[1]
}

// run runs ssh or scp and returns all that it printed, and its exit status.
func (c client) run(t *testing.T, key string, args ...string) (string, int) {
	t.Helper()
	options := []string{"-F", "none", "-i", key}
	for _, o := range []string{"IdentitiesOnly=yes", "IdentityAgent=none", "UserKnownHostsFile=" + c.hosts, "StrictHostKeyChecking=yes", "Port=" + c.port, "User=root", "BatchMode=yes", "ConnectTimeout=60"} {
		options = append(options, "-o", o)
	}
	for _, a := range args[1:] {
		options = append(options, strings.Replace(a, "HOST", "127.0.0.1", 1))
	}
	cmd := exec.CommandContext(c.ctx, args[0], options...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		t.Fatalf("%s (Debian package openssh-client): %v", args[0], err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// newKey makes a key to log in with, and returns its file.
func newKey(t *testing.T, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	command(t, "openssh-client", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file)
	return file
}

// freePort returns a port of this computer that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}
