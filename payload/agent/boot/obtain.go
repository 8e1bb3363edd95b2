package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

// spareMemory is what must stay free while a kernel is loaded, in bytes: for the
// agent itself and the buffers of its connections.
const spareMemory = 16 << 20

// How often its own size a file takes in memory while kexec loads it: what the agent
// holds, a copy to read from (kernel_read_file in kernel/kexec_file.c) and the place
// it goes to. That place is for a kernel as large as it says it gets once unpacked
// (init_size, Documentation/x86/boot.rst), and all of it is allocated at once: 66.7 MB
// for Debian's of 8.2. Too little ends in a panic, since nothing can be killed.
const (
	kernelRoom = 10
	initrdRoom = 3
)

// linuxMemory is what a kernel with its initrds takes while it loads, in bytes.
func linuxMemory(l *manifest.Linux) int64 { return kernelRoom*l.Kernel.Size + initrdRoom*sum(l.Initrd) }

// sum is the size of objects, in bytes.
func sum(refs []object.Ref) int64 {
	var all int64
	for _, ref := range refs {
		all += ref.Size
	}
	return all
}

// fits tells before the download whether the memory will do for what takes so many
// bytes. Drivers that nothing asked for are dropped only where that helps: it takes
// the best part of a second on a slow machine, and what is plugged in later needs
// its driver.
func (b *boot) fits(what string, need int64) error {
	need += spareMemory
	free := b.Available()
	if free >= 0 && free < need && b.spare {
		b.spare = false
		if err := b.Drop(); err != nil {
			b.fail("hardware", err)
		}
		free = b.Available()
	}
	if free >= 0 && free < need {
		return fmt.Errorf("%w: %s takes %s, %s are free", errMemory, what, size(need), size(free))
	}
	return nil
}

// want is an object that an entry needs.
type want struct {
	what string // for the log: "kernel"
	ref  object.Ref
	to   io.WriterAt
	// progress, where not nil, is told how many bytes are there, in the place of
	// the log.
	progress func(done int64)
}

// obtain fetches kernel and initrds into sealed memory, from the medium or, where
// there is a network to ask them by, from the sites.
func (b *boot) obtain(ctx context.Context, l *manifest.Linux, online bool) (_ handover.Kernel, err error) {
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
		err = b.fetchAll(ctx, wants, online)
	}
	if err == nil {
		err = seal(k.Image, k.Initrd)
	}
	return k, err
}

// seal freezes what was fetched; nil is nothing.
func seal(all ...*handover.Memory) error {
	for _, m := range all {
		if m == nil {
			continue
		}
		if err := m.Seal(); err != nil {
			return err
		}
	}
	return nil
}

// reserve makes room for an object in memory and adds it to what is wanted.
func reserve(wants []want, in *handover.Memory, ref object.Ref, what string) ([]want, error) {
	to, err := in.Append(ref.Size)
	return append(wants, want{what: what, ref: ref, to: to}), err
}

// fetchAll fetches objects, some at a time, and ends with the first that cannot
// be had.
func (b *boot) fetchAll(ctx context.Context, wants []want, online bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	slots := make(chan struct{}, b.limits.Objects.Parallel)
	var group sync.WaitGroup
	for _, w := range wants {
		slots <- struct{}{}
		group.Add(1)
		guard.Go(w.what, func() error { return b.fetch(ctx, w, online) }, func(err error) {
			if err != nil {
				cancel(err)
			}
			<-slots
			group.Done()
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// carried copies an object from the medium. Where it does not lie there the error
// is fs.ErrNotExist. Other bytes, because the medium is worn out, are errDamaged.
func (b *boot) carried(w want) error {
	f, err := b.Objects.Open(w.ref.SHA256.String())
	if err != nil {
		return fmt.Errorf("%s on the medium: %w", w.what, err)
	}
	defer f.Close()
	_, err = io.Copy(io.NewOffsetWriter(w.to, 0), object.NewReader(f, w.ref))
	if err != nil {
		return fmt.Errorf("%s: %w: %w", w.what, errDamaged, err)
	}
	b.Log("obtain: %s: %s from the medium, sha256 %.16s", w.what, size(w.ref.Size), w.ref.SHA256)
	return nil
}

// fetch takes one object from the medium or, online, from whichever mirrors do
// best.
func (b *boot) fetch(ctx context.Context, w want, online bool) error {
	if err := b.refuseRevoked(w.ref.SHA256); err != nil {
		return err
	}
	err := b.carried(w)
	if err == nil || !online {
		return err
	}
	if errors.Is(err, errDamaged) {
		b.fail("obtain", err)
	}
	if b.limits.Object > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, b.limits.Object)
		defer cancel()
	}
	progress := w.progress
	if progress == nil {
		progress = b.progress(w.what, w.ref.Size)
	}
	started := time.Now()
	if err := b.mirrors.Object(ctx, w.ref, w.to, progress); err != nil {
		return fmt.Errorf("%s: %w", w.what, err)
	}
	took, from := time.Since(started), b.origins.of(w.ref)
	b.Story.Object(w.what, w.ref, took, from)
	if u, err := url.Parse(from); err == nil && u.Host != "" {
		from = " from " + u.Host
	}
	b.Log("obtain: %s: %s in %.1f s (%s)%s, sha256 %.16s",
		w.what, size(w.ref.Size), took.Seconds(), rate(w.ref.Size, took), from, w.ref.SHA256)
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
