//go:build bench

package benchmark

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/kernel"
	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source/deb"
)

// TestCompression compares what the largest layer of the medium, the modules,
// comes down to. farboot compresses in parallel, the others do not: the processor's
// time is what to compare.
func TestCompression(t *testing.T) {
	need(t, "xz", "xz-utils")
	need(t, "zstd", "zstd")
	layer := modulesLayer(t)
	dir := t.TempDir()
	archive := filepath.Join(dir, "modules.cpio")
	pack := func(to string, how initramfs.Compression) func() time.Duration {
		return func() time.Duration {
			out, err := os.Create(to)
			if err == nil {
				err = initramfs.Pack(out, layer, how)
			}
			if err == nil {
				err = out.Close()
			}
			if err != nil {
				t.Fatal(err)
			}
			return 0 // the work is done in this process
		}
	}
	pack(archive, initramfs.None)()
	var contenders []contender
	for _, how := range []initramfs.Compression{initramfs.XZ, initramfs.Zstd} {
		to := filepath.Join(dir, string(how))
		contenders = append(contenders, contender{"farboot, " + string(how), to, 3, nil, pack(to, how)})
	}
	for _, command := range []string{"xz -6", "xz -1", "zstd -19", "gzip -9"} {
		to := filepath.Join(dir, strings.ReplaceAll(command, " ", ""))
		contenders = append(contenders, contender{command, to, 3, nil, shell(t, "%s -c %s >%s", command, archive, to)})
	}
	costs := race(t, contenders)
	whole, xz6 := size(t, archive), size(t, contenders[2].result)
	out := table{title: fmt.Sprintf("Initramfs: the layer of modules, %s as cpio", megabytes(whole))}
	out.row("", "wall", "CPU", "per CPU s", "size", "of xz -6")
	for i, c := range contenders {
		n := size(t, c.result)
		out.row(c.name, seconds(costs[i].wall), seconds(costs[i].cpu), rate(whole, costs[i].cpu), megabytes(n), fmt.Sprintf("%.3fx", float64(n)/float64(xz6)))
	}
	out.print()
}

// modulesLayer returns the layer that the demo medium's modules make.
func modulesLayer(t *testing.T) initramfs.Layer {
	t.Helper()
	d := newDesk(t)
	d.build()
	r, err := recipe.Load(d.path(mediumRecipe))
	if err != nil {
		t.Fatal(err)
	}
	in := slices.MaxFunc(d.lock(mediumRecipe).Inputs, func(a, b lock.Input) int { return cmp.Compare(a.Size, b.Size) })
	f, err := os.Open(d.blob(in.Ref))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pkg, err := deb.Open(f, in.Size)
	if err != nil {
		t.Fatal(err)
	}
	k, err := kernel.Build(pkg.Walk, r.Medium.Kernel.Modules)
	if err != nil {
		t.Fatal(err)
	}
	return initramfs.Layer{Files: initramfs.FromTree(k.Modules...)}
}
