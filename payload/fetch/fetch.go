// Package fetch is the one HTTP client of farboot: the agent and the builder
// take every byte from a server through it.
//
// Make a [Client] with [New]. [Client.Object] fetches bytes that are known by
// size and hash, from several URLs, and resumes what was cut. [Client.Document]
// fetches a small file that is not known beforehand. [Mirrors] does both for
// sites that hold the same, and learns over a boot which of them are any good.
//
// The package promises that Object ends without error only when the destination
// holds exactly the referenced bytes, and that every limit in [Limits] holds,
// whatever a server does. A call makes progress, fails with a reason or is
// cancelled; it never hangs.
//
// Servers are not trusted, and neither are proxies and TLS: a document is only as
// good as the signature that the caller checks. The package sends GET over
// HTTP/1.1, CONNECT to a proxy, POST where [Client.Post] is called, and nothing
// else: no credentials but the proxy's, no cookies, no compression, no cache.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/farboot/farboot/payload/object"
)

// userAgent is what servers see in their logs.
const userAgent = "farboot/1"

// Client fetches within limits. It is safe for parallel use.
type Client struct {
	limits Limits
	http   *http.Client
	date   func(*http.Response) // told of every answer, or nil
}

// New returns a Client. Without options it uses no proxy, the system's root
// certificates and the system's clock. The options may come in any order.
func New(l Limits, options ...Option) *Client {
	cfg := config{limits: l, dial: (&net.Dialer{Timeout: l.Connect}).DialContext}
	for _, set := range options {
		set(&cfg)
	}
	c := &Client{limits: l, http: &http.Client{Transport: cfg.transport(), CheckRedirect: l.checkRedirect}}
	if cfg.onDate != nil {
		c.date = cfg.date
	}
	return c
}

// Close ends the connections that are kept open between requests.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Document fetches a small file of unknown size, of at most max bytes. A larger
// one fails with [ErrTooLarge], a web page with [ErrCorrupt]. What was cut may
// pass for a whole where the server names no length: the caller must be able to
// tell, by a signature or by a hash.
func (c *Client) Document(ctx context.Context, url string, max int64) ([]byte, error) {
	var doc []byte
	failed := new(Error)
	ok := c.persist(ctx, url, failed, func() (int64, error) {
		return 0, c.get(ctx, url, nil, func(resp *http.Response) (err error) {
			doc, err = readDocument(resp, max)
			return err
		})
	})
	switch {
	case ok:
		return doc, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%s: %w", display(url), context.Cause(ctx))
	}
	return nil, failed
}

// readDocument takes the whole body of an answer.
func readDocument(resp *http.Response, max int64) ([]byte, error) {
	if resp.StatusCode != http.StatusOK {
		return nil, statusError(resp)
	}
	if resp.ContentLength > max {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLarge, resp.ContentLength, max)
	}
	doc, err := io.ReadAll(io.LimitReader(resp.Body, max+1))
	switch {
	case err != nil:
		return nil, err
	case int64(len(doc)) > max:
		return nil, fmt.Errorf("%w: at most %d bytes are read", ErrTooLarge, max)
	case LooksLikeHTML(doc):
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, errHTML)
	}
	return doc, nil
}

// Object fetches the object that ref names into dst, which must start out empty
// or take overwriting. The URLs are tried in order, each from the object's
// beginning, so that wrong bytes have one culprit; a URL that gave wrong bytes
// is not asked again. A dst that fails ends the call at once.
//
// What a dst that can be read (io.ReaderAt) holds already is taken for the
// object's beginning, as an earlier call has left it, and only the rest is asked
// for. Where that turns out wrong, no URL is blamed and all is fetched anew.
//
// progress, where not nil, is told after each write how many bytes are there.
// The number goes back when a download starts over.
//
// After an error dst holds bytes of unknown worth.
func (c *Client) Object(ctx context.Context, urls []string, ref object.Ref, dst io.WriterAt, progress func(done int64)) error {
	if len(urls) == 0 {
		return fmt.Errorf("object %s: %w: there is no URL to fetch it from", ref.SHA256, ErrNotFound)
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	failed := &Error{Object: ref.SHA256.String()}
	left := ref.Size
	for _, url := range urls {
		d := download{ref: ref, dst: dst, progress: progress, giveUp: giveUp, source: url}
		if d.resume(left) {
			return nil
		}
		if c.persist(ctx, url, failed, func() (int64, error) {
			before := d.furthest
			err := c.get(ctx, url, d.header(), d.take)
			return d.furthest - before, err
		}) {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("object %s: %w", ref.SHA256, context.Cause(ctx))
		}
		left = d.left
	}
	return failed
}

// persist tries one URL until it succeeds, fails for good or has brought
// nothing new too often, and adds each failure to failed. A false without a
// failure means that ctx has ended.
func (c *Client) persist(ctx context.Context, url string, failed *Error, try func() (gained int64, err error)) bool {
	for barren := 0; ; {
		gained, err := try()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		failed.add(display(url), err)
		if barren++; gained >= c.limits.Progress {
			barren = 0
		}
		if !errors.Is(err, ErrUnreachable) || barren >= c.limits.Attempts {
			return false
		}
		var asked time.Duration
		if status, ok := errors.AsType[*StatusError](err); ok {
			asked = status.RetryAfter
		}
		if !sleep(ctx, c.limits.pause(barren, asked)) {
			return false
		}
	}
}

// sleep waits and tells whether ctx lasted.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
