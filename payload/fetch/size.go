package fetch

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Size asks how many bytes a file has, by asking for the first of them: some servers
// answer no HEAD. It is what the server says, and nothing else vouches for it. One that
// does not say is an error that wraps [ErrCorrupt].
func (c *Client) Size(ctx context.Context, url string) (int64, error) {
	size := int64(-1)
	failed := new(Error)
	ok := c.persist(ctx, url, failed, func() (int64, error) {
		return 0, c.get(ctx, url, http.Header{"Range": {"bytes=0-0"}}, func(resp *http.Response) error {
			switch resp.StatusCode {
			case http.StatusOK:
				size = resp.ContentLength
			case http.StatusPartialContent:
				total, _ := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes 0-0/")
				if n, err := strconv.ParseUint(total, 10, 63); err == nil {
					size = int64(n)
				}
			default:
				return statusError(resp)
			}
			if size < 0 {
				return fmt.Errorf("%w: the server does not say how long the file is", ErrCorrupt)
			}
			return nil
		})
	})
	switch {
	case ok:
		return size, nil
	case ctx.Err() != nil:
		return 0, fmt.Errorf("%s: %w", display(url), context.Cause(ctx))
	}
	return 0, failed
}
