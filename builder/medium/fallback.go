package medium

import (
	"fmt"
	"slices"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/stock"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
)

// maxFallback bounds what the fallback entries bring with them, in bytes. All of
// it lies in a machine's memory twice while the kernel unpacks it and once from
// then on, and GRUB has to find a place for it below 2 GiB (initrd_addr_max in
// Documentation/arch/x86/boot.rst).
const maxFallback = 1 << 30

// fallback is what the medium carries for the time when no site can be had.
//
// Its objects are a layer of the initramfs: they are there whatever medium the
// machine started from, the network included, and no driver for that medium has
// to work first. Debian's installer, 49 MB, costs as much of the memory; read
// from a stick it would cost none, but be out of reach where the stick is.
type fallback struct {
	entries []manifest.Entry
	// objects are the files behind the entries, each once, in their order.
	objects []carried
}

// carried is one object on the medium.
type carried struct {
	object.Ref
	name, path string // as the recipe calls it; where its bytes are
}

// objects looks up, or makes, what the recipe's fallback entries name and the
// toolbox.
func (c *composer) objects() error {
	list := c.Recipe.Medium.Fallback
	if len(list) == 0 && c.Recipe.Medium.Toolbox == nil {
		return nil
	}
	made := stock.New(c.ctx, stock.Parts{Recipe: c.Recipe, Lock: c.Lock, Blobs: c.Blobs, Cache: c.Cache, Warn: c.Warn})
	for i, e := range list {
		entry, err := e.Manifest(made)
		if err != nil {
			return err
		}
		for _, ref := range entry.Refs() {
			file, _ := made.File(ref)
			if err := c.carry(carried{ref, file.Name, file.Path}, fmt.Sprintf("fallback[%d]", i)); err != nil {
				return err
			}
		}
		c.fallback.entries = append(c.fallback.entries, entry)
	}
	return c.toolbox(made)
}

// carry takes an object along, unless it is revoked.
func (c *composer) carry(o carried, field string) error {
	if err := c.allowed(o.name, o.SHA256); err != nil {
		return c.Recipe.Mistake(field, "", "%v", err)
	}
	if slices.ContainsFunc(c.fallback.objects, func(have carried) bool { return have.Ref == o.Ref }) {
		return nil
	}
	c.fallback.objects = append(c.fallback.objects, o)
	total := int64(0)
	for _, o := range c.fallback.objects {
		total += o.Size
	}
	if total > maxFallback {
		return c.Recipe.Mistake(field, "", "%s: %d bytes with all before it; at most %d fit", o.name, total, maxFallback)
	}
	return nil
}

// fallbackLayer holds the objects, named by their hash. It is not compressed:
// kernels and initrds are already.
func (c *composer) fallbackLayer() (tree.File, object.Ref, error) {
	if len(c.fallback.objects) == 0 {
		return tree.Bytes(initrdPath, nil), object.OfBytes(nil), nil
	}
	refs := make([]object.Ref, len(c.fallback.objects))
	for i, o := range c.fallback.objects {
		refs[i] = o.Ref
	}
	return c.layerAs(initramfs.None, keyOf("fallback", refs, c.m.Epoch), func() ([]initramfs.File, error) {
		var files []initramfs.File
		for _, o := range c.fallback.objects {
			// Here it has the name that the recipe gives it.
			if err := leak.File(o.name, o.path); err != nil {
				return nil, err
			}
			f, err := fromCache(objectPath(o.SHA256), o.path)
			if err != nil {
				return nil, err
			}
			files = append(files, initramfs.FromTree(f)...)
		}
		return files, nil
	})
}

// modules returns what the recipe asks for, and what its other keys need.
func modules(r *recipe.Medium) []string {
	want := slices.Concat(r.Kernel.Modules, netconf.Modules(r.Networks))
	if r.Toolbox != nil {
		want = append(want, "toolbox")
	}
	for _, e := range r.Fallback {
		if e.Local != nil && !e.Local.Firmware {
			want = append(want, "storage", "filesystems")
		}
		if e.Live != nil {
			want = append(want, "xen")
		}
		if e.Live != nil && e.Live.Storage {
			want = append(want, "storage", "filesystems")
		}
		if e.Linux != nil && e.Linux.Watchdog != 0 || e.Xen != nil && e.Xen.Watchdog != 0 {
			want = append(want, "watchdog")
		}
	}
	var once []string
	for _, m := range want {
		if !slices.Contains(once, m) {
			once = append(once, m)
		}
	}
	return once
}
