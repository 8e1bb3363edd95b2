package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Pieces are parts of one file that follow each other without gaps. Each can be
// told right from wrong by itself, so that it comes from one site, whole.
type Pieces struct {
	// Name is the file's below the sites; empty is the sites themselves, where
	// each is the URL of a file.
	Name string
	// Size is the file's, in bytes. 0 is a file of unknown size that is one piece,
	// of at most Lens[0] bytes.
	Size int64
	// Offset is where the first piece begins, in bytes.
	Offset int64
	// Lens are the sizes of the pieces in bytes. One is held in memory.
	Lens []int64
	// Take gets each piece, in order, and says whether its bytes are right. They
	// are the caller's until it returns.
	Take func(i int, data []byte) error
}

// Pieces asks for all pieces in one request, and goes on with the first that is
// missing, there or elsewhere, wherever that fails. The rules of [Mirrors] hold but
// for two. A site that is out of reach is asked again and again, as is one behind a
// portal: Pieces waits for it until ctx ends, however long that takes, or for Forget
// where another site can be reached and has a piece wrong or not at all. And a site that
// is condemned is asked as long as the others rest. An [*Error] says that no site has
// the right bytes of one piece.
//
// A site that knows no ranges has no pieces ([ErrRefused]).
func (m *Mirrors) Pieces(ctx context.Context, p Pieces) error {
	j := &pieces{Pieces: p, from: p.Offset}
	j.job = job{Mirrors: m, tries: map[*mirror]*try{}, failed: &Error{}}
	most := int64(0)
	for _, n := range p.Lens {
		j.size += n
		most = max(most, n)
	}
	if p.Size == 0 {
		most++ // one byte too many tells that the file is longer
	}
	j.buf = make([]byte, most)
	end := p.Offset + j.size
	j.left = func() int64 { return end - j.from }
	for j.next < len(p.Lens) {
		mir, rest := j.choose()
		switch {
		case mir == nil && len(j.failed.Attempts) == 0:
			return fmt.Errorf("%q: %w: there is no mirror to fetch it from", p.Name, ErrNotFound)
		case mir == nil || !j.lacks.IsZero() && time.Since(j.lacks) > m.client.limits.Forget:
			return j.failed
		case rest > 0:
			sleep(ctx, min(rest, time.Second)) // another request may find meanwhile that it is back
		default:
			before := j.next
			err := j.ask(ctx, mir)
			j.settle(ctx, mir, j.next > before, err)
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%q: %w", p.Name, context.Cause(ctx))
		}
	}
	return nil
}

// pieces are Pieces on their way.
type pieces struct {
	Pieces
	job
	next  int       // the piece that comes next
	from  int64     // where it begins
	lacks time.Time // since when a site is known not to have it right; zero is none
	buf   []byte
}

// choose returns the mirror to ask now, as pick does.
func (j *pieces) choose() (*mirror, time.Duration) {
	best, rest := j.pick()
	if best == nil || rest <= 0 {
		return best, rest
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, mir := range j.all { // what is checked may come from anybody
		if !j.try(mir).out && time.Until(mir.rests) <= 0 {
			return mir, 0
		}
	}
	return best, rest
}

// ask sends one request for what is missing to a mirror.
func (j *pieces) ask(ctx context.Context, mir *mirror) error {
	j.mu.Lock()
	j.last, j.try(mir).had = mir, true
	j.mu.Unlock()
	header := http.Header{}
	if j.Size > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", j.from, j.from+j.left()-1))
	}
	ctx, leave := context.WithCancelCause(ctx)
	defer leave(nil)
	pace := &watch{job: &j.job, mirror: mir, leave: leave}
	pace.start()
	defer pace.end()
	return j.client.get(ctx, join(mir.site, j.Name), header, func(resp *http.Response) error {
		pace.stop()
		pace.ReadCloser, resp.Body = resp.Body, pace
		if j.Size == 0 {
			return j.whole(resp)
		}
		if err := j.checkRange(resp); err != nil {
			return err
		}
		return j.take(resp.Body)
	})
}

// checkRange wants an answer to be what was asked for.
func (j *pieces) checkRange(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusPartialContent:
	case http.StatusOK:
		head, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		if LooksLikeHTML(head) {
			return fmt.Errorf("%w: %w", ErrCorrupt, errHTML)
		}
		return fmt.Errorf("%w: the server sends the whole file where a part was asked for", ErrRefused)
	default:
		return statusError(resp)
	}
	want := fmt.Sprintf("bytes %d-%d/%d", j.from, j.from+j.left()-1, j.Size)
	if got := resp.Header.Get("Content-Range"); got != want {
		return fmt.Errorf("%w: range %q, want %q", ErrCorrupt, got, want)
	}
	return nil
}

// take reads pieces as far as they come.
func (j *pieces) take(body io.Reader) error {
	for j.next < len(j.Lens) {
		data := j.buf[:j.Lens[j.next]]
		if _, err := io.ReadFull(body, data); err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
				err = fmt.Errorf("%w: %w", ErrUnreachable, io.ErrUnexpectedEOF)
			}
			return fmt.Errorf("%w (after byte %d)", err, j.from)
		}
		if err := j.judge(data); err != nil {
			return err
		}
	}
	return nil
}

// whole reads a file that is one piece.
func (j *pieces) whole(resp *http.Response) error {
	if resp.StatusCode != http.StatusOK {
		return statusError(resp)
	}
	n := 0
	for n < len(j.buf) {
		k, err := resp.Body.Read(j.buf[n:])
		n += k
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if n == len(j.buf) {
		return fmt.Errorf("%w: %w: at most %d bytes are read", ErrCorrupt, ErrTooLarge, n-1)
	}
	if LooksLikeHTML(j.buf[:n]) {
		return fmt.Errorf("%w: %w", ErrCorrupt, errHTML)
	}
	return j.judge(j.buf[:n])
}

// judge hands on the next piece. With the one after it every mirror has another
// chance: who had one wrong may be the only one with the next.
func (j *pieces) judge(data []byte) error {
	if err := j.Take(j.next, data); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	j.from += j.Lens[j.next]
	j.next++
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, try := range j.tries {
		try.out = false
	}
	j.failed, j.lacks = &Error{}, time.Time{}
	return nil
}

// settle draws the conclusions from a request.
func (j *pieces) settle(ctx context.Context, mir *mirror, gained bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil || gained {
		mir.well()
	}
	switch {
	case err == nil || ctx.Err() != nil:
		return
	case errors.Is(err, errLeft):
		mir.slow = true
		j.log("mirror %s: %s", display(mir.site), shown{err})
		return
	}
	j.failed.add(display(join(mir.site, j.Name)), err)
	switch {
	case errors.Is(err, ErrUnreachable) || errors.Is(err, ErrPortal):
		j.fail(mir, err)
	case errors.Is(err, ErrCorrupt):
		j.out(mir)
		if !mir.condemned { // who is, may have thousands of pieces wrong
			j.condemn(mir, err)
		}
	default:
		j.out(mir)
		if !errors.Is(err, ErrNotFound) {
			j.fail(mir, err)
		}
	}
}

// out says that a mirror does not have the next piece, or not right.
func (j *pieces) out(mir *mirror) {
	j.try(mir).out = true
	if j.lacks.IsZero() {
		j.lacks = time.Now()
	}
}
