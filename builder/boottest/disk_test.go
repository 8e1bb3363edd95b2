//go:build boot

package boottest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/kernel"
	"github.com/farboot/farboot/builder/vm"
)

// TestInstalled: Debian is installed on three disks of one machine, each on
// another bus, with another file system and boot loader's files. The manifest
// names one by its serial number, then the next; at last it names none, and the
// first that there is boots. Each prints from its own root, by its own /sbin/init,
// and writes there. What is not booted stays as it is, byte by byte.
func TestInstalled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := fetchPackages(t, "linux-image-amd64", "busybox-static", "base-files", "libc6", "libgcc-s1", "gcc-12-base", "dash")
	k := p.kernel(t, "virtio_blk", "ahci", "nvme", "sd_mod", "ext4", "xfs", "btrfs")
	disks := []installed{
		{name: "nvme", bus: vm.NVMe, kind: "ext4", loader: grubCfg},
		{name: "sata", bus: vm.SATA, kind: "xfs", loader: blsEntry},
		{name: "virtio", bus: vm.VirtIO, kind: "btrfs", loader: grubCfg},
	}
	initrd := p.ramdisk(t, k, guestInit("-q virtio_blk ahci nvme sd_mod ext4 xfs btrfs")+switchRoot)
	config := vm.Config{Reboots: true}
	for i := range disks {
		disks[i].install(t, p, k, initrd)
		config.Disks = append(config.Disks, vm.Disk{File: disks[i].file, Bus: disks[i].bus, Serial: disks[i].serial()})
	}
	w.boots(t, disks[0].serial())
	w.write(t, "recipes/netboot.yaml", bytes.Replace(fmt.Appendf(nil, mediumRecipe, w.url), []byte("[net]"), []byte("[net, storage, filesystems]"), 1))
	config.Image, _ = w.build(t)
	before := disks[2].sum(t)
	m, ctx := start(t, config)
	for i, next := range []string{disks[1].serial(), "", "none"} {
		d := disks[i%2] // sysfs has nvme0n1 before sda and vda
		expect(t, ctx, m, "choose: disk", "local: Debian", d.uuid(), "handing over: disk", d.says())
		w.boots(t, next) // before the machine is back
	}
	expect(t, ctx, m, "choose: disk", "[no-system]", "none on the disk", "waiting")
	m.Stop()
	for _, d := range disks {
		d.check(t)
	}
	if disks[2].sum(t) != before {
		t.Error("the disk that nobody booted has changed")
	}
}

// boots publishes a site that boots the disk with that serial number, or any.
func (w *world) boots(t *testing.T, serial string) {
	t.Helper()
	w.write(t, "recipes/site.yaml", fmt.Appendf(nil, `kind: site
entries:
  disk: {title: What is installed, local: {disk: %q}}
default: [disk]
`, serial))
	w.farboot(t, "lock", "--update", "recipes/site.yaml")
	w.publish(t)
}

// installed is a disk with Debian on it.
type installed struct {
	name   string
	bus    vm.DiskBus
	kind   string // of the file system
	loader func(d installed, root, release string, t *testing.T)
	file   string
}

// serial is the disk's serial number.
func (d installed) serial() string { return "FARBOOT-" + strings.ToUpper(d.name) }

// uuid is the root file system's.
func (d installed) uuid() string {
	sum := sha256.Sum256([]byte(d.name))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}

// cmdline is the kernel's.
func (d installed) cmdline() string {
	return "root=UUID=" + d.uuid() + " ro console=ttyS0,115200 quiet"
}

// says is what the system prints when it has come up.
func (d installed) says() string { return "Debian 12 runs on " + d.name + " from " + d.kind }

// install makes the disk: an EFI system partition, and one with the root file
// system, in which lie a kernel, an initramfs, what its boot loader reads, and
// the packages.
func (d *installed) install(t *testing.T, p packages, k *kernel.Kernel, initrd []byte) {
	t.Helper()
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	d.populate(t, root, p, k, initrd)
	d.loader(*d, root, k.Release, t)
	d.file = filepath.Join(dir, d.name+".img")
	const start, size = 16, 340 // MiB: of the root's partition; xfs wants 300
	system := filepath.Join(dir, "system")
	d.format(t, system, root, size)
	sparse(t, d.file, start+size+1) // the last one has the second partition table
	command(t, "gdisk", "sgdisk", "-n", "1:1M:15M", "-t", "1:ef00", "-n", fmt.Sprintf("2:%dM:+%dM", start, size), d.file)
	command(t, "coreutils", "dd", "if="+system, "of="+d.file, "bs=1M", "seek="+strconv.Itoa(start), "conv=notrunc,sparse", "status=none")
}

