package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/farboot/farboot/payload/object"
)

// errStitched says that bytes of several origins, each of which may be right, do
// not make the object: whose fault it is cannot be told.
var errStitched = fmt.Errorf("%w: bytes that came from different places do not make the object", ErrUnreachable)

// download is an object on its way, over as many answers as that takes.
type download struct {
	ref      object.Ref
	dst      io.WriterAt
	progress func(done int64)
	giveUp   context.CancelCauseFunc // ends the whole call, with a reason that no URL is to blame for

	verifier  *object.Verifier // of the bytes in dst so far
	validator string           // names the server's version of those bytes, for If-Range; may be empty
	html      bool             // those bytes begin like a web page
	source    string           // where bytes come from now
	sources   []string         // where those bytes have come from; an earlier call's come from ""
	furthest  int64            // the most bytes that were ever there
	left      int64            // how many of them an earlier call has left in dst
}

// restart forgets what is there.
func (d *download) restart() {
	d.verifier, d.validator, d.html, d.left = object.NewVerifier(d.ref), "", false, 0
	d.sources = nil
}

// startOver forgets even how far it once was, so that all counts as progress.
func (d *download) startOver() {
	d.restart()
	d.furthest = 0
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
		if n > 0 {
			d.sources = []string{""}
		}
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

// take takes the missing bytes, or all of them, from an answer. An answer that
// cannot be the object leaves what is there as it was.
func (d *download) take(resp *http.Response) error {
	start := int64(0)
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		start = d.verifier.Written()
		want := fmt.Sprintf("bytes %d-%d/%d", start, d.ref.Size-1, d.ref.Size)
		if got := resp.Header.Get("Content-Range"); got != want {
			return fmt.Errorf("%w: range %q, want %q", ErrCorrupt, got, want)
		}
	default:
		return statusError(resp)
	}
	if length := resp.ContentLength; length >= 0 && start+length != d.ref.Size {
		head, _ := io.ReadAll(io.LimitReader(resp.Body, 512))
		html := start == 0 && LooksLikeHTML(head)
		return corrupt(&object.MismatchError{Want: d.ref, Got: object.Ref{Size: start + length}}, html)
	}
	if start == 0 {
		d.restart()
	}
	d.validator = validator(resp.Header)
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
		case whole && len(d.sources) > 1 && d.verifier.Close() != nil:
			d.startOver()
			return errStitched
		case whole, // the hash tells more than the way the connection ended
			eof && d.html:
			return corrupt(d.verifier.Close(), d.html)
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
		return corrupt(err, d.html)
	}
	if _, err := d.dst.WriteAt(p, offset); err != nil {
		d.giveUp(err)
		return err
	}
	d.furthest = max(d.furthest, d.verifier.Written())
	if !slices.Contains(d.sources, d.source) {
		d.sources = append(d.sources, d.source)
	}
	if d.progress != nil {
		d.progress(d.verifier.Written())
	}
	return nil
}

// corrupt gives a mismatch, where it is one, its class.
func corrupt(mismatch error, html bool) error {
	switch {
	case mismatch == nil:
		return nil
	case html:
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
