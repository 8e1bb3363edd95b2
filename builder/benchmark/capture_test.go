//go:build bench

package benchmark

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// captureSize is that of the disk, in MiB; its files have a third of it, and what is free
// is full of noise.
const captureSize = 1024

// TestCapture makes an image of a used disk with one ext4, and publishes it, beside
// partclone, which knows what is free as well, and zstd, which does not. By those the
// image has no hash, and is no image until partclone restores it.
func TestCapture(t *testing.T) {
	need(t, "partclone.extfs", "partclone")
	need(t, "zstd", "zstd")
	need(t, "mke2fs", "e2fsprogs")
	d := newDesk(t)
	disk := filepath.Join(d.dir, "disk")
	shell(t, `cd %s; mkdir tree
		{ tar -C / -cf - usr/lib usr/share 2>/dev/null || :; } | head -c %dM | tar -C tree -xf - 2>/dev/null || :
		head -c 64M /dev/urandom >noise; for i in $(seq %d); do cat noise; done >disk; rm noise
		mke2fs -q -F -t ext4 -E nodiscard -d tree disk; rm -rf tree`, d.dir, captureSize/3, captureSize/64)()
	d.write("recipes/capture.yaml", []byte(`kind: site
product: demo
entries:
  server:
    title: Write the server
    flash:
      image: {file: out/server.img.zst}
default: [server]
`))
	capture := fmt.Sprintf("cd %s; %s/farboot capture disk out/server >/dev/null 2>&1", d.dir, bin)
	publish := fmt.Sprintf("XDG_CACHE_HOME=%s/cache %s/farboot publish recipes/capture.yaml --out %s/site --secrets %s >/dev/null", d.dir, bin, d.dir, d.dir+"-secret")
	fresh := func() {
		for _, name := range []string{"out/server.img.zst", "out/server.caibx", "site", "cache", "recipes/capture.lock", "partclone.zst", "disk.zst"} {
			if err := os.RemoveAll(filepath.Join(d.dir, name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	ours, theirs := filepath.Join(d.dir, "out/server.img.zst"), filepath.Join(d.dir, "partclone.zst")
	contenders := []contender{
		{"farboot capture", ours, 3, fresh, shell(t, "%s", capture)},
		{"the same, and farboot publish", ours, 3, fresh, shell(t, "%s; %s", capture, publish)},
		{"partclone.extfs | zstd -3 -T0", theirs, 3, fresh, shell(t, "partclone.extfs -c -q -L /dev/null -s %s -o - 2>/dev/null | zstd -q3 -T0 -o %s", disk, theirs)},
		{"zstd -3 -T0 of all of it", disk + ".zst", 3, fresh, shell(t, "zstd -q3 -T0 %s -o %[1]s.zst", disk)},
	}
	out := table{title: fmt.Sprintf("Capture: a disk of %s with an ext4 that is a third full", megabytes(captureSize<<20))}
	out.row("", "wall", "CPU", "of partclone", "image")
	var costs []cost
	var sizes []int64
	for _, c := range contenders { // each by itself, for the size of what it makes
		costs = append(costs, race(t, []contender{c})[0])
		sizes = append(sizes, size(t, c.result))
	}
	for i, c := range contenders {
		out.row(c.name, seconds(costs[i].wall), seconds(costs[i].cpu), ratio(costs[i].wall, costs[2].wall), megabytes(sizes[i]))
	}
	out.print()
}
