package fetch

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// TestFileServer resumes from the standard library's file server, over a real
// connection, into a real file.
func TestFileServer(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "o"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	srv := evil.Serve(t, http.FileServer(http.Dir(dir)), evil.First(1, evil.Cut(100_000)))
	l := DefaultLimits()
	l.Backoff = 0
	c := New(l)
	defer c.Close()
	dst, err := os.Create(filepath.Join(dir, "dst"))
	if err != nil {
		t.Fatal(err)
	}
	defer dst.Close()
	urls := []string{evil.Down(t), srv.URL + "/none", srv.URL + "/o"}
	if err := c.Object(t.Context(), urls, object.OfBytes(data), dst, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dst.Name()); err != nil || !bytes.Equal(got, data) {
		t.Errorf("other bytes, or error %v", err)
	}
}

// TestProxyOnlyByOption wants the environment's proxy to be asked by a client
// with that option, and by no other.
func TestProxyOnlyByOption(t *testing.T) {
	target, _ := http.NewRequest(http.MethodGet, "http://a/", nil)
	transport := func(c *Client) *http.Transport { return c.http.Transport.(*http.Transport) }
	if transport(New(DefaultLimits())).Proxy != nil {
		t.Error("a client without options asks a proxy")
	}
	if p := transport(New(DefaultLimits(), Proxy())).Proxy; p == nil {
		t.Error("a client with the option asks none")
	} else if _, err := p(target); err != nil {
		t.Error(err)
	}
}

// FuzzAnswer lets a server send anything at all. An object arrives right or not
// at all, a document never passes its cap, and no call hangs or panics.
func FuzzAnswer(f *testing.F) {
	const body = "the object"
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nthe object",
		"HTTP/1.0 200 OK\r\n\r\nthe object",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nthe object\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 10\r\n\r\nthe",
		"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/10\r\n\r\nthe object",
		"HTTP/1.1 302 Found\r\nLocation: http://a/x\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Slow\r\nRetry-After: 9\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 11\r\n\r\nthe object",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		synctest.Test(t, func(t *testing.T) {
			dial := func(context.Context, string, string) (net.Conn, error) {
				client, server := net.Pipe()
				go func() {
					defer server.Close()
					buf := make([]byte, 4096)
					if _, err := server.Read(buf); err == nil {
						server.Write(answer)
					}
				}()
				return client, nil
			}
			c := New(DefaultLimits(), func(c *config) { c.dial = dial })
			defer c.Close()
			dst := make(file, len(body))
			err := c.Object(t.Context(), []string{"http://a/o"}, object.OfBytes([]byte(body)), dst, nil)
			if err == nil && string(dst) != body {
				t.Errorf("no error, but %q", dst)
			}
			if doc, _ := c.Document(t.Context(), "http://a/d", 5); len(doc) > 5 {
				t.Errorf("a document of %d bytes, cap 5", len(doc))
			}
		})
	})
}
