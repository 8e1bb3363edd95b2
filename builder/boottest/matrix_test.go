//go:build boot

package boottest

import (
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/vm"
)

// TestMatrix takes one medium through every firmware and bus: from the medium
// over the agent and a verified manifest to a kernel that prints the command
// line of the manifest. Two go on to the first screen of the Debian installer.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	image, _ := w.build(t)
	for _, test := range []struct {
		name      string
		firmware  vm.Firmware
		bus       vm.Bus
		nic       string
		installer bool
	}{
		{"BIOS-CD", vm.BIOS, vm.CD, "virtio-net-pci", true},
		{"BIOS-USB", vm.BIOS, vm.USB, "e1000e", false},
		{"UEFI-CD", vm.UEFI, vm.CD, "rtl8139", false},
		{"UEFI-USB", vm.UEFI, vm.USB, "virtio-net-pci", false},
		{"SecureBoot-CD", vm.SecureBoot, vm.CD, "virtio-net-pci", false},
		{"SecureBoot-USB", vm.SecureBoot, vm.USB, "virtio-net-pci", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			nic := vm.NIC{Model: test.nic}
			if test.installer {
				nic.MAC = installerMAC
			}
			m, ctx := start(t, vm.Config{Image: image, Firmware: test.firmware, Bus: test.bus, NICs: []vm.NIC{nic}})
			expect(t, ctx, m, "farboot: medium", "time not verified", "network: eth0: 10.0.2.15/24", "manifest: version 1", "handing over", marker)
			if test.installer {
				expect(t, ctx, m, "Choose language")
				return
			}
			expect(t, ctx, m, "next kernel done")
			if secure := strings.Contains(m.Serial(), "Secure Boot is on"); secure != (test.firmware == vm.SecureBoot) {
				t.Errorf("the agent says that Secure Boot is on: %v", secure)
			}
		})
	}
}

// TestSmallMachine is the memory budget: 256 MB are enough for the agent and a
// small kernel with its initrd.
func TestSmallMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image, _ := w.build(t)
	m, ctx := start(t, vm.Config{Image: image, Memory: 256})
	expect(t, ctx, m, "handing over", marker, "next kernel done")
}

// TestNetboot starts the netboot folder by QEMU's own TFTP server and iPXE.
func TestNetboot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, folder := w.build(t)
	m, ctx := start(t, vm.Config{Netboot: folder, Bootfile: "boot.ipxe"})
	expect(t, ctx, m, "farboot: medium", "handing over", marker, "next kernel done")
}
