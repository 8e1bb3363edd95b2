package boot

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/cachedisk"
	"github.com/farboot/farboot/payload/agent/carried"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/blockdev"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/newc"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/report"
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

// networks are those of the next system: what the machine has now, as it is, and
// after it the way it came by that, so that what it was lent is asked for again.
func (c *carriage) networks() []netconf.Network {
	use, conf := c.job.net.Use(), c.job.net.Conf()
	conf.Bridge = ""
	if conf.Bond == nil {
		conf.Card = netconf.Card{MAC: use.MAC}
	}
	now := conf
	now.Addresses, now.Gateways, now.DNS, now.IPv4, now.IPv6 = use.Addresses, nil, nil, "", ""
	if len(now.Static(false)) == 0 {
		now.IPv4 = netconf.Off
	}
	if len(now.Static(true)) == 0 {
		now.IPv6 = netconf.Off
	}
	for _, g := range use.Gateways {
		if len(now.Static(g.Is6())) > 0 && !now.Gateway(g.Is6()).IsValid() {
			now.Gateways = append(now.Gateways, g.WithZone(""))
		}
	}
	for _, a := range use.DNS {
		if a.Zone() == "" && netconf.Host(a) {
			now.DNS = append(now.DNS, a)
		}
	}
	if netconf.Check([]netconf.Network{now}) != nil {
		return []netconf.Network{conf} // what cannot be said is asked for anew
	}
	if len(use.Addresses) == len(conf.Addresses) || conf.Bond != nil { // a card is in one bond
		return []netconf.Network{now}
	}
	return []netconf.Network{now, conf}
}

// document says to the agent under the next kernel what it has to know.
func (c *carriage) document(root *carry.Root) ([]byte, error) {
	d := carry.Document{
		Image: c.image.Image, Sites: c.mirrors.Sites(), Networks: c.networks(), Proxy: c.proxy,
		Time: c.clock.Time().Now.UTC().Truncate(time.Second), Door: c.door, Device: c.device, Profile: c.image.Profile, Root: root,
	}
	if urls := c.reportTo(); len(urls) > 0 {
		c.Story.Believes(c.judge.Store().Statement().Version)
		d.Report = &carry.Report{URLs: urls, Story: c.Story.Report(report.HandingOver, c.Identity(), c.clock.Time())}
	}
	if c.cache != nil {
		where := carry.Cache(c.where())
		where.Seen = c.cache.UUID
		if root != nil {
			where.Overlay = root.Label
		}
		d.Cache = &where
	}
	return carry.Encode(d)
}

// layer appends the archive that carries the agent to an initrd.
func (c *carriage) layer(to *handover.Memory, root *carry.Root, init newc.File) error {
	document, err := c.document(root)
	if err != nil {
		return err
	}
	program, err := os.Open(c.Carriage.Program)
	if err != nil {
		return fmt.Errorf("the agent's own program: %w", err)
	}
	defer program.Close()
	info, err := program.Stat()
	if err != nil {
		return err
	}
	roots, err := os.ReadFile(c.Carriage.Roots)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	files := carried.Layer(document, init, c.picked, roots, newc.File{Size: info.Size(), Content: program})
	room, err := to.Append(newc.Size(files))
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(io.NewOffsetWriter(room, 0), block)
	if err := newc.Write(w, files); err != nil {
		return err
	}
	return w.Flush()
}

// initOf returns the /init of the system's own initramfs.
func (c *carriage) initOf(ctx context.Context, i manifest.Init) (newc.File, error) {
	if i.File == nil {
		return newc.File{Mode: newc.Symlink | 0o777, Size: int64(len(i.Link)), Content: strings.NewReader(i.Link)}, nil
	}
	data, err := c.bytes(ctx, "init", *i.File)
	return newc.File{Mode: newc.Regular | 0o755, Size: int64(len(data)), Content: bytes.NewReader(data)}, err
}

// bytes fetches a small object.
func (c *carriage) bytes(ctx context.Context, what string, ref object.Ref) ([]byte, error) {
	m, err := handover.NewMemory(what)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	wants, err := reserve(nil, m, ref, what)
	if err == nil {
		err = c.fetchAll(ctx, wants, true)
	}
	if err != nil {
		return nil, err
	}
	data := make([]byte, ref.Size)
	_, err = m.ReadAt(data, 0)
	return data, err
}

// open opens the image.
func (c *carriage) open(ctx context.Context) (*chunks.Reader, error) {
	config := chunks.Config{Client: c.objects, Sites: c.mirrors, Limits: chunks.DefaultLimits(), Log: c.Log}
	if c.cache != nil {
		config.Cache = c.cache.Cache
	}
	r, err := chunks.Open(ctx, c.image.Image, config)
	if err != nil {
		return nil, err
	}
	c.Log("image: %s", size(r.Size()))
	return r, nil
}

// part copies a file of the image to memory, or fetches it where it is an object.
func (c *carriage) part(ctx context.Context, r *chunks.Reader, p manifest.Part, what string, to *handover.Memory) error {
	room, err := to.Append(p.Length())
	if err != nil {
		return err
	}
	if p.Object != nil {
		return c.fetchAll(ctx, []want{{what: what, ref: *p.Object, to: room}}, true)
	}
	if p.Offset > r.Size()-p.Size {
		return fmt.Errorf("%s: %w: %s would end after the image", what, chunks.ErrImage, p.Path)
	}
	started := time.Now()
	impatient := time.AfterFunc(silence, func() { r.Close() })
	defer impatient.Stop()
	defer context.AfterFunc(ctx, func() { r.Close() })()
	buf := make([]byte, block)
	for done := int64(0); done < p.Size; {
		n := min(p.Size-done, block)
		if _, err := r.ReadAt(buf[:n], p.Offset+done); err != nil {
			if errors.Is(err, fs.ErrClosed) && ctx.Err() == nil {
				err = fmt.Errorf("%w: nothing has come for %s", fetch.ErrUnreachable, silence)
			}
			return fmt.Errorf("%s: %w", what, err)
		}
		if _, err := room.WriteAt(buf[:n], done); err != nil {
			return err
		}
		done += n
		impatient.Reset(silence)
	}
	took := time.Since(started)
	c.Log("obtain: %s: %s of %s from the image in %.1f s (%s)", what, p.Path, size(p.Size), took.Seconds(), rate(p.Size, took))
	return nil
}

// start loads the kernel with an initrd and hands the machine over.
func (c *carriage) start(ctx context.Context, k handover.Kernel) error {
	k.Cmdline = c.image.Line(c.device)
	if c.image.Network {
		var err error
		if k.Cmdline, err = c.job.withNetwork(k.Cmdline); err != nil {
			return err
		}
	}
	if err := seal(k.Image, k.Initrd); err != nil {
		return err
	}
	return c.jump(ctx, c.job, c.kernel(k), time.Duration(c.image.Watchdog)*time.Second)
}

// memories makes room for a kernel and an initrd.
func memories() (k handover.Kernel, err error) {
	if k.Image, err = handover.NewMemory("kernel"); err != nil {
		return k, err
	}
	if k.Initrd, err = handover.NewMemory("initrd"); err != nil {
		return k, errors.Join(err, k.Image.Close())
	}
	return k, nil
}
