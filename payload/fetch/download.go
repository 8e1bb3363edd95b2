package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/farboot/farboot/payload/object"
)

// download is an object on its way from one URL, over as many answers as that
// takes.
type download struct {
	ref      object.Ref
	dst      io.WriterAt
	progress func(done int64)
	giveUp   context.CancelCauseFunc // ends the whole call, with a reason that no URL is to blame for

	verifier  *object.Verifier // of the bytes in dst so far
	validator string           // names the server's version of those bytes, for If-Range; may be empty
	html      bool             // those bytes begin like a web page
	furthest  int64            // the most bytes that were ever there
	left      int64            // how many of them an earlier call has left in dst
}

// restart forgets what is there.
func (d *download) restart() {
	d.verifier, d.validator, d.html, d.left = object.NewVerifier(d.ref), "", false, 0
}

// resume takes the first bytes of dst, at most max, for the object's beginning.
// It tells whether they are the whole object.
func (d *download) resume(max int64) bool {
	d.restart()
	r, ok := d.dst.(io.ReaderAt)
	if !ok {
		return false
	}
	n, err := io.Copy(d.verifier, io.NewSectionReader(r, 0, max))
	switch {
	case err == nil && n < d.ref.Size:
		d.left, d.furthest = n, n
	case err == nil && d.verifier.Close() == nil:
		return true
	default:
		d.restart()
	}
	return false
}

// header returns what asks for the missing bytes.
func (d *download) header() http.Header {
	header := http.Header{}
	if done := d.verifier.Written(); done > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", done))
		if d.validator != "" {
			header.Set("If-Range", d.validator)
		}
	}
	return header
}

// take takes the missing bytes, or all of them, from an answer.
func (d *download) take(resp *http.Response) error {
	switch resp.StatusCode {
	case http.StatusOK:
		d.restart()
		d.validator = validator(resp.Header)
	case http.StatusPartialContent:
		want := fmt.Sprintf("bytes %d-%d/%d", d.verifier.Written(), d.ref.Size-1, d.ref.Size)
		if got := resp.Header.Get("Content-Range"); got != want {
			return fmt.Errorf("%w: range %q, want %q", ErrCorrupt, got, want)
		}
	default:
		return statusError(resp)
	}
	done := d.verifier.Written()
	if length := resp.ContentLength; length >= 0 && done+length != d.ref.Size {
		head, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		d.html = done == 0 && LooksLikeHTML(head)
		return d.corrupt(&object.MismatchError{Want: d.ref, Got: object.Ref{Size: done + length}})
	}
	return d.copy(resp.Body)
}

// copy moves the body behind the bytes that are there, and judges the object
// once it is whole. It reads one byte too many where there is one, no more.
func (d *download) copy(body io.Reader) error {
	buf := make([]byte, 128<<10)
	for {
		done := d.verifier.Written()
		n, err := body.Read(buf[:min(int64(len(buf)), d.ref.Size-done+1)])
		if done == 0 && LooksLikeHTML(buf[:n]) {
			d.html = true
		}
		if werr := d.write(buf[:n], done); werr != nil {
			return werr
		}
		eof, whole := errors.Is(err, io.EOF), d.verifier.Written() == d.ref.Size
		switch {
		case err == nil:
			continue
		case whole && d.left > 0 && d.verifier.Close() != nil:
			d.restart()
			return fmt.Errorf("%w: what was there before was not the object's beginning", ErrUnreachable)
		case whole, // the hash tells more than the way the connection ended
			eof && d.html:
			return d.corrupt(d.verifier.Close())
		case eof:
			err = fmt.Errorf("%w: %w", ErrUnreachable, io.ErrUnexpectedEOF)
		}
		return fmt.Errorf("%w (at byte %d of %d)", err, d.verifier.Written(), d.ref.Size)
	}
}

// write hashes and stores the object's bytes at offset.
func (d *download) write(p []byte, offset int64) error {
	if len(p) == 0 {
		return nil
	}
	if _, err := d.verifier.Write(p); err != nil {
		return d.corrupt(err)
	}
	if _, err := d.dst.WriteAt(p, offset); err != nil {
		d.giveUp(err)
		return err
	}
	d.furthest = max(d.furthest, d.verifier.Written())
	if d.progress != nil {
		d.progress(d.verifier.Written())
	}
	return nil
}

// corrupt gives a mismatch, where it is one, its class.
func (d *download) corrupt(mismatch error) error {
	switch {
	case mismatch == nil:
		return nil
	case d.html:
		return fmt.Errorf("%w: %w: %w", ErrCorrupt, errHTML, mismatch)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, mismatch)
}

// validator returns what If-Range may send back (RFC 9110, 13.1.5): the ETag if
// it is a strong one, otherwise the date.
func validator(h http.Header) string {
	if tag := h.Get("ETag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return h.Get("Last-Modified")
}
