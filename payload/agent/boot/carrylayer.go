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
	"strings"
	"time"

	"github.com/farboot/farboot/payload/agent/carried"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/carry"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/netconf"
	"github.com/farboot/farboot/payload/newc"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/report"
)

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
