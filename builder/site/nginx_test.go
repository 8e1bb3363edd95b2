package site

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch"
)

// nginxConfig is all that nginx needs to serve a site: user, folder for its own
// files, address, and the site.
const nginxConfig = `
daemon off; worker_processes 1; %[1]s
error_log stderr; pid %[2]s/pid;
events {}
http {
	client_body_temp_path %[2]s/a; proxy_temp_path %[2]s/b; fastcgi_temp_path %[2]s/c; uwsgi_temp_path %[2]s/d; scgi_temp_path %[2]s/e;
	access_log off; sendfile on; default_type application/octet-stream;
	server { listen %[3]s; root %[4]s; }
}`

// nginx serves dir and returns the base URL.
func nginx(t testing.TB, dir string) string {
	t.Helper()
	program, err := exec.LookPath("nginx")
	if err != nil {
		program = "/usr/sbin/nginx" // not in a user's PATH
	}
	if _, err := os.Stat(program); err != nil {
		t.Fatal("nginx is missing: apt-get install nginx-light")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr, own := ln.Addr().String(), t.TempDir()
	ln.Close() // for nginx to take
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // others may not enter the test's folders
	}
	config := filepath.Join(own, "nginx.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, nginxConfig, user, own, addr, dir), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-p", own, "-e", "stderr", "-c", config)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(os.Interrupt)
		<-ended
	})
	for range 500 {
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			return "http://" + addr
		}
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("nginx: %v\n%s", err, &stderr)
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatalf("nginx does not answer\n%s", &stderr)
	return ""
}

// buffer is an io.WriterAt in memory.
type buffer []byte

func (b buffer) WriteAt(p []byte, off int64) (int, error) { return copy(b[off:], p), nil }

// TestNginxDoesTheSame: a plain web server and ours hand out the same site, to
// the very client that machines use, and treat ranges alike.
func TestNginxDoesTheSame(t *testing.T) {
	p := newProject(t)
	p.publish(t)
	ours, _ := serve(t, p.options.Dir)
	theirs := nginx(t, p.options.Dir)
	client := fetch.New(fetch.DefaultLimits())
	defer client.Close()
	for _, base := range []string{ours, theirs} {
		files := func(ctx context.Context, name string, max int64) ([]byte, error) {
			return client.Document(ctx, base+"/"+name, max)
		}
		a, err := asMedium(t.Context(), p.options.Keys.Store, p.terms(), files, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range a.Manifest.Refs() {
			got := make(buffer, ref.Size)
			if err := client.Object(t.Context(), []string{base + "/" + ref.Path()}, ref, got, nil); err != nil {
				t.Error(err)
			}
			if !bytes.Equal(got, p.read(t, ref.Path())) {
				t.Errorf("%s: other bytes", ref)
			}
		}
	}
	for name := range p.list(t) {
		for _, r := range []string{"", "bytes=0-0", "bytes=3-", "bytes=-3", "bytes=1-2", "bytes=99999999-"} {
			for _, current := range []bool{false, true} {
				a, b := get(t, ours, name, r, current), get(t, theirs, name, r, current)
				if a != b {
					t.Errorf("%s, Range %q, If-Range %v:\nours   %.200s\ntheirs %.200s", name, r, current, a, b)
				}
			}
		}
	}
	for _, name := range []string{"", "none", "objects", "../keys/trust/1.json"} {
		if a, b := get(t, ours, name, "", false), get(t, theirs, name, "", false); a[:3] == "200" || b[:3] == "200" {
			t.Errorf("GET %q: ours %.60s, theirs %.60s", name, a, b)
		}
	}
}

// get returns what matters of an answer: status, length, range and body. With
// current set, the range is asked for only if the file is still the same.
func get(t *testing.T, base, name, byteRange string, current bool) string {
	t.Helper()
	r, err := http.NewRequest("GET", base+"/"+name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if byteRange != "" {
		r.Header.Set("Range", byteRange)
	}
	if current {
		resp, err := http.Head(base + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		r.Header.Set("If-Range", resp.Header.Get("Etag"))
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode >= 300 {
		body = nil // words differ
	}
	return fmt.Sprintf("%d range %q: %d bytes, %x", resp.StatusCode, resp.Header.Get("Content-Range"), len(body), body)
}

// BenchmarkServe compares the rate of one large object with nginx's.
func BenchmarkServe(b *testing.B) {
	dir := b.TempDir()
	const size = 256 << 20
	if err := os.WriteFile(filepath.Join(dir, "object"), make([]byte, size), 0o644); err != nil {
		b.Fatal(err)
	}
	ours, _ := serve(b, dir)
	for name, base := range map[string]string{"farboot": ours, "nginx": nginx(b, dir)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				resp, err := http.Get(base + "/object")
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
					b.Fatal(n, err)
				}
				resp.Body.Close()
			}
		})
	}
}
