//go:build boot

package boottest

import (
	"context"
	"fmt"
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
