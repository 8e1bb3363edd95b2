package boot

import (
	"context"

	"github.com/farboot/farboot/payload/agent/carried"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/newc"
)

// image starts a system whose root file system is an image. It has no initramfs but
// what carries the agent, so that this program mounts the root there: the image, and
// above it what the system writes.
func (b *boot) image(ctx context.Context, j job) error {
	x := j.entry.Image
	if err := b.fits("loading the system's kernel", kernelRoom*x.Kernel.Size+initrdRoom*carriedRoom); err != nil {
		return err
	}
	wish := carried.Wish{Must: []string{x.Fstype, "overlay"}, Devices: b.Carriage.Devices()}
	root := &carry.Root{Entry: j.name, Fstype: x.Fstype, Init: x.Program(), Copy: x.Copy == manifest.CopyRAM}
	if x.Overlay != nil {
		v, err := b.Carriage.Labelled(ctx, x.Overlay.Label)
		if err != nil {
			return err
		}
		b.Log("image: what the system writes is kept on %s", v.Partition)
		root.Label = x.Overlay.Label
		wish.Must = append(wish.Must, "ext4")
	}
	c, err := b.preflight(ctx, j, &x.Carried, wish)
	if err != nil {
		return err
	}
	defer c.close()
	end := b.Story.Stage("obtain")
	k, err := c.obtainImage(ctx, x, root)
	end()
	if err != nil {
		return err
	}
	defer k.Close()
	c.close()
	return c.start(ctx, k)
}

// obtainImage fetches the kernel, and makes the initramfs.
func (c *carriage) obtainImage(ctx context.Context, x *manifest.Image, root *carry.Root) (k handover.Kernel, err error) {
	if k, err = memories(); err != nil {
		return k, err
	}
	defer func() {
		if err != nil {
			k.Close()
		}
	}()
	wants, err := reserve(nil, k.Image, x.Kernel, "kernel")
	if err == nil {
		err = c.fetchAll(ctx, wants, true)
	}
	if err == nil {
		err = c.layer(k.Initrd, root, newc.File{})
	}
	return k, err
}
