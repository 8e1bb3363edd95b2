//go:build boot

package boottest

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/farboot/farboot/builder/site"
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
			expect(t, ctx, m, "farboot: medium", "time not verified", "network: eth0: 10.0.2.15/24", "manifest: version 1", "handing over")
			if test.installer {
				expect(t, ctx, m, "Command line: "+installerCmdline, "Choose language")
				return
			}
			expect(t, ctx, m, markerRuns, "next kernel done")
			if secure := strings.Contains(m.Serial(), "Secure Boot is on"); secure != (test.firmware == vm.SecureBoot) {
				t.Errorf("the agent says that Secure Boot is on: %v", secure)
			}
		})
	}
}

// TestSmallMachine is the memory budget: 256 MB are enough for the agent, with
// the modules of the shipped recipe, and a small kernel with its initrd. What is
// not enough is said before anything large is fetched, and no process is killed.
func TestSmallMachine(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, "recipes/netboot.yaml", bytes.Replace(fmt.Appendf(nil, mediumRecipe, w.url), []byte("[net]"), []byte("[net, usb]"), 1))
	image, _ := w.build(t)
	good := site.Handler(w.site, nil)
	for _, memory := range []int{192, 256, 512} {
		t.Run(fmt.Sprint(memory), func(t *testing.T) {
			var objects atomic.Int32
			w.answer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if strings.HasPrefix(r.URL.Path, "/objects/") {
					objects.Add(1)
				}
				good.ServeHTTP(rw, r)
			}))
			m, ctx := start(t, vm.Config{Image: image, Memory: memory})
			said, err := m.Expect(ctx, "handing over", "[no-memory]", "Out of memory", "out of memory", "Kernel panic")
			switch {
			case err != nil:
				t.Fatal(err)
			case said == "handing over":
				expect(t, ctx, m, markerRuns, "next kernel done")
			case said != "[no-memory]" || memory >= 256:
				t.Errorf("%q with %d MB", said, memory)
			case objects.Load() > 0:
				t.Error("the machine is found too small after a download")
			default:
				expect(t, ctx, m, "waiting")
			}
		})
	}
}

// TestNetboot starts the netboot folder by QEMU's own TFTP server and iPXE. Its
// initramfs is compressed by zstd.
func TestNetboot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, mediumRecipe+"compression: zstd\n", w.url))
	_, folder := w.build(t)
	m, ctx := start(t, vm.Config{Netboot: folder, Bootfile: "boot.ipxe"})
	expect(t, ctx, m, "farboot: medium", "handing over", markerRuns, "next kernel done")
}
