//go:build bench

package benchmark

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestBuild compares what a medium costs at the desk. farboot's own rows make
// image and netboot folder, and sync the image; grub-mkrescue makes an image
// that does not start under Secure Boot.
func TestBuild(t *testing.T) {
	needGRUB(t)
	first := newDesk(t)
	first.cache = t.TempDir()
	firstCost := measure(first.build)
	cold, warm, rotated := first.colleague(), first.colleague(), first.colleague()
	warm.build() // for grub-mkrescue and cp
	rotated.build()
	rescue, results := grubTree(t, warm), warm.path("out")
	copies := t.TempDir()
	copied := filepath.Join(copies, "netboot.iso")
	fresh := func() { shell(t, "rm -rf %s/*", copies)() }
	contenders := []contender{
		{"farboot, cold: downloads only", cold.path(image), 3, cold.forget, cold.build},
		{"farboot keys rotate, then build", rotated.path(image), 9, nil, rotated.rotate},
		{"farboot, warm: nothing changed", warm.path(image), 9, nil, warm.build},
		{"grub-mkrescue, same kernel and initrd", rescue + ".iso", 9, nil, shell(t, "grub-mkrescue -o %s.iso %[1]s", rescue)},
		{"cp of image and folder, sync -d", copied, 9, fresh, shell(t, "cp -r %s/. %s; sync -d %s", results, copies, copied)},
		{"cp of image, sync -d", copied, 9, fresh, shell(t, "cp %s %s; sync -d %s", warm.path(image), copies, copied)},
		{"cp of image", copied, 9, fresh, shell(t, "cp %s %s", warm.path(image), copies)},
		// What farboot prints as well; Debian's sha256sum does not use the processor's SHA instructions.
		{"cp of image, sync -d, sha256sum", copied, 9, fresh, shell(t, "cp %s %s; sync -d %s; sha256sum %[3]s", warm.path(image), copies, copied)},
	}
	const mkrescue, cpSync, cp = 3, 5, 6
	costs := race(t, contenders)
	out := table{title: fmt.Sprintf("At the desk: recipes/netboot.yaml. A first build downloads %s of packages, and their indexes.", megabytes(first.downloads()))}
	out.row("", "wall", "CPU", "of mkrescue", "of cp, sync", "of cp", "image")
	row := func(name, result string, c cost) {
		out.row(name, seconds(c.wall), seconds(c.cpu), ratio(c.wall, costs[mkrescue].wall),
			ratio(c.wall, costs[cpSync].wall), ratio(c.wall, costs[cp].wall), megabytes(size(t, result)))
	}
	row("farboot, first: no cache, no lock", first.path(image), firstCost)
	for i, c := range contenders {
		row(c.name, c.result, costs[i])
	}
	out.print()
}

// rotate replaces the manifest key and builds the medium that believes the new
// statement.
func (d *desk) rotate() time.Duration {
	d.t.Helper()
	return d.farboot("keys", "rotate", "manifest", "--secrets", d.dir+"-secret") + d.build()
}

// needGRUB fails where grub-mkrescue cannot do what farboot does.
func needGRUB(t *testing.T) {
	t.Helper()
	need(t, "grub-mkrescue", "grub-common")
	need(t, "xorriso", "xorriso")
	need(t, "mformat", "mtools")
	for dir, debianPackage := range map[string]string{"i386-pc": "grub-pc-bin", "x86_64-efi": "grub-efi-amd64-bin"} {
		if _, err := os.Stat("/usr/lib/grub/" + dir); err != nil {
			t.Fatalf("grub-mkrescue would do less than farboot: install the Debian package %s", debianPackage)
		}
	}
}

// downloads returns how many bytes the medium's lock names.
func (d *desk) downloads() (sum int64) {
	for _, in := range d.lock(mediumRecipe).Inputs {
		sum += in.Size
	}
	return sum
}

// colleague returns another project with the same lock and cache, and with keys
// of its own.
func (d *desk) colleague() *desk {
	d.t.Helper()
	other := newDesk(d.t)
	other.cache = filepath.Join(d.t.TempDir(), "cache")
	shell(d.t, "cp -rl %s %s; cp %s/recipes/netboot.lock %s/recipes/", d.cache, other.cache, d.dir, other.dir)()
	return other
}

// forget leaves nothing in the cache but the downloads.
func (d *desk) forget() {
	d.t.Helper()
	keep := map[string]bool{}
	for _, in := range d.lock(mediumRecipe).Inputs {
		keep[d.blob(in.Ref)] = true
	}
	err := filepath.WalkDir(d.cache, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || keep[path] {
			return err
		}
		return os.Remove(path)
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// grubTree lays out what the medium boots, for grub-mkrescue.
func grubTree(t *testing.T, d *desk) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	shell(t, `mkdir -p %[1]s/boot/grub; cd %[2]s
		cp boot/vmlinuz boot/initrd.img %[1]s/boot; cp grub/grub.cfg %[1]s/boot/grub`, dir, d.path("out/netboot"))()
	return dir
}
