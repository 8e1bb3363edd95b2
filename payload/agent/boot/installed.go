package boot

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/farboot/farboot/payload/accept"
	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/agent/local"
	"github.com/farboot/farboot/payload/object"
)

// installed starts what is installed on a disk: of the systems that are found,
// the first that can be loaded.
func (b *boot) installed(ctx context.Context, j job) error {
	found, cleanup, err := b.Systems(ctx)
	if err != nil {
		return err
	}
	let := handover.Step{Name: "disks", Do: cleanup}
	err = fmt.Errorf("%w: none on the disk %q", local.ErrNone, j.entry.Local.Disk)
	for _, s := range found {
		if disk := j.entry.Local.Disk; disk != "" && !slices.Contains(s.DiskIDs, disk) {
			continue
		}
		b.Log("local: %s on %s (%s)", s.Title, s.Partition, s.FSUUID)
		if err = b.fromDisk(ctx, j, s, let); err == nil || ctx.Err() != nil || errors.Is(err, errQuiet) || errors.Is(err, accept.ErrRollback) {
			break
		}
		b.fail("local", err)
	}
	if err != nil {
		handover.Quiesce(b.Log, let)
	}
	return err
}

// fromDisk starts one system of a disk.
func (b *boot) fromDisk(ctx context.Context, j job, s local.System, let handover.Step) error {
	k := handover.Kernel{Cmdline: s.Cmdline}
	var err error
	if k.Image, err = handover.NewMemory("kernel"); err != nil {
		return err
	}
	defer func() { k.Close() }()
	if err := b.copyFile(k.Image, kernelRoom, s.OpenKernel); err != nil {
		return err
	}
	if len(s.Initrds) > 0 {
		if k.Initrd, err = handover.NewMemory("initrd"); err != nil {
			return err
		}
	}
	for i := range s.Initrds {
		if err := b.copyFile(k.Initrd, initrdRoom, func() (*os.File, error) { return s.OpenInitrd(i) }); err != nil {
			return err
		}
	}
	if err := seal(k.Image, k.Initrd); err != nil {
		return err
	}
	return b.jump(ctx, j, b.kernel(k), 0, let)
}

// copyFile appends a disk's file to memory, where it takes room times its size. It
// has no hash to be held against, but may be one that the trust statement revokes.
func (b *boot) copyFile(to *handover.Memory, room int64, open func() (*os.File, error)) error {
	f, err := open()
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := b.fits("loading "+info.Name(), room*info.Size()); err != nil {
		return err
	}
	dst, err := to.Append(info.Size())
	if err != nil {
		return err
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(io.NewOffsetWriter(dst, 0), h), io.LimitReader(f, info.Size()))
	if err == nil && n != info.Size() {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("%s: %w", info.Name(), err)
	}
	return b.refuseRevoked(object.ID(h.Sum(nil)))
}

// refuseRevoked returns an error if the trust statement revokes the object.
func (b *boot) refuseRevoked(id object.ID) error {
	if r, ok := b.judge.Store().Revokes(id); ok {
		return fmt.Errorf("%w: object %s: %s", accept.ErrRevoked, id, r.Reason)
	}
	return nil
}
