package report

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/farboot/farboot/payload/fetch"
)

const (
	// postTime bounds the way to one server, the lookup of its name included.
	postTime = 5 * time.Second
	// postTotal bounds the way to all of them: a report never holds up a boot.
	postTotal = 10 * time.Second
)

// ErrNotTaken is wrapped by the error of [Post] where every server answered and
// none of them takes reports, as plain web servers do. It is no trouble.
var ErrNotTaken = errors.New("no server takes reports")

// Post sends a report to the first server that takes it, by HTTP POST, and
// tries each URL once. Its error names each URL, without credentials and query,
// and why that failed; it ends no boot.
func Post(ctx context.Context, client *fetch.Client, urls []string, r Report) error {
	data, err := Encode(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, postTotal, fmt.Errorf("no server took it within %s", postTotal))
	defer cancel()
	failed, deaf := new(fetch.Error), 0
	for _, url := range urls {
		err := post(ctx, client, url, data)
		if err == nil {
			return nil
		}
		if takesNone(err) {
			deaf++
		}
		if one, ok := errors.AsType[*fetch.Error](err); ok {
			failed.Attempts = append(failed.Attempts, one.Attempts...)
		}
	}
	if deaf == len(urls) {
		return fmt.Errorf("%w: %w", ErrNotTaken, failed)
	}
	return failed
}

// post sends to one server.
func post(ctx context.Context, client *fetch.Client, url string, data []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, postTime, fmt.Errorf("no answer within %s", postTime))
	defer cancel()
	return client.Post(ctx, url, "application/json", data)
}

// takesNone tells whether a server says that there is nothing at the URL to
// post to.
func takesNone(err error) bool {
	status, ok := errors.AsType[*fetch.StatusError](err)
	if !ok {
		return false
	}
	switch status.Code {
	case 403, 404, 405, 410, 501:
		return true
	}
	return false
}
