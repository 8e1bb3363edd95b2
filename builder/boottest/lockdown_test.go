//go:build boot

package boottest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/vm"
)

// TestUnsignedKernelUnderSecureBoot: a manifest may vouch for a kernel all it
// likes, under Secure Boot the running kernel wants a signature of its own. The
// agent says so and goes on with the next entry.
func TestUnsignedKernelUnderSecureBoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, "altered.vmlinuz", alteredKernel(t, w))
	recipe := strings.Replace(siteRecipe, "machines:\n", `  altered:
    title: A kernel with a byte changed
    linux: {kernel: {file: altered.vmlinuz}, initrd: [{file: marker.img}]}
machines:
`, 1)
	recipe = strings.Replace(recipe, "default: [marker]", "default: [altered, marker]", 1)
	w.write(t, "recipes/site.yaml", []byte(recipe))
	w.farboot(t, "lock", "--update", "recipes/site.yaml")
	w.farboot(t, "publish", "recipes/site.yaml", "--secrets", w.secrets(t))
	image, _ := w.build(t)
	m, ctx := start(t, vm.Config{Image: image, Firmware: vm.SecureBoot})
	expect(t, ctx, m, "manifest: version 2", "choose: altered, then marker", "altered: [kexec-refused]", "not signed by a key this machine trusts (Secure Boot is on)", "handing over: marker", markerRuns, "next kernel done")
}

// alteredKernel returns the site's kernel with a byte in its middle changed, so
// that its signature no longer fits.
func alteredKernel(t *testing.T, w *world) []byte {
	t.Helper()
	kernel, err := os.ReadFile(filepath.Join(w.site, w.linux(t, "marker").Kernel.Path()))
	if err != nil {
		t.Fatal(err)
	}
	kernel[len(kernel)/2] ^= 1
	return kernel
}
