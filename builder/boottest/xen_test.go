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
	dom0Cmdline = `console=hvc0 farboot.marker="two words" farboot.end`
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
	}{
		{"bios", vm.Config{Memory: 2048}, 1},
		{"uefi", vm.Config{Memory: 6144, Firmware: vm.UEFI, Args: []string{"-smp", "2"}}, 2},
	} {
		t.Run(machine.name, func(t *testing.T) {
			config := machine.config
			config.Image = image
			m, ctx := start(t, config)
			expect(t, ctx, m, "choose: xen, then marker", "Xen's options: "+xenOptions, "handing over: xen", "command line: "+dom0Cmdline,
				"Command line: "+xenOptions[:40], "next kernel runs: ", dom0Cmdline, "hypervisor xen 4 17", "ACPI tables: ", "DSDT", "FACP",
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
