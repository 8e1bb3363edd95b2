//go:build boot

package mediumtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRescue builds the shipped rescue medium: twice the same bytes, and every
// tool of its list starts. Its kernel modules are compressed the fast way: that
// xz gives the same bytes as well is TestMedium's matter, and takes most of a
// build.
func TestRescue(t *testing.T) {
	p := newProject(t, "rescue")
	recipe, err := os.ReadFile(filepath.Join(root, "recipes", "rescue.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	recipe = append(recipe, "\ncompression: zstd\n"...)
	p.write(t, "recipes/rescue.yaml", recipe)
	p.write(t, "recipes/admin.pub", publicKey(t))
	p.farboot(t, "keys", "init", "--secrets", filepath.Join(base, "rescue-secret"))
	p.farboot(t, "lock", "recipes/rescue.yaml")
	out, took := p.run(t, p.command(t, "build", "recipes/rescue.yaml", "--json"))
	first := decode(t, out)
	t.Logf("ISO of %d bytes, %.1f s with whatever the cache had", first.Size, took.Seconds())
	_, took = p.run(t, p.command(t, "build", "recipes/rescue.yaml"))
	t.Logf("warm: %.2f s", took.Seconds())
	image := p.toolbox(t)
	tree := unsquash(t, image)

	t.Run("libraries", func(t *testing.T) { testLibraries(t, tree) })
	t.Run("tools", func(t *testing.T) { testTools(t, tree) })
	t.Run("size", func(t *testing.T) { compareSize(t, image, tree) })
	t.Run("same bytes", func(t *testing.T) {
		cmd := p.command(t, "build", "recipes/rescue.yaml", "--json")
		cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+p.downloads(t), "GOMAXPROCS=1", "TZ=Asia/Tokyo", "LC_ALL=tr_TR.UTF-8")
		out, took := p.run(t, cmd)
		t.Logf("cold cache but for the downloads, one processor: %.1f s", took.Seconds())
		if diff := cmp.Diff(first, decode(t, out)); diff != "" {
			t.Errorf("-first +second:\n%s", diff)
		}
	})
	t.Run("on the medium", func(t *testing.T) { testOnMedium(t, p, recipe, first) })
}

// publicKey returns the public half of a new key.
func publicKey(t *testing.T) []byte {
	t.Helper()
	name := filepath.Join(t.TempDir(), "id")
	run(t, exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", name), "openssh-client")
	data, err := os.ReadFile(name + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// run runs a tool of a Debian package, which must succeed.
func run(t *testing.T, cmd *exec.Cmd, pkg string) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%q (Debian package %s): %v\n%s", cmd.Args, pkg, err, out)
	}
	return string(out)
}

// toolbox returns where the cache keeps the medium's toolbox.
func (p *project) toolbox(t *testing.T) string {
	t.Helper()
	var settings struct {
		Toolbox struct{ SHA256 string }
	}
	if err := json.Unmarshal(p.read(t, "out/rescue/farboot/settings.json"), &settings); err != nil {
		t.Fatal(err)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "farboot", "blobs", settings.Toolbox.SHA256)
}

// downloads returns a cache folder that has what the lock names, and nothing else.
func (p *project) downloads(t *testing.T) string {
	t.Helper()
	var lock struct{ Inputs []struct{ SHA256 string } }
	if err := json.Unmarshal(p.read(t, "recipes/rescue.lock"), &lock); err != nil {
		t.Fatal(err)
	}
	from, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(base, "rescue cache")
	if err := os.MkdirAll(filepath.Join(dir, "farboot/blobs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, in := range lock.Inputs {
		data, err := os.ReadFile(filepath.Join(from, "farboot/blobs", in.SHA256))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "farboot/blobs", in.SHA256), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// unsquash extracts a squashfs.
func unsquash(t *testing.T, image string) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	run(t, exec.Command("unsquashfs", "-no-progress", "-d", tree, image), "squashfs-tools")
	return tree
}

// inside returns a command for a line of shell that is run in the tree, with the
// devices of this machine and processes of its own.
func inside(tree, line string) *exec.Cmd {
	cmd := exec.Command("unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "sh", "-c",
		`mount --rbind /dev "$0/dev" && mount -t proc proc "$0/proc" && exec chroot "$0" /bin/sh -c "$1"`, tree, line)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin", "TERM=dumb"}
	return cmd
}

// testLibraries asks the loader itself, which knows better than the check of
// package toolbox.
func testLibraries(t *testing.T, tree string) {
	const line = `n=0
for f in $(find / -xdev -type f -size +1k \( -perm /111 -o -name '*.so*' \)); do
	/lib64/ld-linux-x86-64.so.2 --verify $f || [ $? = 2 ] || continue
	n=$((n+1))
	/lib64/ld-linux-x86-64.so.2 --list $f 2>&1 | grep -q 'not found' && echo "$f lacks a library"
done
echo "$n checked"`
	out := run(t, inside(tree, line), "util-linux")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 1 {
		t.Error(out)
	}
	var n int
	if _, err := fmt.Sscanf(out, "%d checked", &n); err != nil || n < 500 {
		t.Errorf("%q: want more than 500", out)
	}
}

// testTools starts a program of each package of the recipe's list.
func testTools(t *testing.T, tree string) {
	for _, line := range []string{
		"e2fsck -V", "xfs_repair -V", "btrfs --version", "mkfs.fat --help", "ntfsfix --version", "mkfs.exfat -V | grep version",
		"fdisk --version", "sgdisk --version", "parted --version", "mdadm --version", "lvm version", "cryptsetup --version",
		"dmsetup help", "lsblk --version", "mount --version", "eject --version", "smartctl --version", "nvme version", "hdparm -V",
		"sdparm --version", "lsscsi --version", "lspci --version", "lsusb --version", "dmidecode --version", "ethtool --version",
		"modprobe --version", "ddrescue --version", "testdisk /version", "rsync --version", "ssh -V", "curl --version", "ip -V", "ping -V",
		"tcpdump --version", "tar --version", "xz --version", "zstd --version", "gzip --version", "bzip2 --help", "cpio --version",
		"bash --version", "ls --version", "find --version", "grep --version", "sed --version", "awk --version", "less --version",
		"ps --version", "killall --version", "strace -V", "nano --version", "editor --version", "vi --version", "file --version",
		"jq --version", "busybox true", "curl --cacert /etc/ssl/certs/ca-certificates.crt --version",
	} {
		out, err := inside(tree, line).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		if bytes.Contains(out, []byte("BusyBox")) {
			t.Errorf("%s is busybox's", line)
		}
	}
}

// compareSize compares with what mksquashfs makes of the same files.
func compareSize(t *testing.T, image, tree string) {
	theirs := filepath.Join(t.TempDir(), "theirs")
	run(t, exec.Command("mksquashfs", tree, theirs, "-comp", "zstd", "-b", "1M", "-all-root", "-no-xattrs", "-quiet", "-no-progress"), "squashfs-tools")
	sizes := map[string]int64{}
	for name, path := range map[string]string{"ours": image, "theirs": theirs} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		sizes[name] = info.Size()
	}
	t.Logf("%d bytes; mksquashfs -comp zstd -b 1M comes to %d", sizes["ours"], sizes["theirs"])
	if sizes["ours"] > sizes["theirs"]*11/10 {
		t.Error("more than a tenth larger")
	}
}

// testOnMedium: the same toolbox as a file on the image, and not in the initrd.
func testOnMedium(t *testing.T, p *project, recipe []byte, first built) {
	text := bytes.Replace(recipe, []byte("place: memory"), []byte("place: medium"), 1)
	if bytes.Equal(text, recipe) {
		t.Fatal("the recipe has no place")
	}
	p.write(t, "recipes/rescue.yaml", text)
	image := p.toolbox(t)
	second := decode(t, p.farboot(t, "build", "recipes/rescue.yaml", "--json"))
	if again := p.toolbox(t); again != image {
		t.Errorf("another toolbox: %s, it was %s", again, image)
	}
	if away := second.Size - first.Size; away < -1<<20 || away > 1<<20 {
		t.Errorf("the image has %d bytes, it had %d", second.Size, first.Size)
	}
	copied := filepath.Join(t.TempDir(), "copied")
	run(t, exec.Command("xorriso", "-osirrox", "on", "-indev", filepath.Join(p.dir, "out/rescue.iso"),
		"-extract", "/farboot/objects/"+filepath.Base(image), copied), "xorriso")
	data, err := os.ReadFile(copied)
	if sum := fmt.Sprintf("%x", sha256.Sum256(data)); err != nil || sum != filepath.Base(image) {
		t.Errorf("what lies on the image has sha256 %s (%v)", sum, err)
	}
	initrd, err1 := os.Stat(filepath.Join(p.dir, "out/rescue/boot/initrd.img"))
	box, err2 := os.Stat(image)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if initrd.Size() > box.Size() {
		t.Errorf("an initrd of %d bytes, beside a toolbox of %d", initrd.Size(), box.Size())
	}
}
