//go:build boot

package boottest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/builder/vm"
)

// TestDeadCards: of three cards the first has no cable and the second is in a
// network where nobody answers. The machine boots by the third, in its first
// round.
func TestDeadCards(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image, _ := w.build(t)
	m, ctx := start(t, vm.Config{Image: image, NICs: []vm.NIC{
		{Model: "virtio-net-pci"},
		{Model: "e1000e", Net: "hubport,hubid=1"}, // with no other port
		{Model: "rtl8139", MAC: "52:54:00:00:00:03"},
	}})
	link(t, ctx, m, "nic0", false)
	expect(t, ctx, m, "network: eth", "10.0.2.15/24", "(8139", "manifest: version 1", "handing over", markerRuns, "next kernel done")
	if strings.Contains(m.Serial(), "starting over") {
		t.Error("the machine needs a second round")
	}
}

// TestSilentDHCP: the card has carrier, but nobody answers it, as where a switch
// is in spanning tree's first states. While the agent waits, the stick that it was
// started from, and was to remember on, is pulled. Then the network answers, and
// the machine boots on.
func TestSilentDHCP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	image, _ := w.build(t)
	m, ctx := start(t, vm.Config{
		Image: stick(t, image), Bus: vm.USB, Writable: true,
		NICs: []vm.NIC{{Model: "virtio-net-pci", Net: "hubport,hubid=1"}},
		Args: []string{"-netdev", "user,id=far", "-netdev", "hubport,hubid=1,netdev=far,id=port"},
	})
	link(t, ctx, m, "far", false)
	expect(t, ctx, m, "memory: partition", "network: waiting: eth0 (virtio_net): no DHCP answer")
	if err := m.Execute(ctx, "device_del", map[string]any{"id": "stick"}, nil); err != nil {
		t.Fatal(err)
	}
	gone(t, ctx, m, "stick")
	link(t, ctx, m, "far", true)
	expect(t, ctx, m, "network: eth0: 10.0.2.15/24", "manifest: version 1", "obtain: kernel", "[not-saved]", "is gone", "handing over", markerRuns, "next kernel done")
	if strings.Contains(m.Serial(), "carrier") {
		t.Error("the card lost its carrier, which is another fault")
	}
}

// gone fails unless QEMU has removed the device from the machine.
func gone(t *testing.T, ctx context.Context, m *vm.VM, id string) {
	t.Helper()
	var devices []struct{ Name string }
	if err := m.Execute(ctx, "qom-list", map[string]any{"path": "/machine/peripheral"}, &devices); err != nil {
		t.Fatal(err)
	}
	for _, d := range devices {
		if d.Name == id {
			t.Fatalf("the machine still has its %s", id)
		}
	}
}

// TestDeadDNS: the first site has a name, and there is no DNS server where the
// settings say that one is. The name is the fault, by its code, and the next
// site, which has an address, boots the machine.
func TestDeadDNS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	named := strings.Replace(w.url, "10.0.2.2", "site.example", 1)
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, mediumRecipe+`networks:
  - {addresses: [10.0.2.15/24], gateways: [10.0.2.2], dns: [10.0.2.77]}
`, named+`", "`+w.url))
	image, _ := w.build(t)
	good := site.Handler(w.site, nil)
	w.answer(http.NotFoundHandler()) // until the fault was seen: a good site is not kept waiting for a bad one
	m, ctx := start(t, vm.Config{Image: image})
	expect(t, ctx, m, "network: eth0: 10.0.2.15/24", "manifest: [dns] ", "lookup site.example", "waiting")
	w.answer(good)
	expect(t, ctx, m, "manifest: version 1", "handing over", markerRuns, "next kernel done")
}

// TestVLANOnBond runs a test of the agent's network on Debian's kernel, which
// has what not every kernel has: two cables are one bond, and a VLAN lies on it.
func TestVLANOnBond(t *testing.T) {
	t.Parallel()
	const name = "TestRealVLANOnBond"
	program := filepath.Join(t.TempDir(), "network.test")
	cmd := exec.Command("go", "test", "-tags", "boot", "-c", "-o", program, "../../payload/agent/network")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	test, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	p := fetchPackages(t, "linux-image-amd64", "busybox-static")
	k := p.kernel(t, "bonding", "8021q", "veth", "af_packet")
	initrd := p.ramdisk(t, k, guestInit("bonding 8021q veth")+`
/network.test -test.v -test.run '^`+name+`$'
echo "ended with status $?"
poweroff -f
`, executable("network.test", test), tree.Bytes("etc/resolv.conf", nil))
	m, ctx := start(t, vm.Config{Kernel: save(t, "vmlinuz", k.Image), Initrd: save(t, "initrd", initrd), Cmdline: "console=ttyS0,115200 quiet panic=1"})
	expect(t, ctx, m, "--- PASS: "+name, "ended with status 0")
}
