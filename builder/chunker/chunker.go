// Package chunker packs images for machines that read them where they lie, by
// package chunks.
//
// [Pack] writes one seekable Zstandard file and returns the table at its end, [Tree]
// fills a .castr tree. Both take the image as a stream and the index of it, which
// package caibx makes, and refuse a stream that is not what the index says.
//
// They promise the same bytes for the same image, whatever the number of cores, and
// memory for a few chunks. Chunks that a tree has already, from whichever image or
// version, are not packed again.
package chunker

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/object"
)

// ErrChanged: the stream is not the image of which the index is.
var ErrChanged = errors.New("image is not what its index says")

// Image is an image at the desk.
type Image struct {
	// Name is for messages.
	Name  string
	Index *caibx.Index
	// Open reads it from its first byte on.
	Open func() (io.ReadCloser, error)
}

// Pack writes the image r, of index x, to w as a seekable Zstandard file: a frame for
// each chunk, and the seek table, which it returns as well.
func Pack(ctx context.Context, w io.Writer, r io.Reader, x *caibx.Index) (chunks.Table, error) {
	return pack(ctx, w, r, x, runtime.GOMAXPROCS(0))
}

// pack is Pack with so many workers.
func pack(ctx context.Context, w io.Writer, r io.Reader, x *caibx.Index, workers int) (chunks.Table, error) {
	e, err := newEncoder(workers)
	if err != nil {
		return nil, err
	}
	defer e.Close()
	var table chunks.Table
	err = inOrder(ctx, r, x, workers, func(_ object.ID, data []byte) ([]byte, error) {
		return e.EncodeAll(data, nil), nil
	}, func(packed []byte) error {
		table = append(table, int64(len(packed)))
		_, err := w.Write(packed)
		return err
	})
	if err != nil {
		return nil, err
	}
	end, err := table.Encode(x)
	if err != nil {
		return nil, err
	}
	_, err = w.Write(end)
	return table, err
}

// newEncoder returns an encoder for chunks, by the level of "zstd -3": the next one
// makes an image smaller by 3 % and takes twice as long.
func newEncoder(workers int) (*zstd.Encoder, error) {
	return zstd.NewWriter(nil, zstd.WithEncoderConcurrency(workers), zstd.WithEncoderLevel(zstd.SpeedDefault))
}

// inOrder reads the chunks of an image, calls do for each of them, several at a time,
// and then out with what came of it, in the order of the image.
func inOrder(ctx context.Context, r io.Reader, x *caibx.Index, workers int, do func(object.ID, []byte) ([]byte, error), out func([]byte) error) error {
	g, ctx := errgroup.WithContext(ctx)
	queue := make(chan chan []byte, workers)
	g.Go(func() error {
		defer close(queue)
		for i, c := range x.Chunks {
			data := make([]byte, x.Len(i))
			if _, err := io.ReadFull(r, data); err != nil {
				return fmt.Errorf("chunk %d: %w", i, ended(err))
			}
			result := make(chan []byte, 1)
			select {
			case queue <- result:
			case <-ctx.Done():
				return ctx.Err()
			}
			g.Go(func() error {
				if sha256.Sum256(data) != c.ID {
					return fmt.Errorf("chunk %d: %w", i, ErrChanged)
				}
				packed, err := do(c.ID, data)
				result <- packed
				return err
			})
		}
		if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 {
			return fmt.Errorf("%w: it goes on", ErrChanged)
		} else if !errors.Is(err, io.EOF) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		for result := range queue {
			select {
			case packed := <-result:
				if err := out(packed); err != nil {
					return err
				}
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return g.Wait()
}

// ended tells an image that is too short from one that cannot be read.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends there", ErrChanged)
	}
	return err
}
