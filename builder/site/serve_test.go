package site

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// request asks handler, and returns the answer with its body.
func request(t testing.TB, h http.Handler, method, target string, header ...string) (*http.Response, []byte) {
	t.Helper()
	r := &http.Request{Method: method, URL: &url.URL{Path: target}, Header: http.Header{}, Host: "x", ProtoMajor: 1, ProtoMinor: 1}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), w.Body.Bytes()
}

func TestHandler(t *testing.T) {
	p := newProject(t)
	p.publish(t)
	h := Handler(p.options.Dir, nil)
	for name := range p.list(t) {
		want := p.read(t, name)
		resp, body := request(t, h, "GET", "/"+name)
		if resp.StatusCode != 200 || !bytes.Equal(body, want) || resp.ContentLength != int64(len(want)) {
			t.Errorf("GET %s: %s, %d bytes, want %d", name, resp.Status, len(body), len(want))
		}
		tag := resp.Header.Get("Etag")
		if tag == "" || strings.HasPrefix(tag, "W/") || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("GET %s: header %v", name, resp.Header)
		}
		if resp, body := request(t, h, "HEAD", "/"+name); resp.StatusCode != 200 || len(body) != 0 || resp.ContentLength != int64(len(want)) {
			t.Errorf("HEAD %s: %s, %d bytes", name, resp.Status, len(body))
		}
		if resp, body := request(t, h, "GET", "/"+name, "If-None-Match", tag); resp.StatusCode != 304 || len(body) != 0 {
			t.Errorf("GET %s with its ETag: %s", name, resp.Status)
		}
		if resp, body := request(t, h, "GET", "/"+name, "Range", "bytes=2-4", "If-Range", tag); resp.StatusCode != 206 || !bytes.Equal(body, want[2:5]) {
			t.Errorf("GET %s with Range: %s, %q", name, resp.Status, body)
		}
		if resp, body := request(t, h, "GET", "/"+name, "Range", "bytes=2-4", "If-Range", `"other"`); resp.StatusCode != 200 || len(body) != len(want) {
			t.Errorf("GET %s with Range of another version: %s", name, resp.Status)
		}
		if resp, _ := request(t, h, "GET", "/"+name, "Range", "bytes=99999999-"); resp.StatusCode != 416 {
			t.Errorf("GET %s beyond its end: %s", name, resp.Status)
		}
	}
	kernel := p.options.Entries["installer"].Linux.Kernel
	resp, _ := request(t, h, "HEAD", "/"+kernel.Path())
	if resp.Header.Get("Etag") != `"`+kernel.SHA256.String()+`"` || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("object: header %v", resp.Header)
	}
	before, _ := request(t, h, "HEAD", "/manifest.json")
	p.publish(t)
	after, _ := request(t, h, "HEAD", "/manifest.json")
	if before.Header.Get("Etag") == after.Header.Get("Etag") {
		t.Error("two manifests have one ETag")
	}
}

// TestHandlerHides: nothing but plain files of the folder, by their only name.
func TestHandlerHides(t *testing.T) {
	p := newProject(t)
	p.publish(t)
	dir := p.options.Dir
	for _, err := range []error{
		os.WriteFile(filepath.Join(p.dir, "outside"), []byte("secret"), 0o644),
		os.Mkdir(filepath.Join(dir, ".git"), 0o755),
		os.WriteFile(filepath.Join(dir, ".git", "config"), []byte("secret"), 0o644),
		os.WriteFile(filepath.Join(dir, ".hidden"), []byte("secret"), 0o644),
		os.WriteFile(filepath.Join(dir, "objects", ".hidden"), []byte("secret"), 0o644),
		os.Symlink("../outside", filepath.Join(dir, "link")),
		os.Symlink(filepath.Join(p.dir, "outside"), filepath.Join(dir, "absolute")),
		os.Symlink("..", filepath.Join(dir, "up")),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	h := Handler(dir, nil)
	for _, target := range []string{
		"", "/", "//", "/objects", "/objects/", "/trust/", "/manifest.json/", "//manifest.json", "/./manifest.json", "/objects/../manifest.json",
		"/../outside", "/..", "/up/outside", "/link", "/absolute", "/.git/config", "/.hidden", "/objects/.hidden", "/pipe", "/none",
		"/manifest.json\x00", "/\\manifest.json", "/objects\\x", "manifest.json", "*", "/%2e%2e/outside", "/\xff", "/" + strings.Repeat("x", 5000),
	} {
		resp, body := request(t, h, "GET", target)
		if resp.StatusCode != 404 || bytes.Contains(body, []byte("secret")) || resp.Header.Get("Location") != "" {
			t.Errorf("GET %q: %s, %q", target, resp.Status, body)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", ""} {
		if resp, _ := request(t, h, method, "/manifest.json"); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %s", method, resp.Status)
		}
	}
	if err := os.Symlink("manifest.json", filepath.Join(dir, "alias.json")); err != nil {
		t.Fatal(err)
	}
	if resp, _ := request(t, h, "GET", "/alias.json"); resp.StatusCode != 200 {
		t.Errorf("a link inside the folder: %s", resp.Status)
	}
}

func FuzzPath(f *testing.F) {
	p := newProject(f)
	p.publish(f)
	outside := filepath.Join(p.dir, "outside")
	if err := os.WriteFile(outside, []byte("secret"), 0o644); err != nil {
		f.Fatal(err)
	}
	h := Handler(p.options.Dir, nil)
	names := map[string]bool{}
	for name := range p.list(f) {
		names["/"+name] = true
		f.Add("/" + name)
	}
	f.Add("/../outside")
	f.Add("/objects//x")
	f.Fuzz(func(t *testing.T, target string) {
		resp, body := request(t, h, "GET", target)
		if (resp.StatusCode == 200) != names[target] || resp.StatusCode != 200 && resp.StatusCode != 404 {
			t.Fatalf("GET %q: %s", target, resp.Status)
		}
		if bytes.Contains(body, []byte("secret")) {
			t.Fatalf("GET %q: %q", target, body)
		}
	})
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	sync.Mutex
	bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Buffer.Write(p)
}

// serve runs Serve for the test and returns its base URL and access log.
func serve(t testing.TB, dir string) (base string, accessLog *lockedBuffer) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	accessLog = &lockedBuffer{}
	done := make(chan error)
	go func() { done <- Serve(ctx, ln, dir, accessLog) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return "http://" + ln.Addr().String(), accessLog
}

func TestServe(t *testing.T) {
	p := newProject(t)
	p.publish(t)
	base, accessLog := serve(t, p.options.Dir)
	resp, err := http.Get(base + "/manifest.json")
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !bytes.Equal(body, p.read(t, "manifest.json")) || resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("GET: %v, %q", err, body)
	}
	if _, err := http.Get(base + "/bad%0apath"); err != nil {
		t.Error(err)
	}
	// The log line follows the answer.
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		accessLog.Lock()
		text := accessLog.String()
		accessLog.Unlock()
		if strings.Count(text, "\n") < 2 {
			continue
		}
		if !strings.Contains(text, fmt.Sprintf(`GET "/manifest.json" 200 %d `, len(body))) || !strings.Contains(text, `GET "/bad\npath" 404 `) {
			t.Errorf("access log:\n%s", text)
		}
		return
	}
	t.Error("no line in the access log")
}

// TestServeStops: the end of the context ends idle connections and the server.
func TestServeStops(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, ln, t.TempDir(), nil) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Serve = %v", err)
	}
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("still listening")
	}
	if err := Serve(t.Context(), ln, t.TempDir(), nil); err == nil {
		t.Error("Serve on a closed listener = nil")
	}
}
