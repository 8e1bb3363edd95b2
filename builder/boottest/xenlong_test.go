//go:build boot && long

package boottest

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

// page is what the example machines fetch.
const page = "<h1>a page for machines</h1>\n"

// TestXenLive: the shipped medium, from GRUB on. Xen and domain 0 come up, both
// machines run and have each fetched a page by HTTP through the bridge; xl answers;
// a killed xenconsoled comes back; and "farboot off" shuts the machines down first.
// It takes minutes on a quiet computer, since each machine's kernel is unpacked by an
// emulated processor; on a busy one Xen's own limit of 40 s for a script is too short.
func TestXenLive(t *testing.T) {
	w := newWorld(t)
	anna := newKey(t, "anna")
	w.answer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { fmt.Fprint(rw, page) }))
	w.shipped(t, anna)
	w.farboot(t, "build", "recipes/xen-live.yaml")
	image := filepath.Join(w.dir, "out", "xen-live.iso")
	for name, config := range map[string]vm.Config{
		"BIOS": {Bus: vm.CD, Memory: xenLiveMemory},
		"UEFI": {Bus: vm.USB, Firmware: vm.UEFI, Memory: 1024},
	} {
		t.Run(name, func(t *testing.T) {
			port := freePort(t)
			config.Image, config.NICs = image, []vm.NIC{{Model: "virtio-net-pci", Net: "user,hostfwd=tcp:127.0.0.1:" + port + "-:22"}}
			m, ctx := start(t, config)
			expect(t, ctx, m, "live: xenstored: starts", "live: xenconsoled: starts")
			c := client{ctx: ctx, port: port, hosts: filepath.Join(t.TempDir(), "known_hosts")}
			c.meet(t, m)
			for _, machine := range []string{"web1", "web2"} {
				appears(t, ctx, m, machine+": | "+machine+": address 10.0.2.", machine+": | "+machine+": fetched http://10.0.2.2:", machine+": | "+strings.TrimSpace(page))
			}
			out, status := c.run(t, anna, "ssh", "HOST", "xl list; killall xenconsoled; free -m")
			if status != 0 || !strings.Contains(out, "Domain-0 ") || !strings.Contains(out, "web1 ") || !strings.Contains(out, "web2 ") {
				t.Errorf("status %d, %s", status, out)
			}
			t.Log(out)
			expect(t, ctx, m, "live: xenconsoled: exit status", "live: xenconsoled: starts")
			c.leave(t, m, anna, "off")
			appears(t, ctx, m, "live: shutting down web1, web2", "handing over")
			if strings.Contains(m.Serial(), "is destroyed") {
				t.Error("a machine had to be destroyed")
			}
		})
	}
}

// xenLiveMemory is with how many MiB the shipped live system is tried: 400 for domain
// 0, 96 for each machine, and Xen's own. XenCD wanted 368.
const xenLiveMemory = 640

// shipped copies the shipped recipe of a live system into the project, with the
// world's page and somebody's key.
func (w *world) shipped(t *testing.T, key string) {
	t.Helper()
	for name, to := range map[string]string{
		"../../recipes/xen-live.yaml": "recipes/xen-live.yaml", "../../recipes/xen-live/init": "recipes/xen-live/init", key + ".pub": "recipes/admin.pub",
	} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".yaml") {
			data = bytes.ReplaceAll(data, []byte("page=http://10.0.2.2:8080/"), []byte("page="+w.url))
			data = append(data, "compression: zstd\n"...)
		}
		w.write(t, to, data)
	}
}
