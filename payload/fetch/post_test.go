package fetch

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
)

// posts returns a server that answers a POST of "body" with the status and text,
// and tells what it was asked.
func posts(t *testing.T, status int, text string) (*httptest.Server, *[]string) {
	t.Helper()
	var asked []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		asked = append(asked, r.Method+" "+r.URL.String()+" "+r.Header.Get("Content-Type")+" "+string(body))
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		io.WriteString(w, text)
	}))
	t.Cleanup(srv.Close)
	return srv, &asked
}

func TestPost(t *testing.T) {
	for _, tt := range []struct {
		status int
		text   string
		class  error // nil where the report was taken
	}{
		{204, "", nil},
		{200, "thank you", nil},
		{201, strings.Repeat("more than is read. ", 1<<16), nil},
		{200, "<!DOCTYPE html><title>Log in</title>", ErrPortal},
		{301, "", ErrRefused},
		{302, "", ErrRefused},
		{307, "", ErrRefused},
		{308, "", ErrRefused},
		{400, "", ErrRefused},
		{404, "", ErrNotFound},
		{405, "", ErrRefused},
		{429, "", ErrUnreachable},
		{503, "", ErrUnreachable},
	} {
		srv, asked := posts(t, tt.status, tt.text)
		c := New(DefaultLimits())
		err := c.Post(t.Context(), srv.URL+"/reports?token=hush", "application/json", []byte("body"))
		if !errors.Is(err, tt.class) || (err == nil) != (tt.class == nil) {
			t.Errorf("%d: error %v, want %v", tt.status, err, tt.class)
		}
		if err != nil && (strings.Contains(err.Error(), "hush") || !strings.Contains(err.Error(), srv.URL+"/reports")) {
			t.Errorf("%d: error %v", tt.status, err)
		}
		if want := "POST /reports?token=hush application/json body"; len(*asked) != 1 || (*asked)[0] != want {
			t.Errorf("%d: asked for %q, want %q once", tt.status, *asked, want)
		}
		c.Close()
	}
}

// What a URL must not hold, and a server that is not there.
func TestPostRefuses(t *testing.T) {
	c := New(DefaultLimits())
	for _, bad := range []string{"ftp://a/", "http://u:hush@a/", "http:///x", "%", "file:///etc/passwd"} {
		if err := c.Post(t.Context(), bad, "a/b", nil); !errors.Is(err, ErrRefused) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if err := c.Post(t.Context(), evil.Down(t), "a/b", nil); !errors.Is(err, ErrUnreachable) {
		t.Errorf("error %v of no server", err)
	}
}

// A server that takes the connection and says nothing, or goes on saying nothing
// after it took the report, holds nobody up.
func TestPostSilence(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		n.listen("mute:80", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
		n.listen("slow:80", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(200)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}))
		c := n.client()
		start := time.Now()
		err := c.Post(t.Context(), "http://mute/", "a/b", []byte("x"))
		if waited := time.Since(start); !errors.Is(err, ErrUnreachable) || waited != c.limits.Answer {
			t.Errorf("error %v after %s", err, waited)
		}
		start = time.Now()
		err = c.Post(t.Context(), "http://slow/", "a/b", []byte("x"))
		if waited := time.Since(start); err != nil || waited > c.limits.Answer {
			t.Errorf("error %v after %s", err, waited)
		}
	})
}

// The rules for certificates are those of every other request.
func TestPostTLS(t *testing.T) {
	root := mintRoot(t, time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC))
	cert := root.issue(t, time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2080, 1, 1, 0, 0, 0, 0, time.UTC))
	foreign := mintRoot(t, time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC))
	bubble(t, func(t *testing.T, n *network) {
		n.listenTLS("a:443", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }), cert)
		if err := n.client(Roots(root.pool()), UnsureClock(time.Time{})).Post(t.Context(), "https://a/", "a/b", nil); err != nil {
			t.Error(err)
		}
		if err := n.client(Roots(foreign.pool()), UnsureClock(time.Time{})).Post(t.Context(), "https://a/", "a/b", nil); !errors.Is(err, ErrRefused) {
			t.Errorf("error %v of a foreign root", err)
		}
	})
}

// A proxy carries it as well.
func TestPostProxy(t *testing.T) {
	srv, asked := posts(t, 204, "")
	u, _ := url.Parse(srv.URL)
	c := New(DefaultLimits(), ProxyURL(u))
	if err := c.Post(t.Context(), "http://nowhere.invalid/reports", "a/b", []byte("x")); err != nil {
		t.Error(err)
	}
	if len(*asked) != 1 || (*asked)[0] != "POST http://nowhere.invalid/reports a/b x" {
		t.Errorf("asked for %q", *asked)
	}
}
