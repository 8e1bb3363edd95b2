package fetch

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxAnswer bounds what is read of the answer to a POST, in bytes. Nothing of it
// is used, but the beginning of a captive portal's page gives it away.
const maxAnswer = 4 << 10

// Post sends body to url once, and wants an answer of 2xx. No redirect is
// followed: the owner named who gets to read it. The error is an [*Error] of one
// attempt.
func (c *Client) Post(ctx context.Context, url, contentType string, body []byte) error {
	if err := c.post(ctx, url, contentType, body); err != nil {
		failed := new(Error)
		failed.add(display(url), err)
		return failed
	}
	return nil
}

func (c *Client) post(ctx context.Context, url, contentType string, body []byte) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := newRequest(ctx, url, http.Header{"Content-Type": {contentType}})
	if err != nil {
		return err
	}
	req.Method = http.MethodPost
	req.ContentLength = int64(len(body))
	// The transport asks for it again where a kept connection turns out dead.
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = req.GetBody()
	once := &http.Client{Transport: c.http.Transport, CheckRedirect: stay}
	watch := time.AfterFunc(c.limits.Answer, func() {
		cancel(fmt.Errorf("no answer within %s", c.limits.Answer))
	})
	defer watch.Stop()
	resp, err := once.Do(req)
	if err != nil {
		return classify(orCause(ctx, err))
	}
	defer resp.Body.Close()
	if c.date != nil {
		c.date(resp)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return statusError(resp)
	}
	// It was taken, whatever becomes of the rest of the answer.
	if answer, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)); LooksLikeHTML(answer) {
		return fmt.Errorf("%w: %w", ErrCorrupt, errHTML)
	}
	return nil
}

// stay follows no redirect: its answer is the last one.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
