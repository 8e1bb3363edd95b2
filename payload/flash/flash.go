// Package flash writes a disk image to a disk, so that at every moment the disk is
// either not written, in a way that no firmware takes for a system, or holds the
// whole image.
//
// The main call is [Run]. It takes the image as a stream, checks each chunk against
// a signed index before a byte of it is written, reads all of it back from the
// disk, grows the last partition and puts files in where it is asked to, and lets
// the disk become bootable by writing one sector: the first.
//
// # What is on the disk when
//
//  1. The first sector is zeroed and synced. From here on nothing boots: a BIOS
//     finds no code, and UEFI no table, since a GPT counts only under an MBR.
//  2. The rest of the first MiB, and the last one, are filled with marks that say
//     that this image has begun. That takes away the old tables.
//  3. All else of the image is written, synced and read back.
//  4. The rest of the first MiB is written, and what follows the table in the last
//     one; the file system grows, files are put in; the table and its backup are
//     written and read back. Each step is synced before the next begins.
//  5. The first sector is written, synced and read back.
//
// A machine that loses power finds the mark, compares each chunk that the disk holds
// with the index, and writes those that differ. A disk that is done has a mark
// between its table and its first partition, where nothing but boot loaders of MBR
// disks puts anything; see [Result].
//
// The package does not choose the disk, which is package disks', and knows no HTTP:
// see [Source]. It promises nothing of disks that say they have written what they
// have not, beyond reading back all they hold.
package flash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/flash/disks"
	"github.com/farboot/farboot/payload/flash/table"
	"github.com/farboot/farboot/payload/flash/tailor"
)

// Classes of errors, beside those of packages disks, table and tailor.
var (
	// ErrImage: the index or the image is not one that can be flashed.
	ErrImage = errors.New("image cannot be flashed")
	// ErrWrong: the stream gave other bytes than the index says, and nobody else
	// could be asked for better ones.
	ErrWrong = errors.New("image has wrong content")
	// ErrReadBack: the disk does not hold what was written to it.
	ErrReadBack = errors.New("disk reads back other bytes than were written")
	// ErrFake goes with ErrReadBack where the disk gives the bytes of one place at
	// another: it has less memory than it says.
	ErrFake = errors.New("disk has less room than it says")
)

// Device is a disk that is written. Offsets and lengths are multiples of the
// sector. Errors wrap the system's, as in unix.EIO and unix.ENOSPC.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// Node names the device, as in /dev/sda.
	Node() string
	// Size is in bytes, Sector the size of a logical sector.
	Size() int64
	Sector() int
	// Zero makes bytes read as zeros.
	Zero(offset, n int64) error
	// Sync returns when all that was written is on the medium, and makes later
	// reads come from there.
	Sync() error
	// Rescan lets the kernel look for partitions.
	Rescan() error
	// Shared calls f while others may use the device.
	Shared(f func() error) error
}

// Source is where the image's file comes from, compressed as it is.
type Source interface {
	// Open reads from the byte at offset to the file's end, whatever it takes: a
	// read fails only where nobody is left to ask. It ends with io.EOF exactly at
	// the end.
	Open(ctx context.Context, offset int64) (io.ReadCloser, error)
	// Wrong says that what came since the last Open is not the image. It tells
	// whether the next Open asks somebody else, who might have better bytes.
	Wrong(why error) bool
}

// Job says what to write.
type Job struct {
	// Index is the image's, from signed bytes.
	Index *caibx.Index
	// Format is how Source's bytes are compressed, one of expand.Formats.
	Format string
	Source Source
	// Receive, where not nil, brings the chunks of which want is true, in any order,
	// in the place of Source, from which the image's first MiB comes all the same. It
	// hands on only what the Index vouches for, by calls of take that may come at the
	// same time; the data is its own again when take returns. It is called once.
	Receive func(ctx context.Context, want func(i int) bool, take func(i int, data []byte) error) error
	// Again writes also to a disk that holds the image already.
	Again bool
	// Plain writes the image as it is, without a mark: to a disk that nobody
	// flashes unasked. It goes without a partition table, too, and always writes.
	Plain bool
	// Grow extends the last partition and its file system to the disk's end.
	Grow bool
	// Files are put into the image's file systems.
	Files []tailor.File
	// Drivers loads modules for file systems; nil is a kernel that has them.
	Drivers func(names ...string) error
	// Log prints one line; nil is silence.
	Log func(format string, args ...any)
	// Progress is told how far it is, at most once a second and at the end of each
	// stage, one call at a time; nil is nobody.
	Progress func(Progress)

	tailor func(context.Context, tailor.Job) error // tailor.Do
}

