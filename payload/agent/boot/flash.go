package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/agent/control"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/flash/disks"
	"github.com/farboot/farboot/payload/flash/tailor"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
	"golang.org/x/sys/unix"
)

// flash writes an image to the machine's disk. A disk that holds it already is
// left alone, and the next entry comes: otherwise a machine whose disk is not what
// it starts from would be written in every boot.
func (b *boot) flash(ctx context.Context, j job) error {
	if err := b.begin(ctx, j); err != nil {
		return err
	}
	p := &posts{boot: b, ctx: ctx, last: time.Now()}
	defer p.group.Wait()
	told := time.Now()
	result, err := b.write(ctx, j, disks.Rule(j.entry.Flash.Disk), func(text string) {
		b.Story.Status(text)
		if p.now(); time.Since(told) >= b.limits.News {
			told = time.Now()
			b.Log("flash: %s", text)
		}
	})
	if err != nil {
		b.Story.Status(err.Error())
		return err
	}
	text := written(result)
	b.Story.Status(text)
	b.Log("flash: %s", text)
	if result.Already != "" {
		return errDone
	}
	p.group.Wait() // so that an earlier report does not come after a later one
	return b.then(ctx, j)
}

// written says for people what became of a disk.
func written(r flash.Result) string {
	if r.Already != "" {
		return report.LeftAlone + r.Already
	}
	return fmt.Sprintf("%s written, %s"+report.Kept+"%.0f s", size(r.Written), size(r.Kept), r.Took.Seconds())
}

// posts reports from time to time how far a long work is, beside that work.
type posts struct {
	boot  *boot
	ctx   context.Context
	last  time.Time
	group sync.WaitGroup
}

// now posts a report where the last one is long ago.
func (p *posts) now() {
	if time.Since(p.last) < p.boot.limits.Reports {
		return
	}
	p.last = time.Now()
	p.group.Wait() // it is bounded, and long over
	p.group.Add(1)
	guard.Go("reporting", func() error { p.boot.post(p.ctx, report.Working); return nil }, func(err error) {
		guard.Tell(err, p.boot.Log)
		p.group.Done()
	})
}

// write writes the image of a flash entry to the disk that a rule means.
func (b *boot) write(ctx context.Context, j job, rule disks.Rule, progress func(text string)) (flash.Result, error) {
	defer b.Story.Stage("flash")()
	x := j.entry.Flash
	if j.net == nil {
		return flash.Result{}, fmt.Errorf("%w: an image is fetched while it is written", errOffline)
	}
	index, err := b.index(ctx, j)
	if err != nil {
		return flash.Result{}, err
	}
	all, err := b.Disks()
	if err != nil {
		return flash.Result{}, err
	}
	disk, err := disks.Choose(all, rule, index.Size())
	if err != nil {
		return flash.Result{}, err
	}
	if err := b.refuseRevoked(x.Image.SHA256); err != nil {
		return flash.Result{}, err
	}
	files, done, err := b.flashFiles(ctx, j)
	defer done()
	if err != nil {
		return flash.Result{}, err
	}
	b.Log("flash: %s, from an image of %s", disk, size(index.Size()))
	job := flash.Job{
		Index: index, Format: x.Format, Source: b.mirrors.Stream(x.Image), Again: x.Again, Grow: x.Grow, Files: files,
		Log:      func(format string, args ...any) { b.Log("flash: "+format, args...) },
		Progress: func(p flash.Progress) { progress(far(disk, p)) },
	}
	end, err := b.receive(ctx, j, &job)
	if err != nil {
		return flash.Result{}, err
	}
	result, err := b.Flash(ctx, disk.Node, job)
	end(err)
	if errors.Is(err, unix.ENOSPC) {
		err = fmt.Errorf("%w: %w", errDiskFull, err)
	}
	return result, err
}

// far says for people how far a flash is.
func far(d disks.Disk, p flash.Progress) string {
	text := fmt.Sprintf("%s: %s", d.Name, p.Stage)
	if p.Total > 0 {
		text += fmt.Sprintf(", %d %% of %s", p.Done*100/p.Total, size(p.Total))
	}
	if p.Rate > 0 {
		text += ", " + size(p.Rate) + "/s"
	}
	return text
}

// index fetches the index of a flash entry's image. It takes three times its size:
// as it came, as bytes, and as chunks.
func (b *boot) index(ctx context.Context, j job) (*caibx.Index, error) {
	ref := j.entry.Flash.Index
	if err := b.fits("the image's index", 3*ref.Size); err != nil {
		return nil, err
	}
	f, err := b.download(ctx, j, "index", ref)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, ref.Size))
	if err != nil {
		return nil, err
	}
	return caibx.Decode(data)
}

// flashFiles returns the files that are put into an image; done gives them back.
func (b *boot) flashFiles(ctx context.Context, j job) (files []tailor.File, done func(), err error) {
	var open []io.Closer
	done = func() {
		for _, c := range open {
			c.Close() // it lies in memory
		}
	}
	for _, x := range j.entry.Flash.Files {
		text, err := x.Text(j.machine.Env)
		if err != nil {
			return nil, done, err
		}
		content := io.Reader(strings.NewReader(text))
		if x.Object != nil {
			f, err := b.download(ctx, j, x.Path, *x.Object)
			if err != nil {
				return nil, done, err
			}
			open = append(open, f)
			content = io.NewSectionReader(f, 0, x.Object.Size)
		}
		files = append(files, tailor.File{Partition: x.Partition, Path: x.Path, Mode: fs.FileMode(x.Mode), Content: content})
	}
	return files, done, nil
}

// flashOther writes what a flash entry names for somebody in the toolbox: to the
// entry's own disk, or to the one with that serial number or wwid.
func (b *boot) flashOther(ctx context.Context, j job, name, disk string, progress func(text string)) error {
	other, err := j.find(name)
	if err != nil {
		return err
	}
	if other.entry.Flash == nil {
		return fmt.Errorf("%w: %q is no flash entry", manifest.ErrMalformed, name)
	}
	rule := disks.Rule(other.entry.Flash.Disk)
	if disk != "" {
		if rule, err = b.named(disk); err != nil {
			return err
		}
	}
	result, err := b.write(ctx, other, rule, progress)
	if err != nil {
		return err
	}
	progress(written(result))
	return nil
}

// named returns the rule for a disk by its serial number or wwid.
func (b *boot) named(disk string) (disks.Rule, error) {
	all, err := b.Disks()
	if err != nil {
		return disks.Rule{}, err
	}
	if slices.ContainsFunc(all, func(d disks.Disk) bool { return d.Serial == disk }) {
		return disks.Rule{Serial: disk}, nil
	}
	return disks.Rule{ID: disk}, nil
}

// listDisks tells somebody in the toolbox which disks there are.
func (b *boot) listDisks() ([]control.Disk, error) {
	all, err := b.Disks()
	var list []control.Disk
	for _, d := range all {
		list = append(list, control.Disk{
			Node: d.Node, Model: d.Model, Serial: d.Serial, ID: append(d.IDs, "")[0], Size: d.Size, Bar: d.Bar(),
		})
	}
	return list, err
}
