//go:build boot && long

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

	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/vm"
)

// page is what the example machines fetch.
const page = "<h1>a page for machines</h1>\n"

// xenLiveMemory is with how many MiB the shipped live system is tried: 352 for domain
// 0, 96 for each machine, and 12 that Xen and the firmware take.
const xenLiveMemory = 560

// TestXenLive: the shipped live system, started by GRUB, and over the network by a
// medium that has nothing of it. Xen and domain 0 come up, both machines run and have
// each fetched a page by HTTP through the bridge; xl and the machines' consoles
// answer; a killed xenconsoled comes back; and "farboot off" shuts the machines down
// before anything else.
//
// The recipes differ from those shipped in the page's address, and in spec-ctrl=no: what
// Xen does against Meltdown and its kin at every call drops all that an emulator has
// translated, and xl then needs four minutes for one machine in place of ten seconds.
func TestXenLive(t *testing.T) {
	w := newWorld(t)
	anna := newKey(t, "anna")
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, mediumRecipe+"compression: zstd\n", w.url))
	w.shipped(t, anna)
	w.farboot(t, "build", "recipes/xen-live.yaml")
	w.publishes(t, string(w.recipe(t, "xen-site.yaml")))
	files := site.Handler(w.site, nil)
	w.answer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			fmt.Fprint(rw, page)
			return
		}
		files.ServeHTTP(rw, r)
	}))
	medium := filepath.Join(w.dir, "out", "xen-live.iso")
	netboot, _ := w.build(t)
	for _, row := range []struct {
		name   string
		config vm.Config
		first  string // what is seen first
	}{
		{"BIOS", vm.Config{Image: medium, Bus: vm.CD, Memory: xenLiveMemory}, "Xen version"},
		{"UEFI", vm.Config{Image: medium, Bus: vm.USB, Firmware: vm.UEFI, Memory: 1024}, "Xen version"},
		{"network BIOS", vm.Config{Image: netboot, Memory: 1024}, "handing over: xen-live"},
		{"network UEFI", vm.Config{Image: netboot, Firmware: vm.UEFI, Memory: 1024}, "handing over: xen-live"},
	} {
		t.Run(row.name, func(t *testing.T) {
			port := freePort(t)
			row.config.NICs = []vm.NIC{{Model: "virtio-net-pci", Net: "user,hostfwd=tcp:127.0.0.1:" + port + "-:22"}}
			m, ctx := start(t, row.config)
			expect(t, ctx, m, row.first, "live: xenstored: starts", "live: xenconsoled: starts")
			c := client{ctx: ctx, port: port, hosts: filepath.Join(t.TempDir(), "known_hosts")}
			c.meet(t, m)
			c.visits(t, m, anna)
		})
	}
}

// visits looks at a live system with its two machines, and switches it off.
func (c client) visits(t *testing.T, m *vm.VM, key string) {
	t.Helper()
	for _, machine := range []string{"web1", "web2"} {
		fetched(t, c.ctx, m, machine)
	}
	out, status := c.run(t, key, "ssh", "HOST", "xl list; free -m; xl info | grep _memory; killall xenconsoled")
	if status != 0 || !strings.Contains(out, "Domain-0 ") || !strings.Contains(out, "web1 ") || !strings.Contains(out, "web2 ") {
		t.Errorf("status %d, %s", status, out)
	}
	t.Log(out)
	expect(t, c.ctx, m, "live: xenconsoled: killed by SIGTERM", "live: xenconsoled: starts")
	// What xl console runs, which ends by Ctrl-].
	out, _ = c.run(t, key, "ssh", "HOST", `(sleep 5; echo 'echo $((6*7)) in $(hostname)'; sleep 5; printf '\035') |
		timeout 60 /usr/lib/xen-4.17/bin/xenconsole --interactive $(xl domid web2)`)
	if !strings.Contains(out, "42 in web2") {
		t.Errorf("the console of web2: %q", out)
	}
	c.leave(t, m, key, "off")
	appears(t, c.ctx, m, "live: shutting down web1, web2", "handing over")
	for _, wrong := range []string{"is destroyed", "[failed]"} {
		if strings.Contains(m.Serial(), wrong) {
			t.Errorf("the machines' end: %s", wrong)
		}
	}
}

// fetched waits until an example machine has its page.
func fetched(t *testing.T, ctx context.Context, m *vm.VM, machine string) {
	t.Helper()
	appears(t, ctx, m, machine+": | "+machine+": address 10.0.2.", machine+": | "+machine+": fetched http://10.0.2.2:", machine+": | "+strings.TrimSpace(page))
	for line := range strings.Lines(m.Serial()) {
		if strings.Contains(line, machine+": fetched ") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// shipped copies the shipped recipe of a live system into the project, with the
// world's page and somebody's key.
func (w *world) shipped(t *testing.T, key string) {
	t.Helper()
	for name, to := range map[string]string{"../../recipes/xen-live/init": "recipes/xen-live/init", key + ".pub": "recipes/admin.pub"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, to, data)
	}
	w.write(t, "recipes/xen-live.yaml", append(w.recipe(t, "xen-live.yaml"), "compression: zstd\n"...))
}

// recipe returns a shipped recipe with Xen, as an emulator and the world have it.
func (w *world) recipe(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../recipes", name))
	if err != nil {
		t.Fatal(err)
	}
	data = bytes.ReplaceAll(data, []byte("page=http://10.0.2.2:8080/"), []byte("page="+w.url))
	changed := bytes.Replace(data, []byte("dom0_mem="), []byte("spec-ctrl=no dom0_mem="), 1)
	if bytes.Equal(changed, data) {
		t.Fatalf("%s gives domain 0 no memory", name)
	}
	return changed
}
