package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// get sends one GET, with the given header besides its own, and hands the
// answer to take. Reading the answer's body keeps to the limits, and every
// error of it has a class.
func (c *Client) get(ctx context.Context, rawURL string, header http.Header, take func(*http.Response) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := newRequest(ctx, rawURL, header)
	if err != nil {
		return err
	}
	watch := time.AfterFunc(c.limits.Answer, func() {
		cancel(fmt.Errorf("no answer within %s", c.limits.Answer))
	})
	resp, err := c.http.Do(req)
	watch.Stop()
	if err != nil {
		return classify(orCause(ctx, err))
	}
	defer resp.Body.Close()
	if c.date != nil {
		c.date(resp)
	}
	resp.Body = &paced{ReadCloser: resp.Body, limits: c.limits, ctx: ctx, cancel: cancel}
	return take(resp)
}

// newRequest checks the URL and sets the header.
func newRequest(ctx context.Context, rawURL string, header http.Header) (*http.Request, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: not a URL", ErrRefused)
	}
	if err := checkURL(u); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("%w: not a URL", ErrRefused)
	}
	maps.Copy(req.Header, header)
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "identity")
	return req, nil
}

// checkURL refuses what is never asked, be it by a caller or by a redirect.
func checkURL(u *url.URL) error {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%w: scheme %q, only http and https are asked", ErrRefused, u.Scheme)
	case u.User != nil:
		return fmt.Errorf("%w: the URL holds credentials", ErrRefused)
	case u.Hostname() == "":
		return fmt.Errorf("%w: the URL names no host", ErrRefused)
	}
	return nil
}

// checkRedirect implements http.Client's hook. A redirect may lead to another
// path, or from http to https, but not to another server: the recipe names the
// servers.
func (l Limits) checkRedirect(next *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL
	next.Header.Del("Referer") // it would repeat the query
	if len(via) > l.Redirects {
		return fmt.Errorf("%w: more than %d redirects", ErrRefused, l.Redirects)
	}
	if err := checkURL(next.URL); err != nil {
		return fmt.Errorf("redirect: %w", err)
	}
	upgrade := from.Scheme == "http" && next.URL.Scheme == "https"
	switch {
	case from.Scheme != next.URL.Scheme && !upgrade:
		return fmt.Errorf("%w: redirect from https to http", ErrRefused)
	case !strings.EqualFold(from.Hostname(), next.URL.Hostname()),
		from.Port() != next.URL.Port() && !upgrade:
		return fmt.Errorf("%w: redirect to another server, %q (%w)", ErrRefused, next.URL.Host, ErrPortal)
	}
	return nil
}

// statusError makes the error of an answer whose status is not the wanted one.
// Of the two forms of Retry-After only the seconds count: the other is a date,
// and the machine's clock may be wrong.
func statusError(resp *http.Response) error {
	e := &StatusError{Code: resp.StatusCode}
	if s, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31); err == nil {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	return e
}

// paced is a body that fails where it falls silent or crawls. Only the time
// spent waiting for the server counts, not what the caller does between reads.
type paced struct {
	io.ReadCloser
	limits Limits
	ctx    context.Context // the request's
	cancel context.CancelCauseFunc

	waited time.Duration // in the present span
	got    int64         // in the present span
}

// Read implements io.Reader. Every error but io.EOF has a class.
func (p *paced) Read(b []byte) (int, error) {
	watch := time.AfterFunc(p.limits.Stall, func() {
		p.cancel(fmt.Errorf("no data for %s", p.limits.Stall))
	})
	start := time.Now()
	n, err := p.ReadCloser.Read(b)
	watch.Stop()
	if err != nil {
		if !errors.Is(err, io.EOF) {
			err = classify(orCause(p.ctx, err))
		}
		return n, err
	}
	p.got += int64(n)
	if p.waited += time.Since(start); p.waited < p.limits.Stall {
		return n, nil
	}
	if rate := perSecond(p.got, p.waited); rate < p.limits.MinRate {
		return n, fmt.Errorf("%w: %d bytes/s, at least %d are waited for", ErrUnreachable, rate, p.limits.MinRate)
	}
	p.waited, p.got = 0, 0
	return n, nil
}

// perSecond returns the rate of n bytes in d, which is not 0.
func perSecond(n int64, d time.Duration) int64 { return int64(float64(n) / d.Seconds()) }

// orCause returns why ctx has ended where it has, and err otherwise.
func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// display returns the part of a URL that may be shown: no credentials, query
// or fragment.
func display(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "(not a URL)"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}
