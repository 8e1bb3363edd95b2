package medium

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/builder/initramfs"
	"github.com/farboot/farboot/builder/leak"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/tree"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/trust"
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

// fallbackEntries looks up what the recipe's fallback entries name.
func (c *composer) fallbackEntries() error {
	list := c.Recipe.Medium.Fallback
	if len(list) == 0 {
		return nil
	}
	store, err := trust.Anchor(c.Statement, c.Signatures)
	if err != nil {
		return fmt.Errorf("medium: %w", err)
	}
	for _, e := range list {
		entry, err := e.Manifest(func(in recipe.Input) (object.Ref, error) { return c.carry(store, in) })
		if err != nil {
			return err
		}
		c.fallback.entries = append(c.fallback.entries, entry)
	}
	return nil
}

// carry takes an input along, unless its bytes are revoked: no machine would
// start them.
func (c *composer) carry(store *trust.Store, in recipe.Input) (object.Ref, error) {
	fail := func(format string, args ...any) (object.Ref, error) {
		return object.Ref{}, &recipe.Error{Path: c.Recipe.Path, Line: in.Line, Field: "fallback", Msg: fmt.Sprintf(format, args...)}
	}
	path, ref, err := c.Blobs.Path(in)
	if err != nil {
		return object.Ref{}, err
	}
	if r, revoked := store.Revokes(ref.SHA256); revoked {
		return fail("%s is revoked since %s: %s", in.Name(), r.Since.Format(time.DateOnly), r.Reason)
	}
	if slices.ContainsFunc(c.fallback.objects, func(o carried) bool { return o.Ref == ref }) {
		return ref, nil
	}
	c.fallback.objects = append(c.fallback.objects, carried{ref, in.Name(), path})
	total := int64(0)
	for _, o := range c.fallback.objects {
		total += o.Size
	}
	if total > maxFallback {
		return fail("%d bytes with all before it; at most %d fit", total, maxFallback)
	}
	return ref, nil
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
			f, err := fromCache(path.Join(strings.TrimPrefix(settings.ObjectDir, "/"), o.SHA256.String()), o.path)
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
	for _, e := range r.Fallback {
		if e.Local != nil && !e.Local.Firmware {
			want = append(want, "storage", "filesystems")
		}
		if e.Linux != nil && e.Linux.Watchdog != 0 {
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