// populate fills the root file system's folder.
func (d *installed) populate(t *testing.T, root string, p packages, k *kernel.Kernel, initrd []byte) {
	t.Helper()
	p.unpack(t, root)
	for _, dir := range []string{"usr/share/doc", "usr/share/locale", "usr/share/man", "usr/lib/x86_64-linux-gnu/gconv"} {
		if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
			t.Fatal(err)
		}
	}
	for name, data := range map[string]string{
		"boot/vmlinuz-" + k.Release:    string(k.Image),
		"boot/initrd.img-" + k.Release: string(initrd),
		"etc/hostname":                 d.name + "\n",
		"etc/fstab":                    fmt.Sprintf("UUID=%s / %s defaults 0 1\n", d.uuid(), d.kind),
		"sbin/init":                    debianInit,
	} {
		putFile(t, filepath.Join(root, name), data, 0o755)
	}
	for _, dir := range []string{"proc", "sys", "dev", "var/log"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// switchRoot is the end of an initramfs: it waits for the disk and goes there.
const switchRoot = `
for word in $(cat /proc/cmdline); do
	case $word in root=UUID=*) uuid=${word#root=UUID=} ;; esac
done
for i in $(seq 100); do
	root=$(findfs UUID=$uuid) && break
	sleep 0.2
done
mount -o ro "$root" /root && exec switch_root /root /sbin/init
echo "no root $uuid"
`

// debianInit is /sbin/init: dash from its package, with the C library from its
// own, reads what base-files has.
const debianInit = `#!/bin/sh
mount() { busybox mount "$@"; }
mount -t proc proc /proc
mount -t devtmpfs dev /dev
read -r uuid where kind rest </etc/fstab
mount -o remount,rw / && echo "booted" >>/var/log/boots
while read -r device where kind rest; do
	[ "$where" = / ] && [ "$device" != rootfs ] && break
done </proc/mounts
read -r release </etc/debian_version
read -r name </etc/hostname
echo "Debian ${release%%.*} runs on $name from $kind"
mount -o remount,ro /
busybox sync
busybox reboot -f
`

// grubCfg writes /boot/grub/grub.cfg in the form of Debian's update-grub.
func grubCfg(d installed, root, release string, t *testing.T) {
	t.Helper()
	text, err := os.ReadFile("../../payload/agent/local/testdata/debian.cfg")
	if err != nil {
		t.Fatal(err)
	}
	cfg := strings.NewReplacer("0a1b2c3d-1111-2222-3333-444455556666", d.uuid(), "6.1.0-18-amd64", release,
		"ro  quiet", "ro console=ttyS0,115200 quiet").Replace(string(text))
	putFile(t, filepath.Join(root, "boot/grub/grub.cfg"), cfg, 0o644)
}

// blsEntry writes an entry of the Boot Loader Specification.
func blsEntry(d installed, root, release string, t *testing.T) {
	t.Helper()
	putFile(t, filepath.Join(root, "boot/loader/entries/0123456789abcdef-"+release+".conf"), fmt.Sprintf(`title Debian GNU/Linux 12 (bookworm)
version %[1]s
linux /boot/vmlinuz-%[1]s
initrd /boot/initrd.img-%[1]s
options %[2]s
`, release, d.cmdline()), 0o644)
}

// format makes a file system of so many MiB in a file, with the folder in it.
func (d *installed) format(t *testing.T, file, root string, size int64) {
	t.Helper()
	sparse(t, file, size)
	switch d.kind {
	case "ext4":
		command(t, "e2fsprogs", "mkfs.ext4", "-q", "-F", "-U", d.uuid(), "-d", root, file)
	case "xfs":
		proto := file + ".proto"
		putFile(t, proto, xfsProto(t, root), 0o644)
		command(t, "xfsprogs", "mkfs.xfs", "-q", "-f", "-m", "uuid="+d.uuid(), "-p", proto, file)
	case "btrfs":
		command(t, "btrfs-progs", "mkfs.btrfs", "-q", "-f", "-U", d.uuid(), "--rootdir", root, file)
	}
}

// xfsProto describes a folder as mkfs.xfs(8) wants it for -p.
func xfsProto(t *testing.T, root string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("/\n0 0\n")
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			info, err := e.Info()
			if err != nil {
				t.Fatal(err)
			}
			switch mode := info.Mode(); mode.Type() {
			case fs.ModeDir:
				fmt.Fprintf(&b, "%s d--%03o 0 0\n", e.Name(), mode.Perm())
				walk(path)
			case fs.ModeSymlink:
				target, err := os.Readlink(path)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "%s l--777 0 0 %s\n", e.Name(), target)
			default:
				fmt.Fprintf(&b, "%s ---%03o 0 0 %s\n", e.Name(), mode.Perm(), path)
			}
		}
		b.WriteString("$\n")
	}
	b.WriteString("d--755 0 0\n")
	walk(root)
	return b.String()
}

// check asks the file system's own tool whether it is sound.
func (d installed) check(t *testing.T) {
	t.Helper()
	file := d.file + ".checked"
	command(t, "coreutils", "dd", "if="+d.file, "of="+file, "bs=1M", "skip=16", "count=340", "conv=sparse", "status=none")
	switch d.kind {
	case "ext4":
		command(t, "e2fsprogs", "e2fsck", "-f", "-n", file)
	case "xfs":
		command(t, "xfsprogs", "xfs_repair", "-n", file)
	case "btrfs":
		command(t, "btrfs-progs", "btrfs", "check", "--readonly", file)
	}
}

// sum is the hash of the whole disk.
func (d installed) sum(t *testing.T) [32]byte {
	t.Helper()
	f, err := os.Open(d.file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

// sparse makes a file of so many MiB of zeros.
func sparse(t *testing.T, name string, size int64) {
	t.Helper()
	f, err := os.Create(name)
	if err == nil {
		err = f.Truncate(size << 20)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// putFile writes a file with the folders above it.
func putFile(t *testing.T, path, data string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(data), mode); err != nil {
		t.Fatal(err)
	}
}
