package initramfs

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"golang.org/x/sync/errgroup"
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
	// of cores must not show in the result, so this is a constant. 4 MiB cost
	// 0.2 % in size over one stream for everything (2 MiB: 0.8 %).
	partSize = 4 << 20
	// xzDict is the dictionary in bytes. The encoder finds worse matches in
	// larger ones: 38.9 MB of modules became 8.90 MB with 1 MiB, 9.12 MB with 8.
	xzDict = 1 << 20
	// zstdWindow in bytes is what the kernel must hold to unpack.
	zstdWindow = 8 << 20
)

// Pack writes l to w as one archive, compressed with c. Nothing is written where
// the layer cannot be packed. Join several with [Concat].
func Pack(w io.Writer, l Layer, c Compression) error {
	files, err := l.entries()
	if err != nil {
		return err
	}
	epoch, err := seconds(l.Epoch)
	if err != nil {
		return err
	}
	parts := split(files)
	packed := make([]bytes.Buffer, len(parts))
	var g errgroup.Group
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range parts {
		g.Go(func() error { return p.pack(&packed[i], epoch, c) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("layer: %w", err)
	}
	for i := range packed {
		if _, err := packed[i].WriteTo(w); err != nil {
			return fmt.Errorf("layer: %w", err)
		}
	}
	return nil
}

// Concat writes segments to w, each followed by zeros up to a multiple of 4
// bytes: the kernel skips zeros between archives, and takes an uncompressed
// archive only where its offset is such a multiple (unpack_to_rootfs). The
// result is one initrd; the tools zstd and cpio stop at the zeros.
func Concat(w io.Writer, segments ...io.Reader) error {
	for i, s := range segments {
		n, err := io.Copy(w, s)
		if err != nil {
			return fmt.Errorf("segment %d: %w", i, err)
		}
		if _, err := w.Write(make([]byte, -n&3)); err != nil {
			return fmt.Errorf("segment %d: %w", i, err)
		}
	}
	return nil
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

// pack writes the part to w as one stream.
func (p part) pack(w io.Writer, epoch time.Time, c Compression) error {
	enc, err := compressor(w, c)
	if err != nil {
		return err
	}
	a := newArchive(enc, epoch, p.inode)
	for _, f := range p.files {
		if err := a.add(f); err != nil {
			return err
		}
	}
	end := a.cpio.Flush
	if p.last {
		end = a.cpio.Close
	}
	if err := end(); err != nil {
		return err
	}
	return enc.Close()
}

// compressor returns a writer that compresses to w with c until it is closed.
func compressor(w io.Writer, c Compression) (io.WriteCloser, error) {
	switch c {
	case None:
		return nopCloser{w}, nil
	case XZ:
		// The kernel's decoder knows CRC32 and no check alone; CRC64, the
		// usual one, ends in a panic at boot.
		return xz.WriterConfig{DictCap: xzDict, CheckSum: xz.CRC32}.NewWriter(w)
	case Zstd:
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
			zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
	}
	return nil, fmt.Errorf("compression %q: want %q, %q or %q", c, XZ, Zstd, None)
}

// nopCloser is a writer that needs no end.
type nopCloser struct{ io.Writer }

// Close implements io.Closer.
func (nopCloser) Close() error { return nil }
