package flash

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/farboot/farboot/payload/flash/tailor"
)

// finish makes the disk, which holds all but what is held, a whole one. After each
// step the last one's bytes are on the medium.
func (w *writer) finish(ctx context.Context) error {
	w.meter.begin("finish", 0)
	sector := w.dev.Sector()
	tableEnd := roundUp(int(w.table.End), sector)
	backupAt := int64(len(w.tail))
	if w.mark > 0 {
		copy(w.head[w.mark:], newMark("done", w.image, w.mark))
	}
	at, backup := w.table.Backup()
	if w.grown != nil {
		w.table.Write(w.head)
		copy(w.tail[max(at-w.tailAt, 0):], backup)
	}
	if at+int64(len(backup)) == w.dev.Size() {
		backupAt = at - w.tailAt
	}
	if err := w.settle(w.head[tableEnd:], int64(tableEnd), w.tail[:backupAt], w.tailAt); err != nil {
		return err
	}
	if err := w.tailor(ctx); err != nil {
		return err
	}
	if err := w.settle(w.tail[backupAt:], w.tailAt+backupAt, nil, 0); err != nil {
		return err
	}
	if err := w.settle(w.head[sector:tableEnd], int64(sector), nil, 0); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := w.settle(w.head[:sector], 0, nil, 0); err != nil {
		return errors.Join(err, w.dev.Zero(0, int64(sector)), w.dev.Sync())
	}
	if err := w.dev.Rescan(); err != nil {
		w.log("%s: the kernel does not see the new partitions yet: %v", w.dev.Node(), err)
	}
	return nil
}

// settle writes up to two ranges and wants to read them back from the medium.
func (w *writer) settle(a []byte, atA int64, b []byte, atB int64) error {
	ranges := []piece{{at: atA, data: a}, {at: atB, data: b}}
	for _, p := range ranges {
		if len(p.data) == 0 {
			continue
		}
		if _, err := w.dev.WriteAt(p.data, p.at); err != nil {
			return fmt.Errorf("write at byte %d: %w", p.at, err)
		}
	}
	if err := w.dev.Sync(); err != nil {
		return err
	}
	for _, p := range ranges {
		got := w.scratch[:len(p.data)]
		if _, err := w.dev.ReadAt(got, p.at); err != nil {
			return fmt.Errorf("%w: read at byte %d: %w", ErrReadBack, p.at, err)
		}
		if !bytes.Equal(got, p.data) {
			return fmt.Errorf("%w, at byte %d", ErrReadBack, p.at)
		}
	}
	return nil
}

// tailor fits the image's file systems to this machine, while nothing boots from
// the disk yet: afterwards it would be half a system that does.
func (w *writer) tailor(ctx context.Context) error {
	if w.grown == nil && len(w.job.Files) == 0 {
		return nil
	}
	if err := w.dev.Shared(func() error {
		return w.job.tailor(ctx, tailor.Job{
			Node: w.dev.Node(), Partition: w.table.Partition, Grow: w.grown, Files: w.job.Files,
			Drivers: w.job.Drivers, Log: w.log,
		})
	}); err != nil {
		return err
	}
	return w.dev.Sync()
}
