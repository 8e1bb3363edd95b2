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
// image and netboot folder; grub-mkrescue makes an image that does not start
// under Secure Boot. Neither they nor cp sync.
func TestBuild(t *testing.T) {
	needGRUB(t)
	first := newDesk(t)
	first.cache = t.TempDir()
	firstCost := measure(first.build)
	cold, warm := first.colleague(), first.colleague()
	warm.build() // for grub-mkrescue and cp
	rescue, results := grubTree(t, warm), warm.path("out")
	copies := t.TempDir()
	copied := filepath.Join(copies, "netboot.iso")
	fresh := func() { shell(t, "rm -rf %s/*", copies)() }
	contenders := []contender{
		{"farboot, cold: downloads only", cold.path(image), 3, cold.forget, cold.build},
		{"farboot, warm: nothing changed", warm.path(image), 9, nil, warm.build},
		{"grub-mkrescue, same kernel and initrd", rescue + ".iso", 9, nil, shell(t, "grub-mkrescue -o %s.iso %[1]s", rescue)},
		{"cp of image and folder", copied, 9, fresh, shell(t, "cp -r %s/. %s", results, copies)},
		{"cp of image", copied, 9, fresh, shell(t, "cp %s %s", warm.path(image), copies)},
		// What farboot prints as well; Debian's sha256sum does not use the processor's SHA instructions.
		{"cp of image, sha256sum", copied, 9, fresh, shell(t, "cp %s %s; sha256sum %[2]s/*", warm.path(image), copies)},
	}
	const mkrescue, cp = 2, 4
	costs := race(t, contenders)
	out := table{title: fmt.Sprintf("At the desk: recipes/netboot.yaml. A first build downloads %s of packages, and their indexes.", megabytes(first.downloads()))}
	out.row("", "wall", "CPU", "of mkrescue", "of cp", "image")
	row := func(name, result string, c cost) {
		out.row(name, seconds(c.wall), seconds(c.cpu), ratio(c.wall, costs[mkrescue].wall), ratio(c.wall, costs[cp].wall), megabytes(size(t, result)))
	}
	row("farboot, first: no cache, no lock", first.path(image), firstCost)
	for i, c := range contenders {
		row(c.name, c.result, costs[i])
	}
	out.print()
	raceRotation(t, first.colleague(), first.colleague())
}

// installer makes of the demo medium one that carries Debian's installer.
const installer = `
fallback:
  - title: Debian installer
    linux:
      kernel: {deb: debian-installer-12-netboot-amd64, file: usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/linux}
      initrd: [{deb: debian-installer-12-netboot-amd64, file: usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64/initrd.gz}]
      cmdline: priority=low
`

// raceRotation prints how often a copy of the image fits into the rotation of a
// key with the build that follows: at most 3 times is the aim. What does not
// depend on the image's size weighs less on a large medium.
func raceRotation(t *testing.T, small, large *desk) {
	t.Helper()
	large.append(mediumRecipe, installer)
	large.farboot("lock", mediumRecipe)
	out := table{title: "A new key in the field: rotate + rebuild of the medium against cp of the ISO, aim at most 3.00x, medians of 21 in turns"}
	out.row("medium", "rotate", "rebuild", "cp", "rotate + rebuild of cp")
	for _, d := range []*desk{small, large} {
		d.build()
		copied := filepath.Join(t.TempDir(), "copy.iso")
		costs := race(t, []contender{
			// A chain of some years, not of 21 keys.
			{"farboot keys rotate manifest", "", 21, d.newKeys, d.rotate},
			{"farboot build", "", 21, nil, d.build},
			{"cp", "", 21, func() { os.Remove(copied) }, shell(t, "cp %s %s", d.path(image), copied)},
		})
		out.row(megabytes(size(t, d.path(image))), seconds(costs[0].wall), seconds(costs[1].wall), seconds(costs[2].wall),
			ratio(costs[0].wall+costs[1].wall, costs[2].wall))
	}
	out.print()
}

// rotate replaces the manifest key.
func (d *desk) rotate() time.Duration {
	d.t.Helper()
	return d.farboot("keys", "rotate", "manifest", "--secrets", d.dir+"-secret")
}

// append adds text to a file of the project.
func (d *desk) append(name, text string) {
	d.t.Helper()
	data, err := os.ReadFile(d.path(name))
	if err != nil {
		d.t.Fatal(err)
	}
	d.write(name, append(data, text...))
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
