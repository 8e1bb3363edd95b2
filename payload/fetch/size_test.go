package fetch_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/farboot/farboot/payload/fetch"
)

// TestSize: what a server says of a file's length, with and without ranges.
func TestSize(t *testing.T) {
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		want    int64
		err     error
	}{
		"ranges": {func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, "size.go") }, -1, nil},
		"no ranges": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "7")
			w.Write([]byte("content"))
		}, 7, nil},
		"large": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-0/5038098432")
			w.WriteHeader(http.StatusPartialContent)
		}, 5038098432, nil},
		"a range of unknown": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Range", "bytes 0-0/*")
			w.WriteHeader(http.StatusPartialContent)
		}, 0, fetch.ErrCorrupt},
		"unknown": {func(w http.ResponseWriter, r *http.Request) { w.(http.Flusher).Flush() }, 0, fetch.ErrCorrupt},
		"missing": {http.NotFound, 0, fetch.ErrNotFound},
	} {
		server := httptest.NewServer(c.handler)
		defer server.Close()
		limits := fetch.DefaultLimits()
		limits.Attempts = 1
		client := fetch.New(limits)
		defer client.Close()
		got, err := client.Size(t.Context(), server.URL+"/x")
		if !errors.Is(err, c.err) || c.want >= 0 && got != c.want || c.want < 0 && got < 500 {
			t.Errorf("%s: %d, %v", name, got, err)
		}
	}
}
