package boot

import (
	"context"
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// xenMemory is what Xen with its modules takes, in bytes: twice theirs while it
// loads, which are what the agent holds and the place they go to. Xen itself is
// unpacked, to some three times its size, in a buffer that grows.
func xenMemory(x *manifest.Xen) int64 {
	return 2*sum((manifest.Entry{Xen: x}).Refs()) + 10*x.Hypervisor.Size
}

// xen obtains Xen with its modules and starts it.
func (b *boot) xen(ctx context.Context, j job) error {
	e := j.entry.Xen
	if err := b.fits("loading Xen and its modules", xenMemory(e)); err != nil {
		return err
	}
	end := b.Story.Stage("obtain")
	x, err := b.obtainXen(ctx, e, j.net != nil)
	end()
	defer x.Close()
	if err != nil {
		return err
	}
	if e.Network {
		if x.Cmdline, err = j.withNetwork(x.Cmdline); err != nil {
			return err
		}
	}
	b.Log("Xen's options: %s", x.Options)
	s := next{func() error { return b.LoadXen(x) }, x.Size(), x.Cmdline}
	return b.jump(ctx, j, s, time.Duration(e.Watchdog)*time.Second)
}

// obtainXen fetches all parts into sealed memory, as obtain does. What it returns
// is to be closed, also where it failed.
func (b *boot) obtainXen(ctx context.Context, e *manifest.Xen, online bool) (x handover.Xen, err error) {
	x = handover.Xen{Options: e.Options, Cmdline: e.Cmdline}
	var wants []want
	var all []*handover.Memory
	memory := func(what string, refs ...object.Ref) (m *handover.Memory) {
		if err != nil || len(refs) == 0 {
			return nil
		}
		if m, err = handover.NewMemory(what); err != nil {
			return nil
		}
		all = append(all, m)
		for i, ref := range refs {
			name := what
			if len(refs) > 1 {
				name = fmt.Sprintf("%s %d of %d", what, i+1, len(refs))
			}
			if wants, err = reserve(wants, m, ref, name); err != nil {
				break
			}
		}
		return m
	}
	x.Hypervisor = memory("hypervisor", e.Hypervisor)
	x.Kernel = memory("kernel", e.Kernel)
	x.Initrd = memory("initrd", e.Initrd...)
	for i, m := range e.Modules {
		x.Modules = append(x.Modules, handover.XenModule{Data: memory(fmt.Sprintf("module %d", i+1), m.Object), Args: m.Args})
	}
	if err == nil {
		err = b.fetchAll(ctx, wants, online)
	}
	if err == nil {
		err = seal(all...)
	}
	return x, err
}
