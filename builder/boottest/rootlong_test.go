//go:build boot && long

package boottest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/farboot/farboot/builder/vm"
)

// webSite is the shipped recipe of a system on an image, with what lets a test see how
// it does: it counts its boots in a file, asks its own service and switches off.
func webSite(t *testing.T, option string) string {
	t.Helper()
	text, err := os.ReadFile("../../recipes/web-site.yaml")
	if err != nil {
		t.Fatal(err)
	}
	site := string(text)
	for _, change := range [][2]string{
		{"\nname: web\n", "\n"},
		{"\nchannel: web ", "\n#"},
		{"          ::ctrlaltdel:/usr/bin/reboot\n", "          ::ctrlaltdel:/usr/bin/reboot\n          ::once:/etc/look\n"},
		{"      etc/nginx/nginx.conf:\n", `      etc/look:
        mode: "0755"
        text: |
          #!/bin/sh
          echo once more >>/var/boots
          until busybox wget -qO- http://127.0.0.1/; do busybox usleep 200000; done
          echo "web: boot $(busybox wc -l </var/boots)"
          sync
          busybox poweroff
      etc/nginx/nginx.conf:
`},
		{"      init: /usr/bin/init\n", "      init: /usr/bin/init\n      " + option + "\n"},
	} {
		if !strings.Contains(site, change[0]) {
			t.Fatalf("the recipe has no %q", change[0])
		}
		site = strings.Replace(site, change[0], change[1], 1)
	}
	return site
}

// TestImageRoot: a root file system of packages, read from the web, boots and runs a
// service; what it writes is kept on a disk, or forgotten.
func TestImageRoot(t *testing.T) {
	w := newWorld(t)
	for _, row := range []struct{ name, option, second string }{
		{"disk", "overlay: {label: keep}", "web: boot 2"},
		{"memory", "copy: ram", "web: boot 1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			w.publishes(t, webSite(t, row.option))
			w.write(t, "recipes/netboot.yaml", []byte(strings.Replace(strings.Replace(mediumRecipe, "%s", w.url, 1), "[net]", "[net, storage, filesystems]", 1)))
			image, _ := w.build(t)
			disk := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(disk, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(disk, 64<<20); err != nil {
				t.Fatal(err)
			}
			command(t, "e2fsprogs", "mkfs.ext4", "-q", "-L", "keep", disk)
			for _, boot := range []string{"web: boot 1", row.second} {
				m, ctx := start(t, vm.Config{Image: image, Memory: 768, Disks: []vm.Disk{{File: disk}}})
				expect(t, ctx, m, "handing over: web", "web: up on 10.0.2.15/24", "served from an image", boot)
				if err := m.Wait(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
