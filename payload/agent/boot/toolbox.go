package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/farboot/farboot/payload/agent/control"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/live"
	"github.com/farboot/farboot/payload/agent/script"
	"github.com/farboot/farboot/payload/agent/toolbox"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/settings"
)

// Tools is a toolbox that is open, with what can be done in it.
type Tools interface {
	// Listen is control.Listen.
	Listen(h control.Handlers) (Asker, error)
	// Script is script.Run.
	Script(ctx context.Context, c script.Config) (script.Result, error)
	// Login opens a port, for a Door whose Serve closes it.
	Login(l Login) (Door, error)
	// Live is live.Start.
	Live(ctx context.Context, c live.Config) (Living, error)
	Close() error
}

// Asker is control's Server: what programs in the toolbox ask for.
type Asker interface {
	Asked() <-chan struct{}
	Next() (control.Next, bool)
	Close()
}

// workshop is a toolbox that an entry works in.
type workshop struct {
	Tools
	asker  Asker
	boot   *boot
	closed bool
}

// workshop opens the toolbox for an entry, and listens to what is asked for there.
func (b *boot) workshop(ctx context.Context, j job, ref *object.Ref) (*workshop, error) {
	defer b.Story.Stage("toolbox")()
	image, err := b.toolbox(ctx, j, ref)
	if err != nil {
		return nil, err
	}
	defer image.Close()
	tools, err := b.Tools(ctx, image)
	if err != nil {
		return nil, err
	}
	asker, err := tools.Listen(b.handlers(j))
	if err != nil {
		return nil, errors.Join(err, tools.Close())
	}
	return &workshop{Tools: tools, asker: asker, boot: b}, nil
}

// close takes the toolbox down. What stays of it must not keep the machine from
// what comes next.
func (w *workshop) close() {
	if w.closed {
		return
	}
	w.closed = true
	w.asker.Close()
	if err := w.Close(); err != nil {
		w.boot.fail("toolbox", err)
	}
}

// toolbox returns the verified image of a toolbox: the entry's, or the medium's.
func (b *boot) toolbox(ctx context.Context, j job, ref *object.Ref) (*os.File, error) {
	if ref == nil && b.medium.Toolbox == nil {
		return nil, fmt.Errorf("%w: neither the entry nor the medium names one", toolbox.ErrNone)
	}
	open := b.Objects.Open
	if ref == nil {
		ref = &b.medium.Toolbox.Ref
		if b.medium.Toolbox.Place == settings.PlaceMedium {
			open = b.onMedium
		}
	}
	if err := b.refuseRevoked(ref.SHA256); err != nil {
		return nil, err
	}
	f, err := verified(open, *ref)
	switch {
	case err == nil:
		b.Log("toolbox: %s from the medium, sha256 %.16s", size(ref.Size), ref.SHA256)
		return f, nil
	case j.net == nil:
		return nil, fmt.Errorf("toolbox: %w", err)
	case !errors.Is(err, fs.ErrNotExist):
		b.fail("toolbox", err)
	}
	return b.download(ctx, j, "toolbox", *ref)
}

// onMedium opens an object that lies on the medium itself, not in memory.
func (b *boot) onMedium(name string) (fs.File, error) {
	return b.OnMedium(path.Join(rooted(settings.ObjectDir), name))
}

// verified opens a file that is named by its hash, and reads it once to see that it
// is the right one.
func verified(open func(name string) (fs.File, error), ref object.Ref) (*os.File, error) {
	opened, err := open(ref.SHA256.String())
	if err != nil {
		return nil, err
	}
	f, ok := opened.(*os.File)
	if !ok {
		return nil, errors.Join(fmt.Errorf("object %s: not a file of this system", ref.SHA256), opened.Close())
	}
	_, err = io.Copy(io.Discard, object.NewReader(f, ref))
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", errDamaged, err), f.Close())
	}
	return f, nil
}

// download fetches an object into memory that nobody can change any more.
func (b *boot) download(ctx context.Context, j job, what string, ref object.Ref) (*os.File, error) {
	if err := b.fits("the "+what, ref.Size); err != nil {
		return nil, err
	}
	m, err := handover.NewMemory(what)
	if err != nil {
		return nil, err
	}
	to, err := m.Append(ref.Size)
	if err == nil {
		err = b.fetch(ctx, want{what: what, ref: ref, to: to}, j.net != nil)
	}
	if err == nil {
		err = m.Seal()
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m.File(), nil
}

// info is what programs in the toolbox are told.
func (b *boot) info(j job) control.Info {
	id := b.Identity()
	info := control.Info{
		Entry: j.name, Machine: report.Of(id).ID(), MACs: id.MACs, UUID: id.UUID, Serial: id.Serial,
		Medium: b.medium.Build, Statement: b.judge.Store().Statement().Version,
	}
	if j.from != nil {
		info.Site, info.Version = b.site, j.from.Manifest.Version
	}
	return info
}

// handlers do what programs in the toolbox ask for.
func (b *boot) handlers(j job) control.Handlers {
	return control.Handlers{
		Info: func() control.Info { return b.info(j) },
		Entry: func(name string) error {
			_, err := j.find(name)
			return err
		},
		Fetch: func(ctx context.Context, name string, to *os.File, progress func(done, total int64)) error {
			ref, err := j.object(name)
			if err != nil {
				return err
			}
			w := want{what: name, ref: ref, to: to, progress: func(done int64) { progress(done, ref.Size) }}
			return b.fetch(ctx, w, j.net != nil)
		},
		Report: func(text string) error {
			for line := range strings.Lines(text) {
				b.Story.Note(line)
			}
			if j.net != nil {
				b.post(context.Background(), report.Working)
			}
			return nil
		},
		Flash: func(ctx context.Context, entry, disk string, progress func(text string)) error {
			return b.flashOther(ctx, j, entry, disk, progress)
		},
		Disks: b.listDisks,
	}
}

// object returns an object that the entry's manifest names.
func (j job) object(name string) (object.Ref, error) {
	if j.from != nil {
		return j.from.Object(name)
	}
	carried := manifest.Manifest{Entries: map[string]manifest.Entry{j.name: j.entry}}
	if ref, ok := carried.Object(name); ok {
		return ref, nil
	}
	return object.Ref{}, fmt.Errorf("%w: the entry on the medium names no object %q", errNoEntry, name)
}