// Result is what became of a disk.
type Result struct {
	// Already is why nothing was written, "" where it was: the disk holds the
	// image, by the mark that this package leaves or, where somebody removed that,
	// by the disk's ID in the partition table, which is the image's own. So a disk
	// is flashed again only where its owner's manifest says so by another image or
	// by Again, or where both were replaced, as by installing another system.
	Already string
	// Written and Kept are how many bytes of the image were written, and how many
	// were on the disk from an earlier try. Both are 0 where Already is set.
	Written, Kept int64
	Took          time.Duration
}

// maxChunk is the most that a chunk may have, in bytes: several are in memory.
const maxChunk = 4 << 20

// Run writes an image to a disk.
func Run(ctx context.Context, dev Device, job Job) (Result, error) {
	start := time.Now()
	if err := check(dev, job.Index); err != nil {
		return Result{}, err
	}
	image, err := imageID(job.Index)
	if err != nil {
		return Result{}, err
	}
	w := newWriter(dev, job, image)
	defer w.close()
	result, err := w.run(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("%s: %w", dev.Node(), err)
	}
	result.Took = time.Since(start)
	return result, nil
}

// check tells whether an image with this index fits the disk.
func check(dev Device, x *caibx.Index) error {
	switch size := x.Size(); {
	case size < table.Head/2:
		return fmt.Errorf("%w: it has %d bytes, no disk image is so small", ErrImage, size)
	case x.Max > maxChunk:
		return fmt.Errorf("%w: its index has chunks of up to %d bytes, at most %d are held in memory", ErrImage, x.Max, maxChunk)
	case size > dev.Size() || dev.Size() < 4*table.Head:
		return fmt.Errorf("%s: %w: it has %d bytes, and the image %d", dev.Node(), disks.ErrTooSmall, dev.Size(), size)
	}
	for i := range x.Chunks[:len(x.Chunks)-1] {
		if x.Chunks[i].End%int64(dev.Sector()) != 0 {
			return fmt.Errorf("%w: chunk %d of its index ends within a sector, at %d", ErrImage, i, x.Chunks[i].End)
		}
	}
	return nil
}

// run takes the steps that the package's comment lists.
func (w *writer) run(ctx context.Context) (Result, error) {
	held, err := w.look()
	if err != nil {
		return Result{}, err
	}
	again := w.job.Again || w.job.Plain
	if held == marked && !again {
		return Result{Already: "its mark says that it holds the image"}, nil
	}
	if err := w.persist(ctx, w.readHead); err != nil {
		return Result{}, err
	}
	if err := w.plan(); err != nil {
		return Result{}, err
	}
	if held == foreign && !again && w.same() {
		return Result{Already: "it has no mark, but the image's own disk ID " + w.table.ID}, nil
	}
	head := w.done()
	if held != foreign {
		if err := w.compare(ctx); err != nil {
			return Result{}, err
		}
	}
	kept := w.done() - head
	if err := w.write(ctx); err != nil {
		return Result{}, err
	}
	return Result{Written: w.job.Index.Size() - kept, Kept: kept}, nil
}

// write turns a disk of whatever kind into the image.
func (w *writer) write(ctx context.Context) error {
	if err := w.begin(); err != nil {
		return err
	}
	if err := w.persist(ctx, w.body); err != nil {
		return err
	}
	err := w.verify(ctx)
	if errors.Is(err, ErrReadBack) { // who knows where those writes went
		return errors.Join(err, w.begin())
	}
	if err != nil {
		return err
	}
	return w.finish(ctx)
}

// persist does what the source's bytes are needed for until they are right.
func (w *writer) persist(ctx context.Context, f func(context.Context) error) error {
	for {
		err := f(ctx)
		if err == nil || ctx.Err() != nil || !errors.Is(err, ErrWrong) {
			return err
		}
		w.in.close()
		if !w.job.Source.Wrong(err) {
			return err
		}
		w.log("%v; asking elsewhere", err)
	}
}
