//go:build boot

package boottest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/vm"
)

// liveMedium is a medium with a live system that has a service and no machines: on
// any kernel. %s is a public key.
const liveMedium = `kind: medium
name: netboot
compression: zstd
kernel: {deb: linux-image-amd64, modules: [net]}
trust: keys
site: []
console: [tty0, "ttyS0,115200"]
timeout: 0
menu:
  - {title: Live, agent: {cmdline: farboot.live.hostname=named-at-boot}}
toolbox:
  packages: [util-linux]
fallback:
  - title: A system that stays
    live:
      bridge: br0
      ssh: {keys: [%q]}
      words: [hostname]
      services:
        - {name: clock, program: /bin/sh, args: ["-c", "echo ticking as $$; exec sleep 100000"], restart: true}
`

// TestLive: a medium that asks no site becomes a system that stays, with its network
// on a bridge. A service that somebody kills comes back, the kernel's command line
// says what the recipe lets it say, and "farboot off" ends all of it.
func TestLive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	anna := newKey(t, "anna")
	line, err := os.ReadFile(anna + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, liveMedium, strings.TrimSpace(string(line))))
	image, _ := w.build(t)
	port := freePort(t)
	m, ctx := start(t, vm.Config{Image: image, NICs: []vm.NIC{{Model: "virtio-net-pci", Net: "user,hostfwd=tcp:127.0.0.1:" + port + "-:22"}}})
	expect(t, ctx, m, "this medium asks no site", "live: br0 becomes the bridge", "network: br0: 10.0.2.15/24")
	c := client{ctx: ctx, port: port, hosts: filepath.Join(t.TempDir(), "known_hosts")}
	c.meet(t, m)
	appears(t, ctx, m, "live: clock: | ticking as ")
	if out, status := c.run(t, anna, "ssh", "HOST", "hostname; ls /sys/class/net/br0/brif; killall sleep"); status != 0 || !strings.Contains(out, "named-at-boot\neth0\n") {
		t.Errorf("status %d, %q", status, out)
	}
	expect(t, ctx, m, "live: clock: killed by SIGTERM, starts again in 1 s", "live: clock: | ticking as ")
	c.leave(t, m, anna, "off")
}

// leave ends a live system by what a person types, and waits for the machine.
func (c client) leave(t *testing.T, m *vm.VM, key, how string) {
	t.Helper()
	if out, status := c.run(t, key, "ssh", "HOST", "farboot "+how); status != 0 {
		t.Errorf("farboot %s: %d, %s", how, status, out)
	}
	if err := m.Wait(); err != nil {
		t.Errorf("the machine did not end well: %v", err)
	}
}

// page is what the example machines fetch.
const page = "<h1>a page for machines</h1>\n"

// TestXenLive: the shipped medium, from GRUB on. Xen and domain 0 come up, both
// machines run and have each fetched a page by HTTP through the bridge; xl answers;
// a killed xenconsoled comes back; and "farboot off" shuts the machines down first.
// It takes minutes on a quiet computer, since each machine's kernel is unpacked by an
// emulated processor; on a busy one Xen's own limit of 40 s for a script is too short.
func TestXenLive(t *testing.T) {
	if !*xenLong {
		return // make test-long
	}
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

// appears waits until the serial line has all phrases, in whatever order.
func appears(t *testing.T, ctx context.Context, m *vm.VM, phrases ...string) {
	t.Helper()
	for _, p := range phrases {
		for !strings.Contains(m.Serial(), p) {
			select {
			case <-ctx.Done():
				t.Fatalf("%q is not shown", p)
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}
