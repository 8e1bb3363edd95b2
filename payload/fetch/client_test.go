package fetch

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

const body = "the object"

// answers are seeds for what a server may send.
var answers = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nthe object",
	"HTTP/1.0 200 OK\r\n\r\nthe object",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nthe object\r\n0\r\nX: y\r\n\r\n",
	"HTTP/1.1 200 OK\r\nETag: \"x\"\r\nContent-Length: 10\r\n\r\nthe",
	"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-9/10\r\n\r\nthe object",
	"HTTP/1.1 302 Found\r\nLocation: http://a/x\r\n\r\n",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 Slow\r\nRetry-After: 9\r\n\r\n",
	"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 11\r\n\r\nthe object",
}

// FuzzAnswer lets a server send anything at all. An object arrives right or not
// at all, a document never passes its cap, and no call hangs or panics.
func FuzzAnswer(f *testing.F) {
	for _, s := range answers {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		synctest.Test(t, func(t *testing.T) {
			dial := func(context.Context, string, string) (net.Conn, error) { return sends(answer), nil }
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

// sends returns a connection to a server that sends anything at all.
func sends(answer []byte) net.Conn {
	client, server := net.Pipe()
	go func() {
		defer server.Close()
		buf := make([]byte, 4096)
		if _, err := server.Read(buf); err == nil {
			server.Write(answer)
		}
	}()
	return client
}

// FuzzMirrors lets one mirror send anything at all. The object arrives from the
// other, within minutes, and the other keeps its name.
func FuzzMirrors(f *testing.F) {
	for _, s := range answers {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		bubble(t, func(t *testing.T, n *network) {
			n.serve("b", evil.Content([]byte(body)), evil.After(1, evil.First(1, evil.Cut(5))))
			c := New(DefaultLimits(), func(c *config) {
				c.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
					if addr == "a:80" {
						return sends(answer), nil
					}
					return n.dial(ctx, network, addr)
				}
			})
			defer c.Close()
			m := NewMirrors(c, nil, "http://a", "http://b")
			start := time.Now()
			m.Probe(t.Context(), "manifest.json")
			for range 2 {
				dst := make(file, len(body))
				if err := m.Object(t.Context(), object.OfBytes([]byte(body)), dst, nil); err != nil || string(dst) != body {
					t.Errorf("%q, error %v", dst, err)
				}
			}
			if took := time.Since(start); took > 5*time.Minute {
				t.Errorf("took %s", took)
			}
			if strings.Contains(condemned(m), "b") {
				t.Error("the good mirror is condemned")
			}
		})
	})
}
