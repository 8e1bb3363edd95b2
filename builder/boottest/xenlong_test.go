//go:build boot && long

package boottest

import (
	"testing"

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
	w.publishes(t, foreignSite)
	image, _ := w.build(t)
	w.foreign(t, image, vm.UEFI)
}
