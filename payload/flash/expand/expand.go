// Package expand decompresses images within bounds: one window of memory, one
// pass, no goroutines.
//
// The main call is [Reader]. It promises that a stream of one of the [Formats]
// reads to io.EOF only where it consists of whole ones of its kind and nothing
// else follows, and that memory is bounded by [MaxWindow] whatever the stream says
// of itself. How many bytes come out, and whether they are the right ones, the
// caller must watch: a few bytes can be a terabyte of zeros, and Zstandard frames
// are whole without those that ought to follow.
package expand

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Formats are what [Reader] knows: not compressed, xz, Zstandard and gzip.
func Formats() []string { return []string{"", "xz", "zst", "gz"} }

// MaxWindow is the most memory that a stream may ask for to look back in, in bytes.
// "zstd --ultra -22" asks for this much, "xz -9" for half of it.
const MaxWindow = 128 << 20

// ErrFormat: the stream is not what its format says, or is cut.
var ErrFormat = errors.New("compressed file is broken")

// Reader reads what r holds in one of the [Formats]. Errors of r come through as
// they are; all others are [ErrFormat]. Close frees memory and leaves r open.
func Reader(r io.Reader, format string) (io.ReadCloser, error) {
	source := &source{r: r}
	in := bufio.NewReaderSize(source, 1<<18)
	switch format {
	case "":
		return io.NopCloser(in), nil
	case "xz":
		return &strict{source, io.NopCloser(&xz{in: counter{Reader: in}})}, nil
	case "zst":
		d, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(MaxWindow), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, err
		}
		return &strict{source, d.IOReadCloser()}, nil
	case "gz":
		return &strict{source, io.NopCloser(&gunzip{in: in})}, nil
	}
	return nil, fmt.Errorf("%w: format %q is not known", ErrFormat, format)
}

// source remembers why the compressed bytes ended before their time.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// strict gives the errors of a decompressor their class.
type strict struct {
	source *source
	io.ReadCloser
}

func (s *strict) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case s.source.err != nil:
		return n, s.source.err
	}
	// Not %w: nobody is to take io.ErrUnexpectedEOF for the end of what io.ReadFull
	// was asked for.
	return n, fmt.Errorf("%w: %v", ErrFormat, err)
}

// gunzip opens its stream with the first read, so that all errors come from there.
// Several members follow each other as they do for gunzip.
type gunzip struct {
	in *bufio.Reader
	z  *gzip.Reader
}

func (g *gunzip) Read(p []byte) (int, error) {
	if g.z == nil {
		z, err := gzip.NewReader(g.in)
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		g.z = z
	}
	return g.z.Read(p)
}
