// Package kernel takes a kernel and the modules that a recipe asks for out of
// a Debian package.
//
// The one call is [Build]. It reads the package once, chooses the modules of
// the named sets with all that they depend on, and writes the index that the
// machine loads them by (payload/modules). Dependencies and aliases come from
// each module's .modinfo, since the package has no modules.dep: its
// maintainer script would run depmod, and no such script runs here.
//
// The same package and sets give the same result. Modules keep their bytes, so
// that their signatures hold; compressed ones (.ko.xz, .ko.zst, .ko.gz) are
// unpacked first, which their signatures do not cover.
//
// Firmware is not packed. [Kernel.Firmware] lists what the chosen modules may
// ask for.
package kernel

import (
	"archive/tar"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/modules"
)

// Kernel is what a package yields.
type Kernel struct {
	// Release is what "uname -r" will say: "6.1.0-56-amd64".
	Release string
	// Image is the bzImage.
	Image []byte
	// Modules are the files under lib/modules/<release>/: the chosen modules
	// in kernel/ and the index, sorted by path.
	Modules []tree.File
	// builtin has the names of what the kernel needs no module for.
	builtin map[string]bool
	// Firmware are the names that the chosen modules declare, sorted, relative
	// to lib/firmware/. No module needs all of its names.
	Firmware []string
}

// Build reads a kernel package through walk, which calls its argument with
// each file in order, as deb.Package's Walk does. want lists names of [Sets]
// and of single modules; what every medium needs is added.
func Build(walk func(func(*tar.Header, io.Reader) error) error, want []string) (*Kernel, error) {
	return buildWith(walk, want, baseSet(), false)
}

// Pick is [Build] for a machine that is no medium's: there is nothing but what is
// in want, and what that needs.
func Pick(walk func(func(*tar.Header, io.Reader) error) error, want []string) (*Kernel, error) {
	return buildWith(walk, want, set{}, false)
}

// Any is [Build] for a kernel of somebody else: of the sets and modules in want it
// takes those that the kernel has. [Kernel.Has] tells which these are. Beside the
// index lies modules.builtin, with the names of what needs no module.
func Any(walk func(func(*tar.Header, io.Reader) error) error, want []string) (*Kernel, error) {
	return buildWith(walk, want, baseSet(), true)
}

// Has tells whether a module is among the chosen ones, or built into the kernel.
func (k *Kernel) Has(name string) bool {
	return k.builtin[fold(name)] || slices.ContainsFunc(k.Modules, func(f tree.File) bool { return modules.Name(path.Base(f.Path)) == fold(name) })
}

func buildWith(walk func(func(*tar.Header, io.Reader) error) error, want []string, always set, lenient bool) (*Kernel, error) {
	p, err := read(walk)
	if err != nil {
		return nil, err
	}
	defer p.spool.Close()
	if lenient {
		want = slices.DeleteFunc(slices.Clone(want), func(name string) bool {
			_, err := p.named(name)
			return err != nil
		})
	}
	chosen, err := p.choose(want, always)
	if err != nil {
		return nil, err
	}
	files, err := p.index(chosen)
	if err != nil {
		return nil, err
	}
	k := &Kernel{Release: p.release, Image: p.image, builtin: p.builtin}
	for _, m := range chosen {
		data, err := p.content(m)
		if err != nil {
			return nil, err
		}
		files = append(files, tree.Bytes(m.path, data))
		k.Firmware = append(k.Firmware, m.info.firmware...)
	}
	for _, f := range files {
		f.Path = "lib/modules/" + p.release + "/" + f.Path
		k.Modules = append(k.Modules, f)
	}
	if lenient {
		k.Modules = append(k.Modules, tree.Bytes("lib/modules/"+p.release+"/modules.builtin", []byte(p.builtinText())))
	}
	slices.SortFunc(k.Modules, func(a, b tree.File) int { return strings.Compare(a.Path, b.Path) })
	slices.Sort(k.Firmware)
	k.Firmware = slices.Compact(k.Firmware)
	return k, nil
}

// builtinText lists what is built in as the kernel's build does; the folders are lost.
// Aliases with wildcards are not for names of files.
func (p *pkg) builtinText() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(p.builtin)) {
		if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == "" {
			b.WriteString("kernel/" + name + ".ko\n")
		}
	}
	return b.String()
}

// index writes depmod's files for the chosen modules and holds them to the
// code that reads them on the machine.
func (p *pkg) index(chosen []*module) ([]tree.File, error) {
	dep, alias, softdep := p.depText(chosen), p.aliasText(chosen), softdepText(chosen)
	x, err := modules.Parse(dep, alias, softdep)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", p.release, err)
	}
	for _, m := range chosen {
		if _, err := x.Order(m.name); err != nil {
			return nil, fmt.Errorf("kernel %s: %w", p.release, err)
		}
	}
	return []tree.File{
		tree.Bytes(modules.DepFile, []byte(dep)),
		tree.Bytes(modules.AliasFile, []byte(alias)),
		tree.Bytes(modules.SoftdepFile, []byte(softdep)),
	}, nil
}
