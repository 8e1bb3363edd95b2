//go:build boot && long

package boottest

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/builder/vm"
)

// TestXenInstaller: the Debian installer as dom0, with the machine's network.
func TestXenInstaller(t *testing.T) {
	w := newWorld(t)
	w.publishes(t, `kind: site
entries:
  xen:
    title: Xen with the Debian installer
    xen:
      hypervisor: {deb: xen-hypervisor-4.17-amd64, file: boot/xen-4.17-amd64.gz}
      options: console=com1 com1=115200,8n1 dom0_mem=1G noreboot
      kernel: {deb: debian-installer-12-netboot-amd64, file: `+installerDir+`/linux}
      initrd: [{deb: debian-installer-12-netboot-amd64, file: `+installerDir+`/initrd.gz}]
      cmdline: console=hvc0 priority=low TERM=linux
default: [xen]
`)
	image, _ := w.build(t)
	for _, firmware := range []vm.Firmware{vm.BIOS, vm.UEFI} {
		t.Run(string(firmware), func(t *testing.T) {
			m, ctx := start(t, vm.Config{Image: image, Firmware: firmware, Memory: 2048})
			expect(t, ctx, m, "handing over: xen", "Xen version 4.17", "Choose language")
		})
	}
}

// TestForeignOnUEFI: TestForeign there.
func TestForeignOnUEFI(t *testing.T) {
	w := newWorld(t)
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, mediumRecipe+"compression: zstd\n", w.url))
	w.publishes(t, foreignSite)
	image, _ := w.build(t)
	w.foreign(t, image, vm.UEFI)
}

// TestXenParts: what becomes of Xen without a part of what it is given, where only a
// boot shows it; and that it starts where its own place is reserved.
func TestXenParts(t *testing.T) {
	p := fetchPackages(t, "xen-hypervisor-4.17-amd64", "debian-installer-12-netboot-amd64")
	kernel, initrd := p.spoiler(t)
	const dom0 = "hypervisor xen 4 17"
	const moved = "Xen image load base address: 0x200000" // 2 MiB below it, and 0 where it was not moved
	for _, row := range []struct {
		firmware vm.Firmware
		without  string
		shown    []string // in this order
		never    string   // once the machine has ended
	}{
		{vm.BIOS, "", []string{"Xen at 0x200000", dom0, "next kernel done"}, ""},
		{vm.BIOS, "place", []string{"Xen at 0x400000", moved, dom0, "next kernel done"}, ""},
		{vm.BIOS, "first word", []string{"Xen at 0x200000"}, "Xen version"}, // it was console=com1
		{vm.UEFI, "", []string{"Xen at 0x200000", dom0, "next kernel done"}, ""},
		{vm.UEFI, "place", []string{"Xen at 0x400000", moved, dom0, "next kernel done"}, ""},
		{vm.UEFI, "BIOS data area", []string{"Xen at 0x200000"}, "Xen version"},
		{vm.UEFI, "root pointer", []string{"Xen version", "A valid RSDP was not found"}, dom0},
	} {
		t.Run(string(row.firmware)+" without "+row.without, func(t *testing.T) {
			m, ctx := start(t, vm.Config{Kernel: kernel, Initrd: initrd, Cmdline: `console=ttyS0,115200 quiet panic=-1 farboot.spoil="` + row.without + `"`, Firmware: row.firmware, Memory: 1024})
			expect(t, ctx, m, row.shown...)
			if row.without == "root pointer" {
				m.Stop() // Xen has stopped for good
			}
			if err := m.Wait(); err != nil && row.without != "root pointer" {
				t.Errorf("the machine did not end well: %v", err)
			}
			if row.never != "" && strings.Contains(m.Serial(), row.never) {
				t.Errorf("%q is shown", row.never)
			}
		})
	}
}

// spoiler returns the kernel and the initrd of a system that runs the program of that
// name.
func (p packages) spoiler(t *testing.T) (kernel, initrd string) {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("CGO_ENABLED", "0")
	command(t, "golang", "go", "build", "-o", filepath.Join(dir, "init"), "./spoiler")
	kernel, _, err := p.blobs.File("debian-installer-12-netboot-amd64", installerDir+"/linux")
	if err != nil {
		t.Fatal(err)
	}
	hypervisor, _, err := p.blobs.File("xen-hypervisor-4.17-amd64", "boot/xen-4.17-amd64.gz")
	if err != nil {
		t.Fatal(err)
	}
	var files []tree.File
	for name, source := range map[string]string{
		"init": filepath.Join(dir, "init"), "xen.gz": hypervisor, "vmlinuz": kernel,
		"initrd": save(t, "initrd", pack(t, initramfs.Zstd, "init", filepath.Join(bin, "marker"))),
	} {
		f, err := tree.OnDisk(name, source)
		if err != nil {
			t.Fatal(err)
		}
		f.Mode = 0o755
		files = append(files, f)
	}
	var out bytes.Buffer
	layer := initramfs.Layer{Files: append(initramfs.FromTree(files...), initramfs.Dir("proc", 0o755), initramfs.Dir("sys", 0o755))}
	if err := initramfs.Pack(&out, layer, initramfs.Zstd); err != nil {
		t.Fatal(err)
	}
	return kernel, save(t, "initrd.img", out.Bytes())
}
