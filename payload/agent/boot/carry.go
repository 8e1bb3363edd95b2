package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/cachedisk"
	"github.com/farboot/farboot/payload/agent/carried"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/blockdev"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
)

// Carriage is what it takes of the machine to carry the agent into the next system.
type Carriage struct {
	// Program is the agent's own file, Roots that of the CA certificates.
	Program, Roots string
	// Cards and Devices are carried's.
	Cards   func() []carried.Card
	Devices func() []string
	// Total is how many bytes of memory the machine has, -1 where that is unknown.
	Total func() int64
	// Cache is cachedisk's Find.
	Cache func(ctx context.Context, w cachedisk.Where) (*cachedisk.Found, error)
	// Labelled is carried's.
	Labelled func(ctx context.Context, label string) (local.Volume, error)
}

const (
	// silence is how long nothing may come of an image before its entry has failed.
	// Under the next kernel there is nothing else to be tried, and it is waited for.
	silence = 2 * time.Minute
	// block is how much of an image is copied at a time, in bytes.
	block = 1 << 20
	// reserved is what the firmware and the kernel keep of a machine's memory, which
	// it does not count: a ninth, on the smallest machines.
	reserved = 9
	// carriedRoom is what the agent takes in the next system's initramfs, in bytes,
	// with a document and modules.
	carriedRoom = 20 << 20
)

// carriage is a system on an image on its way to start.
type carriage struct {
	*boot
	job   job
	image *manifest.Carried

	cache   *cachedisk.Found // nil where there is none
	modules *carried.Modules
	picked  []carried.Module
	door    string
	device  string
}

// preflight finds out whether the system can run on this machine, before anything
// large is fetched. Where it can, the carriage is to be closed.
func (b *boot) preflight(ctx context.Context, j job, x *manifest.Carried, wish carried.Wish) (c *carriage, err error) {
	defer b.Story.Stage("preflight")()
	if j.net == nil {
		return nil, fmt.Errorf("%w: the image has to be read", errOffline)
	}
	if total := b.Carriage.Total(); total >= 0 && total+total/reserved < int64(x.Memory)<<20 {
		return nil, fmt.Errorf("%w: the system takes %d MiB, this machine has %d", errMemory, x.Memory, total>>20)
	}
	for _, ref := range x.Image.Refs() {
		if err := b.refuseRevoked(ref.SHA256); err != nil {
			return nil, err
		}
	}
	c = &carriage{boot: b, job: j, image: x}
	c.findCache(ctx)
	defer func(opened *carriage) {
		if err != nil {
			opened.close()
		}
	}(c)
	initrd, err := c.moduleObject(ctx)
	if err != nil {
		return nil, err
	}
	if initrd != nil {
		defer initrd.Close()
		c.modules, err = carried.ReadModules(io.NewSectionReader(initrd, 0, initrd.Size()), x.Release)
	} else {
		c.modules, err = carried.ReadModules(nil, x.Release)
	}
	if err != nil {
		return nil, err
	}
	if c.door, err = c.modules.Door(); err != nil {
		return nil, err
	}
	c.device = blockdev.Default(c.door)
	if c.picked, err = c.modules.Pick(c.wish(wish)); err != nil {
		return nil, err
	}
	var names []string
	for _, m := range c.picked {
		names = append(names, strings.TrimSuffix(m.Name, ".ko"))
	}
	b.Log("preflight: kernel %s; the image becomes %s (%s); modules: %s", x.Release, c.device, c.door, strings.Join(names, " "))
	return c, nil
}

// findCache opens what earlier boots have kept on this machine's disks. Whoever has
// nothing there reads everything from the sites.
func (c *carriage) findCache(ctx context.Context) {
	found, err := c.Carriage.Cache(ctx, c.where())
	switch {
	case err == nil:
		c.cache = found
		c.Log("cache: %s, with %s", found.Name, size(found.Cache.Stats().Bytes))
	case !errors.Is(err, cachedisk.ErrNone):
		c.fail("cache", err)
	}
}

// where is where the cache may be.
func (c *carriage) where() cachedisk.Where {
	w := cachedisk.Where{Build: c.medium.Build}
	if x := c.image.Cache; x != nil {
		w.Label, w.UUID, w.Size = x.Label, x.UUID, int64(x.Size)<<20
	}
	return w
}

// close gives the cache back.
func (c *carriage) close() {
	if c.cache == nil {
		return
	}
	if err := c.cache.Close(); err != nil {
		c.fail("cache", err)
	}
	c.cache = nil
}

// moduleObject fetches the kernel's modules, or returns nil where it needs none.
func (c *carriage) moduleObject(ctx context.Context) (*handover.Memory, error) {
	ref := c.image.Modules
	if ref == nil {
		return nil, nil
	}
	if err := c.fits("reading the kernel's modules", ref.Size); err != nil {
		return nil, err
	}
	m, err := handover.NewMemory("modules")
	if err != nil {
		return nil, err
	}
	wants, err := reserve(nil, m, *ref, "modules")
	if err == nil {
		err = c.fetchAll(ctx, wants, true)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// wish adds what every system on an image needs: the door, and a way to the network
// in use.
func (c *carriage) wish(w carried.Wish) carried.Wish {
	for name := range blockdev.Needs(c.door) {
		w.Must = append(w.Must, name)
	}
	slices.Sort(w.Must)
	use := c.job.net.Use()
	w.Must = append(w.Must, netconf.Modules(c.networks())...)
	for _, card := range c.Carriage.Cards() {
		if card.MAC == use.MAC || use.Bonded {
			w.Cards = append(w.Cards, card)
		}
	}
	if c.cache != nil { // the disk that it lies on has to be found again
		w.Devices = c.Carriage.Devices()
		w.Want = append(w.Want, "vfat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8", "ext4", "usb_storage", "uas", "sd_mod")
	}
	return w
}
