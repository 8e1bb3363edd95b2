//go:build boot

package boottest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/vm"
)

// TestWatchdog: the machine's first entry hangs, its second panics. A watchdog
// that the agent armed before the jump, or the kernel's own restart, brings it
// back to the medium; after two such starts of an entry the next one is taken, and
// at last one that runs.
func TestWatchdog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	recipe := strings.Replace(siteRecipe, "machines:\n", fmt.Sprintf(`  hangs:
    title: Hangs
    linux: {kernel: {deb: debian-installer-12-netboot-amd64, file: %[1]s/linux}, initrd: [{file: marker.img}], cmdline: "console=ttyS0,115200 quiet farboot.hang", watchdog: 30}
  panics:
    title: Panics
    linux: {kernel: {deb: debian-installer-12-netboot-amd64, file: %[1]s/linux}, initrd: [{file: marker.img}], cmdline: "console=ttyS0,115200 panic=1 farboot.panic", watchdog: 60}
machines:
`, installerDir), 1)
	recipe = strings.Replace(recipe, "default: [marker]", "default: [hangs, panics, marker]", 1)
	w.write(t, "recipes/site.yaml", []byte(recipe))
	w.publish(t)
	w.write(t, "recipes/netboot.yaml", bytes.Replace(fmt.Appendf(nil, mediumRecipe, w.url), []byte("[net]"), []byte("[net, watchdog]"), 1))
	image, _ := w.build(t)
	m, ctx := start(t, vm.Config{Image: image, Firmware: vm.UEFI, Reboots: true, Args: []string{"-device", "i6300esb", "-action", "watchdog=reset"}})
	for _, entry := range []string{"hangs", "hangs", "panics", "panics"} {
		expect(t, ctx, m, "handing over: "+entry, "watchdog: the machine is reset in", "next kernel done", "farboot: medium", "[came-back]")
	}
	expect(t, ctx, m, "handing over: marker", markerRuns, "next kernel done")
}
