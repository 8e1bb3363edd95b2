package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// errQuiet says that the cards are off already: the round is over.
var errQuiet = errors.New("the network is down for the hand-over")

// start obtains the entry and hands over to it. It returns nil only where the
// next kernel was started.
func (b *boot) start(ctx context.Context, net Network, name string, a *accept.Accepted) error {
	e, err := a.Entry(name)
	if err != nil {
		return err
	}
	if e.Linux == nil {
		return fmt.Errorf("%w: %q", errKind, e.Unknown)
	}
	if !b.dropped {
		b.dropped = true
		if err := b.Drop(); err != nil {
			b.fail("hardware", err)
		}
	}
	if err := b.fits(e.Linux); err != nil {
		return err
	}
	k, err := b.obtain(ctx, e.Linux)
	if err != nil {
		return err
	}
	defer k.Close()
	started := time.Now()
	if err := b.Load(k); err != nil {
		return err
	}
	b.Log("load: %s in %.1f s", size(k.Size()), time.Since(started).Seconds())
	if err := b.remember(a); err != nil {
		return err
	}
	b.Log("handing over: %s %s", name, e.Title)
	b.Log("command line: %s", k.Cmdline)
	b.Flush(b.limits.Flush)
	net.Quiet()
	if err := b.Execute(); err != nil {
		return fmt.Errorf("%w: %w", errQuiet, err)
	}
	return nil
}

// spareMemory is what must stay free while a kernel is loaded, in bytes: for the
// agent itself and the buffers of its connections.
const spareMemory = 16 << 20

// fits tells before the download whether the memory will do. The kernel needs
// three times the bytes while it loads: what the agent holds, a copy to read
// from (kernel_read_file in kernel/kexec_file.c) and the place they go to.
func (b *boot) fits(l *manifest.Linux) error {
	need := l.Kernel.Size
	for _, ref := range l.Initrd {
		need += ref.Size
	}
	need = 3*need + spareMemory
	if free := b.Available(); free >= 0 && free < need {
		return fmt.Errorf("%w: kernel and initrd need %s to be loaded, %s are free", errMemory, size(need), size(free))
	}
	return nil
}

// want is an object that an entry needs.
type want struct {
	what string // for the log: "kernel"
	ref  object.Ref
	to   io.WriterAt
}

// obtain fetches kernel and initrds into sealed memory.
func (b *boot) obtain(ctx context.Context, l *manifest.Linux) (_ handover.Kernel, err error) {
	k := handover.Kernel{Cmdline: l.Cmdline}
	defer func() {
		if err != nil {
			k.Close()
		}
	}()
	if k.Image, err = handover.NewMemory("kernel"); err != nil {
		return k, err
	}
	wants, err := reserve(nil, k.Image, l.Kernel, "kernel")
	if len(l.Initrd) > 0 && err == nil {
		k.Initrd, err = handover.NewMemory("initrd")
	}
	for i, ref := range l.Initrd {
		if err == nil {
			wants, err = reserve(wants, k.Initrd, ref, fmt.Sprintf("initrd %d of %d", i+1, len(l.Initrd)))
		}
	}
	if err == nil {
		err = b.fetchAll(ctx, wants)
	}
	if err == nil {
		err = k.Image.Seal()
	}
	if err == nil && k.Initrd != nil {
		err = k.Initrd.Seal()
	}
	return k, err
}

// reserve makes room for an object in memory and adds it to what is wanted.
func reserve(wants []want, in *handover.Memory, ref object.Ref, what string) ([]want, error) {
	to, err := in.Append(ref.Size)
	return append(wants, want{what: what, ref: ref, to: to}), err
}

// fetchAll fetches objects, some at a time, and ends with the first that cannot
// be had.
func (b *boot) fetchAll(ctx context.Context, wants []want) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, b.limits.Objects.Parallel)
	var group sync.WaitGroup
	for _, w := range wants {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			if err := b.fetch(ctx, w); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// fetch fetches one object from whichever mirrors do best.
func (b *boot) fetch(ctx context.Context, w want) error {
	started := time.Now()
	if err := b.mirrors.Object(ctx, w.ref, w.to, b.progress(w.what, w.ref.Size)); err != nil {
		return fmt.Errorf("%s: %w", w.what, err)
	}
	took := time.Since(started)
	b.Log("obtain: %s: %s in %.1f s (%s)%s, sha256 %.16s",
		w.what, size(w.ref.Size), took.Seconds(), rate(w.ref.Size, took), b.origins.of(w.ref), w.ref.SHA256)
	return nil
}

// progress returns a function that tells now and then how far a download is.
func (b *boot) progress(what string, total int64) func(done int64) {
	told := time.Now()
	return func(done int64) {
		if time.Since(told) < b.limits.News {
			return
		}
		told = time.Now()
		b.Log("obtain: %s: %s of %s", what, size(done), size(total))
	}
}

// size shows bytes for people, in units of 1000 as links and disks are sold.
func size(n int64) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

// rate shows bytes per second.
func rate(n int64, d time.Duration) string {
	return size(int64(float64(n)/max(d.Seconds(), 1e-3))) + "/s"
}
