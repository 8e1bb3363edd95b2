package guest

import (
	"context"
	_ "embed" // vm.yaml
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/kernel"
	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/object"
)

//go:embed vm.yaml
var vmRecipe []byte

// Machine is what a virtual machine starts by: files of the cache.
type Machine struct {
	Kernel, Initrd string
	// notes is where it is noted whether KVM runs that kernel here.
	notes string
}

// Parts are what a machine is made of.
type Parts struct {
	// Sources says how packages are found and fetched. Its cache keeps the results.
	Sources source.Options
	// Dir is a folder for the lock, vm.lock, and for notes: the cache's.
	Dir string
	// Agent is the program payload/vmagent.
	Agent string
}

// Build makes the machine's kernel and initramfs, or finds them in the cache. The first
// time it resolves Debian's newest kernel and writes a lock; whoever removes the lock gets
// a newer one.
func Build(ctx context.Context, p Parts) (Machine, error) {
	r, err := recipe.Parse(filepath.Join(p.Dir, "vm.yaml"), vmRecipe)
	if err != nil {
		return Machine{}, err
	}
	l, blobs, err := p.fetch(ctx, r)
	if err != nil {
		return Machine{}, err
	}
	defer blobs.Close()
	pkg, err := blobs.Kernel(r.Medium.Kernel.Deb)
	if err != nil {
		return Machine{}, err
	}
	m := Machine{notes: filepath.Join(p.Dir, "vm.kvm")}
	if m.Kernel, _, err = blobs.File(pkg, "boot/vmlinuz-"+strings.TrimPrefix(pkg, "linux-image-")); err != nil {
		return Machine{}, err
	}
	agent, err := os.ReadFile(p.Agent)
	if err != nil {
		return Machine{}, fmt.Errorf("agent of virtual machines: %w", err)
	}
	locked, ok := l.Lookup("deb:" + pkg)
	if !ok {
		return Machine{}, fmt.Errorf("lock: %q is missing", pkg)
	}
	key := object.OfBytes(fmt.Appendf(nil, "vm initrd\n%s\n%s\n%s", locked.SHA256, object.OfBytes(agent).SHA256, vmRecipe)).SHA256
	m.Initrd, _, err = p.Sources.Cache.Layer(key, func(w io.Writer) error {
		deb, err := blobs.Deb(pkg)
		if err != nil {
			return err
		}
		k, err := kernel.Pick(deb.Walk, r.Medium.Kernel.Modules)
		if err != nil {
			return err
		}
		init := tree.Bytes("init", agent)
		init.Mode = 0o755
		return initramfs.Pack(w, initramfs.Layer{Files: initramfs.FromTree(append(k.Modules, init)...)}, initramfs.Zstd)
	})
	return m, err
}

// fetch brings the kernel's package into the cache: the one in the lock or, where there is
// no lock that fits or no mirror has that package any more, the newest.
func (p Parts) fetch(ctx context.Context, r *recipe.Recipe) (*lock.Lock, *source.Blobs, error) {
	path := lock.PathFor(r.Path)
	sum := lock.RecipeSum([]string{string(vmRecipe)}, nil)
	if l, err := lock.Load(path, sum); err == nil {
		blobs, err := source.Fetch(ctx, r, l, p.Sources)
		if !errors.Is(err, source.ErrGone) {
			return l, blobs, err
		}
	}
	l, err := source.Resolve(ctx, r, nil, p.Sources)
	if err != nil {
		return nil, nil, err
	}
	l.Recipe = sum
	if err := lock.Save(path, l); err != nil {
		return nil, nil, err
	}
	blobs, err := source.Fetch(ctx, r, l, p.Sources)
	return l, blobs, err
}
