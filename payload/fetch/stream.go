package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/farboot/farboot/payload/guard"
	"github.com/farboot/farboot/payload/object"
)

// Stream is an object that is read as it comes, from whichever sites do best, and
// kept nowhere: an image on its way to a disk. Nothing of it is verified here. Who
// reads it has to check each piece before it is used, and says by [Stream.Wrong]
// what is not right. The rules of [Mirrors] hold; a Stream is for one reader.
type Stream struct {
	job
	ref object.Ref
	at  int64 // how much of the object was read; of one goroutine at a time

	// Mirrors.mu guards what follows.
	sources []*mirror // which gave bytes since the last Open
	mixed   int       // how often bytes of several did not fit
}

// Stream returns an object as a stream, which asks nobody before its Open.
func (m *Mirrors) Stream(ref object.Ref) *Stream {
	s := &Stream{ref: ref}
	s.job = job{Mirrors: m, tries: map[*mirror]*try{}, size: ref.Size, left: func() int64 { return ref.Size - s.at }}
	return s
}

// Open reads from the byte at offset to the object's end. What fails on the way is
// asked for again, there or elsewhere; a read fails only where nobody is left to
// ask, with an [*Error], or when ctx ends. It ends with io.EOF exactly at the end.
// The reader before it must have been closed.
func (s *Stream) Open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	if offset < 0 || offset > s.ref.Size {
		return nil, fmt.Errorf("object %s: there is no byte %d", s.ref.SHA256, offset)
	}
	s.mu.Lock()
	s.at, s.sources = offset, nil
	s.failed = &Error{Object: s.ref.SHA256.String()}
	for _, try := range s.tries {
		try.barren = 0
	}
	s.mu.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	r, w := io.Pipe()
	done := make(chan struct{})
	guard.Go("streaming object "+s.ref.SHA256.String(), func() error { return s.pump(ctx, w) }, func(err error) {
		w.CloseWithError(err) // nil is io.EOF
		close(done)
	})
	return &streaming{PipeReader: r, cancel: cancel, done: done}, nil
}

// streaming is a stream that is open.
type streaming struct {
	*io.PipeReader
	cancel context.CancelFunc
	done   chan struct{}
}

// Close ends the stream, and returns when nobody is asked any more.
func (s *streaming) Close() error {
	s.cancel()
	err := s.PipeReader.Close()
	<-s.done
	return err
}

// Wrong says that what came since the last Open is not the object. Where it came
// from one site, that is condemned; otherwise the next Open keeps to one site as
// long as it can. It tells whether there is anybody to ask.
func (s *Stream) Wrong(why error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch len(s.sources) {
	case 0:
		return false // these bytes were nobody's
	case 1:
		s.try(s.sources[0]).out, s.alone = true, false
		s.condemn(s.sources[0], fmt.Errorf("%w: %w", ErrCorrupt, why))
	default:
		s.mixed++
		s.alone, s.last = true, nil
	}
	return s.mixed <= len(s.all) && slices.ContainsFunc(s.all, func(mir *mirror) bool { return !s.try(mir).out })
}

// pump writes the object to w.
func (s *Stream) pump(ctx context.Context, w io.Writer) error {
	for s.left() > 0 {
		mir, rest := s.pick()
		switch {
		case mir == nil && len(s.failed.Attempts) == 0:
			return fmt.Errorf("object %s: %w: there is no mirror to fetch it from", s.ref.SHA256, ErrNotFound)
		case mir == nil:
			return s.failed
		case rest > 0:
			sleep(ctx, rest)
		default:
			before := s.at
			err := s.ask(ctx, mir, w)
			s.settle(ctx, mir, s.at-before, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("object %s: %w", s.ref.SHA256, context.Cause(ctx))
		}
	}
	return nil
}

// ask sends one request for what is missing to a mirror.
func (s *Stream) ask(ctx context.Context, mir *mirror, w io.Writer) error {
	s.mu.Lock()
	s.last, s.try(mir).had = mir, true
	s.mu.Unlock()
	header := http.Header{}
	if s.at > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", s.at))
	}
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	pace := &watch{job: &s.job, mirror: mir, leave: leave}
	pace.start()
	defer pace.end()
	return s.client.get(ctx, join(mir.site, s.ref.Path()), header, func(resp *http.Response) error {
		pace.stop()
		pace.ReadCloser, resp.Body = resp.Body, pace
		return s.take(mir, resp, w)
	})
}

// take passes on what is missing of an answer.
func (s *Stream) take(mir *mirror, resp *http.Response, w io.Writer) error {
	skip := s.at // of a server that knows no ranges
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		want := fmt.Sprintf("bytes %d-%d/%d", s.at, s.ref.Size-1, s.ref.Size)
		if got := resp.Header.Get("Content-Range"); got != want {
			return fmt.Errorf("%w: range %q, want %q", ErrCorrupt, got, want)
		}
		skip = 0
	default:
		return statusError(resp)
	}
	begins := s.at - skip
	if length := resp.ContentLength; length >= 0 && begins+length != s.ref.Size {
		head, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		return corrupt(&object.MismatchError{Want: s.ref, Got: object.Ref{Size: begins + length}}, begins == 0 && LooksLikeHTML(head))
	}
	buf := make([]byte, 128<<10)
	for s.left() > 0 {
		n, err := resp.Body.Read(buf[:min(int64(len(buf)), skip+s.left())])
		p := buf[:n]
		if begins == 0 && n > 0 && LooksLikeHTML(p) {
			return fmt.Errorf("%w: %w", ErrCorrupt, errHTML)
		}
		begins = -1
		gone := min(skip, int64(n))
		skip -= gone
		if err := s.pass(mir, p[gone:], w); err != nil {
			return err
		}
		switch {
		case s.left() == 0:
			return nil
		case errors.Is(err, io.EOF):
			err = fmt.Errorf("%w: %w", ErrUnreachable, io.ErrUnexpectedEOF)
			fallthrough
		case err != nil:
			return fmt.Errorf("%w (at byte %d of %d)", err, s.at, s.ref.Size)
		}
	}
	return nil
}

// pass hands bytes of a mirror on.
func (s *Stream) pass(mir *mirror, p []byte, w io.Writer) error {
	if len(p) == 0 {
		return nil
	}
	s.mu.Lock()
	if !slices.Contains(s.sources, mir) {
		s.sources = append(s.sources, mir)
	}
	s.mu.Unlock()
	n, err := w.Write(p)
	s.at += int64(n)
	return err
}

// settle draws the conclusions from a request that brought so many bytes.
func (s *Stream) settle(ctx context.Context, mir *mirror, gained int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	try := s.try(mir)
	if err == nil || gained >= s.client.limits.Progress {
		mir.well()
		try.barren = 0
	}
	switch {
	case err == nil || ctx.Err() != nil || errors.Is(err, io.ErrClosedPipe):
		return
	case errors.Is(err, errLeft):
		mir.slow = true
		s.log("mirror %s: %s", display(mir.site), shown{err})
		return
	}
	s.failed.add(display(join(mir.site, s.ref.Path())), err)
	switch {
	case errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrPortal):
		try.out = true
		s.condemn(mir, err)
	case errors.Is(err, ErrUnreachable):
		try.barren++
		try.out = try.barren >= s.client.limits.Attempts
		s.fail(mir, err)
	default:
		try.out = true
		if !errors.Is(err, ErrNotFound) {
			s.fail(mir, err)
		}
	}
}
