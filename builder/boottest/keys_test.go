//go:build boot

package boottest

import (
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/vm"
)

// TestUnloadableKernel: the first entry's kernel is none. The agent says that the
// running kernel refuses it and starts the next entry. Keys are hammered from the
// loader to the end, and none of them gets a prompt.
func TestUnloadableKernel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(t, "garbage", []byte(strings.Repeat("this is no kernel\n", 10_000)))
	recipe := strings.Replace(siteRecipe, "machines:\n", `  garbage:
    title: No kernel at all
    linux: {kernel: {file: garbage}, initrd: [{file: marker.img}]}
machines:
`, 1)
	recipe = strings.Replace(recipe, "default: [marker]", "default: [garbage, marker]", 1)
	w.write(t, "recipes/site.yaml", []byte(recipe))
	w.farboot(t, "lock", "--update", "recipes/site.yaml")
	w.farboot(t, "publish", "recipes/site.yaml", "--secrets", w.secrets(t))
	image, _ := w.build(t)
	m, ctx := start(t, vm.Config{Image: image})
	hammer(t, m)
	for _, phrase := range []string{
		"farboot: medium", "trust: statement", "network: eth0: 10.0.2.15/24", "manifest: version 2",
		"choose: garbage, then marker", "garbage: [kexec-refused]", "obtain: kernel", "handing over: marker", markerRuns, "next kernel done",
	} {
		expect(t, ctx, m, phrase)
		hammer(t, m)
	}
	for _, prompt := range []string{"grub>", "grub rescue>", "uid=", "/ #", "sh-", "login:", "assword:", "(initramfs)"} {
		if strings.Contains(m.Serial(), prompt) {
			t.Errorf("keys get %q:\n%s", prompt, m.Serial())
		}
	}
}

// hammer types what might get a prompt: Return, Ctrl-C, Ctrl-Z, Ctrl-\, Ctrl-D,
// GRUB's e and c, and a command whose answer would show.
func hammer(t *testing.T, m *vm.VM) {
	t.Helper()
	m.Type("\r\n\x03\x1a\x1c\x04\x1b[Aec\rid\r") //nolint:errcheck // the machine may have ended
}
