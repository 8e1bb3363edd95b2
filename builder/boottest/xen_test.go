//go:build boot

package boottest

import (
	"fmt"
	"testing"

	"github.com/farboot/farboot/builder/vm"
)

// Options of Xen and the command line of dom0. Both have to arrive whole, the first
// word included.
const (
	xenOptions  = "console=com1 com1=115200,8n1 dom0_mem=512M noreboot"
	dom0Cmdline = `console=hvc0 quiet farboot.marker="two words" farboot.end`
)

// xenSite is a site that boots Xen with the marker as dom0, and then the marker
// alone.
const xenSite = `kind: site
entries:
  xen:
    title: Xen with a dom0 that says hello
    xen:
      hypervisor: {deb: xen-hypervisor-4.17-amd64, file: boot/xen-4.17-amd64.gz}
      options: ` + xenOptions + `
      kernel: {deb: debian-installer-12-netboot-amd64, file: ` + installerDir + `/linux}
      initrd: [{file: marker.img}, {file: second.img}]
      cmdline: ` + dom0Cmdline + `
  marker:
    title: A small system that says hello
    linux:
      kernel: {deb: debian-installer-12-netboot-amd64, file: ` + installerDir + `/linux}
      initrd: [{file: marker.img}]
      cmdline: ` + markerCmdline + `
default: [xen, marker]
`

// TestXen: Xen comes over the network by kexec, on each firmware from our medium,
// and dom0 sees it, the machine's ACPI tables and all of its processors. Nothing
// of it lies on the medium.
func TestXen(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publishes(t, xenSite)
	image, _ := w.build(t)
	for _, machine := range []struct {
		name   string
		config vm.Config
		cpus   int
		line   string // what Xen says of its options, before them
	}{
		{"bios", vm.Config{Memory: 2048}, 1, "Command line: "},
		{"uefi", vm.Config{Memory: 6144, Firmware: vm.UEFI, VGA: true, Args: []string{"-smp", "2"}}, 2, "Command line: no-real-mode "},
	} {
		t.Run(machine.name, func(t *testing.T) {
			config := machine.config
			config.Image = image
			m, ctx := start(t, config)
			expect(t, ctx, m, "choose: xen, then marker", "Xen's options: "+xenOptions, "handing over: xen", "command line: "+dom0Cmdline,
				machine.line+xenOptions[:40], "next kernel runs: ", dom0Cmdline, "hypervisor xen 4 17", "ACPI tables: ", "DSDT", "FACP",
				fmt.Sprintf("processors: %d", machine.cpus), "next kernel done")
			if err := m.Wait(); err != nil {
				t.Errorf("the machine did not end well: %v", err)
			}
		})
	}
}

// TestXenUnderSecureBoot: what the kernel does not let the agent load is said, and
// the next entry starts.
func TestXenUnderSecureBoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publishes(t, xenSite)
	image, _ := w.build(t)
	m, ctx := start(t, vm.Config{Image: image, Firmware: vm.SecureBoot})
	expect(t, ctx, m, "xen: [locked] Secure Boot is on", "handing over: marker", markerRuns, "next kernel done")
}

// foreignSite offers what is no Linux for kexec, each with what boots after it.
const foreignSite = `kind: site
entries:
  memtest: {title: memtest86+, linux: {kernel: {deb: memtest86+, file: boot/memtest86+x64.bin}}}
  memtest32: {title: memtest86+ for 32 bits, linux: {kernel: {deb: memtest86+, file: boot/memtest86+ia32.bin}}}
  ipxe: {title: iPXE, linux: {kernel: {deb: ipxe, file: boot/ipxe.lkrn}}}
  efi: {title: Xen for UEFI, xen: {hypervisor: {deb: xen-hypervisor-4.17-amd64, file: boot/xen-4.17-amd64.efi}, kernel: {file: marker.img}}}
  invaders: {title: Multiboot 1, xen: {hypervisor: {deb: grub-invaders, file: boot/invaders.exec}, kernel: {file: marker.img}}}
  marker:
    title: A small system that says hello
    linux:
      kernel: {deb: debian-installer-12-netboot-amd64, file: ` + installerDir + `/linux}
      initrd: [{file: marker.img}]
      cmdline: ` + markerCmdline + `
default: [memtest, memtest32, ipxe, efi, invaders, marker]
`

// TestForeign: what kexec cannot carry is refused with a reason, and does not keep
// the machine from the next entry.
func TestForeign(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publishes(t, foreignSite)
	image, _ := w.build(t)
	w.foreign(t, image, vm.BIOS)
}

// foreign boots the image at a foreignSite.
func (w *world) foreign(t *testing.T, image string, firmware vm.Firmware) {
	t.Helper()
	m, ctx := start(t, vm.Config{Image: image, Firmware: firmware})
	const noKernel = ": [kexec-refused] kexec refused: the file is no kernel that kexec can start"
	expect(t, ctx, m, "memtest"+noKernel, "memtest32"+noKernel, "ipxe"+noKernel,
		"efi: [bad-hypervisor] malformed hypervisor: no ELF header", "invaders: [bad-hypervisor] no fitting multiboot2 header",
		"handing over: marker", markerRuns, "next kernel done")
}
