package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/builder/initramfs/xz"
	"github.com/farboot/farboot/builder/tree"
)

// Compression names how a layer is compressed.
type Compression string

// Compressions that [Pack] writes. A Debian kernel unpacks each of them, mixed
// as one likes (CONFIG_RD_XZ, CONFIG_RD_ZSTD).
const (
	None Compression = "none"
	XZ   Compression = "xz"
	Zstd Compression = "zstd"
)

const (
	// partSize is how much of a layer becomes one compressed stream, in bytes
	// and up to the end of a file. Streams are compressed in parallel; a number
	// of cores must not show in the result, so this is a constant. All wired
	// NICs' modules, 45.1 MB, become 7.94 MB in two parts of 24 MiB, one a core
	// of a small machine, and 8.09 MB in six of 8.
	partSize = 24 << 20
	// maxWorkers bounds memory: one needs up to 4 * partSize and 64 MiB.
	maxWorkers = 4
)

// Pack writes l to w as one archive, compressed with c. Nothing is written where
// the layer cannot be packed. Join several with [Join].
func Pack(w io.Writer, l Layer, c Compression) error {
	if c != None && c != XZ && c != Zstd {
		return fmt.Errorf("%w: compression %q, want %q, %q or %q", ErrInvalid, c, XZ, Zstd, None)
	}
	files, err := l.entries()
	if err != nil {
		return err
	}
	epoch, err := seconds(l.Epoch)
	if err != nil {
		return err
	}
	parts := split(files)
	packed := make([][]byte, len(parts))
	var g errgroup.Group
	g.SetLimit(min(maxWorkers, runtime.GOMAXPROCS(0)))
	for i, p := range parts {
		g.Go(func() (err error) {
			packed[i], err = p.pack(epoch, c)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	for _, p := range packed {
		if _, err := w.Write(p); err != nil {
			return fmt.Errorf("layer: %w", err)
		}
	}
	return nil
}

// Join returns the initrd that is the packed layers one after the other, each
// padded with zeros to a multiple of 4 bytes: the kernel skips zeros between
// archives, and takes an uncompressed archive only where its offset is such a
// multiple (unpack_to_rootfs in init/initramfs.c). The tools zstd and cpio stop
// at the zeros.
func Join(name string, layers ...tree.File) tree.File {
	var files []tree.File
	for _, f := range layers {
		files = append(files, f, tree.Bytes("padding", make([]byte, -f.Size&3)))
	}
	return tree.Concat(name, files...)
}

// part is a run of a layer's entries that becomes one compressed stream. The
// kernel continues an archive in the next stream as long as a stream ends
// between two entries (flush_buffer in init/initramfs.c).
type part struct {
	files []File
	// inode is the number of entries before this part.
	inode int64
	// last says that the archive ends here.
	last bool
}

// split cuts entries into parts of about partSize.
func split(files []File) []part {
	var parts []part
	for start := 0; start < len(files) || parts == nil; {
		end, size := start, int64(0)
		for ; end < len(files) && size < partSize; end++ {
			size += headerSize + files[end].Size
		}
		parts = append(parts, part{files: files[start:end], inode: int64(start), last: end == len(files)})
		start = end
	}
	return parts
}

// pack returns the part as one stream.
func (p part) pack(epoch time.Time, c Compression) ([]byte, error) {
	var plain bytes.Buffer
	a := newArchive(&plain, epoch, p.inode)
	for _, f := range p.files {
		if err := a.add(f); err != nil {
			return nil, err
		}
	}
	end := a.cpio.Flush
	if p.last {
		end = a.cpio.Close
	}
	if err := end(); err != nil {
		return nil, err
	}
	return compress(plain.Bytes(), c, a.programs > int64(plain.Len())/2)
}

// compress returns data, which may mostly be programs, as one stream.
func compress(data []byte, c Compression, programs bool) ([]byte, error) {
	switch {
	case c == XZ && programs:
		return xz.EncodeProgram(data), nil
	case c == XZ:
		return xz.Encode(data), nil
	case c == Zstd:
		enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(xz.DictSize))
		if err != nil {
			return nil, err
		}
		defer enc.Close()
		return enc.EncodeAll(data, nil), nil
	}
	return data, nil
}
