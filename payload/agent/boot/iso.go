package boot

import (
	"context"
	"fmt"

	"github.com/farboot/farboot/payload/agent/carried"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/manifest"
)

// isoMemory is what a live system's kernel and initrds take while they load, in bytes,
// beside what is read of the image.
func isoMemory(x *manifest.Iso) int64 {
	n := kernelRoom*x.Kernel.Length() + initrdRoom*carriedRoom + chunks.DefaultLimits().Memory
	for _, p := range x.Initrd {
		n += initrdRoom * p.Length()
	}
	return n
}

// iso starts the live system of an ISO. Its initramfs is as its makers left it, with
// one archive behind it: this program takes the place of /init there, makes the ISO a
// block device and then executes their own.
func (b *boot) iso(ctx context.Context, j job) error {
	x := j.entry.Iso
	if err := b.fits("loading the live system", isoMemory(x)); err != nil {
		return err
	}
	c, err := b.preflight(ctx, j, &x.Carried, carried.Wish{Want: []string{"isofs", "squashfs", "overlay"}})
	if err != nil {
		return err
	}
	defer c.close()
	b.Log("image: %s live system", x.Family)
	end := b.Story.Stage("obtain")
	k, err := c.obtainISO(ctx, x)
	end()
	if err != nil {
		return err
	}
	defer k.Close()
	c.close()
	return c.start(ctx, k)
}

// obtainISO takes kernel and initrds from the image, and adds what carries the agent.
func (c *carriage) obtainISO(ctx context.Context, x *manifest.Iso) (k handover.Kernel, err error) {
	r, err := c.open(ctx)
	if err != nil {
		return k, err
	}
	defer r.Close()
	init, err := c.initOf(ctx, x.Init)
	if err != nil {
		return k, err
	}
	if k, err = memories(); err != nil {
		return k, err
	}
	defer func() {
		if err != nil {
			k.Close()
		}
	}()
	if err = c.part(ctx, r, x.Kernel, "kernel", k.Image); err != nil {
		return k, err
	}
	for i, p := range x.Initrd {
		if err = c.part(ctx, r, p, fmt.Sprintf("initrd %d of %d", i+1, len(x.Initrd)), k.Initrd); err != nil {
			return k, err
		}
	}
	err = c.layer(k.Initrd, nil, init)
	return k, err
}
