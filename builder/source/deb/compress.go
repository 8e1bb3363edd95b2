package deb

import (
	"bufio"
	"compress/gzip"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// decompress returns the tar archive that m holds, by the ending of its name.
func decompress(m member, limits Limits) (io.ReadCloser, error) {
	plain, err := decompressor(m, limits)
	if err != nil {
		return nil, malformedBy(err, "%s", m.name)
	}
	return plain, nil
}

// decompressor starts at the beginning of m, wherever others have read to.
func decompressor(m member, limits Limits) (io.ReadCloser, error) {
	_, ending, _ := strings.Cut(m.name, ".tar")
	packed := bufio.NewReader(io.NewSectionReader(m, 0, m.Size()))
	switch ending {
	case "":
		return io.NopCloser(packed), nil
	case ".gz":
		return gzip.NewReader(packed)
	case ".xz":
		return newXZ(m, limits.WindowBytes)
	case ".zst":
		z, err := zstd.NewReader(packed, zstd.WithDecoderMaxWindow(limits.WindowBytes), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return nil, malformed("compression %q is not supported", ending)
}

// cappedReader fails, rather than ends, where more than left bytes come.
type cappedReader struct {
	r    io.Reader
	left int64
}

// Read implements io.Reader.
func (c *cappedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left < 0 {
		return 0, malformed("more bytes than allowed when unpacked")
	}
	return n, err
}
