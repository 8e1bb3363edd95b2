package flash

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/flash/expand"
)

// reader gives the chunks of an image from its source. It goes forwards; to go
// back, it begins anew.
type reader struct {
	source Source
	index  *caibx.Index
	format string

	file   io.ReadCloser // nil is closed
	stream io.ReadCloser
	at     int   // the chunk that comes next
	failed error // of file: nobody is left to ask
}

// near is how many bytes of an image that is not compressed are read and thrown
// away rather than asking anew from behind them: what a link brings in the time of
// a request.
const near = 1 << 20

// chunk reads chunk i into buf. That the bytes are right is not known yet. Its
// errors are ErrWrong, or the source's.
func (r *reader) chunk(ctx context.Context, i int, buf []byte) ([]byte, error) {
	far := r.format == "" && r.at < i && r.index.Start(i)-r.index.Start(r.at) > near
	if r.file == nil || r.at > i || far {
		if err := r.open(ctx, i); err != nil {
			return nil, err
		}
	}
	skip := r.index.Start(i) - r.index.Start(r.at)
	if _, err := io.CopyN(io.Discard, r.stream, skip); err != nil {
		return nil, r.judge(ctx, i, err)
	}
	buf = buf[:r.index.Len(i)]
	if _, err := io.ReadFull(r.stream, buf); err != nil {
		return nil, r.judge(ctx, i, err)
	}
	r.at = i + 1
	return buf, nil
}

// open asks the source for the bytes from chunk i on, or where they are compressed
// for all.
func (r *reader) open(ctx context.Context, i int) (err error) {
	r.close()
	offset := int64(0)
	if r.at = 0; r.format == "" {
		offset, r.at = r.index.Start(i), i
	}
	if r.file, err = r.source.Open(ctx, offset); err != nil {
		return err
	}
	r.stream, err = expand.Reader(r, r.format)
	return err
}

// Read reads from the source, for the decompressor.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.file.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.failed = err
	}
	return n, err
}

// judge tells whose fault an error of the stream is.
func (r *reader) judge(ctx context.Context, i int, err error) error {
	if r.failed != nil {
		return r.failed
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("it ends there")
	}
	return fmt.Errorf("%w, in chunk %d at byte %d: %w", ErrWrong, i, r.index.Start(i), err)
}

// end wants nothing to follow the last chunk. If something does, that tells of whom it
// came, not of the image, of which each chunk is judged for itself.
func (r *reader) end(ctx context.Context) error {
	last := len(r.index.Chunks)
	if r.at < last || r.stream == nil {
		return nil // the last chunks were not asked for, or are known to be right
	}
	n, err := io.CopyN(io.Discard, r.stream, 1)
	if n == 0 && errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil {
		err = errors.New("it goes on behind the image's end")
	}
	return r.judge(ctx, last-1, err)
}

// close ends what is open.
func (r *reader) close() {
	if r.stream != nil {
		_ = r.stream.Close() // it holds only memory
		r.stream = nil
	}
	if r.file != nil {
		_ = r.file.Close() // nothing was written
		r.file = nil
	}
	r.failed = nil
}

// verify wants data to be chunk i.
func (r *reader) verify(i int, data []byte) error {
	if sha256.Sum256(data) != r.index.Chunks[i].ID {
		return fmt.Errorf("%w, in chunk %d at byte %d", ErrWrong, i, r.index.Start(i))
	}
	return nil
}
