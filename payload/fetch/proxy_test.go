package fetch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
)

// proxy is an HTTP proxy on a fake network that wants a password.
type proxy struct {
	n     *network
	asked []string
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.asked = append(p.asked, r.Method+" "+r.RequestURI)
	if user, password, ok := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth(); !ok || user != "user" || password != "secret" {
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	if r.Method != http.MethodConnect {
		(&httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}, Transport: &http.Transport{DialContext: p.n.dial, DisableKeepAlives: true}}).ServeHTTP(w, r)
		return
	}
	far, err := p.n.dial(r.Context(), "tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	near, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	io.WriteString(near, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { defer far.Close(); io.Copy(far, near) }()
	defer near.Close()
	io.Copy(near, far)
}

func TestProxyURL(t *testing.T) {
	// The certificate is too young for the bubble's clock, at 2000-01-01.
	cert, roots := mint(t, time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	for _, tt := range []struct {
		name, proxy, url string
		options          []Option
		asked, text      string
	}{
		{"http", "http://user:secret@p:3128", "http://a/d", nil, "[GET http://a/d]", ""},
		{"https", "http://user:secret@p:3128", "https://a/d", []Option{UnsureClock(time.Time{})}, "[CONNECT a:443]", ""},
		{"http, with an unsure clock", "http://user:secret@p:3128", "http://a/d", []Option{UnsureClock(time.Time{})}, "[GET http://a/d]", ""},
		{"https, but the clock is sure", "http://user:secret@p:3128", "https://a/d", nil, "[CONNECT a:443]", "this machine's clock or the certificate is wrong"},
		{"https, other name", "http://user:secret@p:3128", "https://b/d", []Option{UnsureClock(time.Time{})}, "[CONNECT b:443]", "valid for a, not b"},
		{"wrong password", "http://user:wrong-secret@p:3128", "https://a/d", []Option{UnsureClock(time.Time{})}, "[CONNECT a:443]", "proxy: server answers 407"},
		{"server that is down", "http://user:secret@p:3128", "https://c/d", []Option{UnsureClock(time.Time{})},
			"[CONNECT c:443 CONNECT c:443 CONNECT c:443 CONNECT c:443 CONNECT c:443]", "proxy: server answers 502"},
		{"proxy that is down", "http://user:secret@q", "https://a/d", []Option{UnsureClock(time.Time{})}, "[]", "proxy: no route to host (5 times)"},
		{"proxy of another kind", "socks5://user:secret@p:3128", "https://a/d", []Option{UnsureClock(time.Time{})}, "[]", `scheme "socks5"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				n.serve("a", evil.Content([]byte("hello")))
				n.listenTLS("a:443", evil.New(evil.Content([]byte("hello"))), cert)
				n.listenTLS("b:443", evil.New(evil.Content([]byte("hello"))), cert)
				p := &proxy{n: n}
				n.listen("p:3128", p)
				u, err := url.Parse(tt.proxy)
				if err != nil {
					t.Fatal(err)
				}
				c := n.client(append(tt.options, ProxyURL(u), Roots(roots))...)
				doc, err := c.Document(t.Context(), tt.url, 100)
				switch {
				case tt.text == "" && (err != nil || string(doc) != "hello"):
					t.Errorf("%q, error %v", doc, err)
				case tt.text != "" && (err == nil || !strings.Contains(err.Error(), tt.text)):
					t.Errorf("error %v, want %q", err, tt.text)
				case tt.name == "wrong password" && (!errors.Is(err, ErrRefused) || errors.Is(err, ErrUnreachable)):
					t.Errorf("error %v, want %q only", err, ErrRefused)
				case tt.text != "" && strings.Contains(err.Error(), "secret"):
					t.Errorf("the error tells a secret: %v", err)
				}
				if got := fmt.Sprint(p.asked); got != tt.asked {
					t.Errorf("the proxy was asked %s, want %s", got, tt.asked)
				}
			})
		})
	}
}

// TestEvilProxy has proxies that flood, keep silent and talk out of turn.
func TestEvilProxy(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 20_000): "no usable answer: proxy: header of more than 65536 bytes (5 times)",
		"HTTP/1.1 403 \x1b[2J\r\n\r\n":                             "proxy: server answers 403 Forbidden",
		"HTTP/1.1 200 OK\r\n\r\nI am the server":                   "proxy: refused: it speaks before the server does",
		"":                                                         "no usable answer: no answer within 30s (5 times)",
	} {
		bubble(t, func(t *testing.T, n *network) {
			l := n.listener("p:80")
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					go func() {
						defer conn.Close()
						http.ReadRequest(bufio.NewReader(conn))
						io.WriteString(conn, answer)
						io.Copy(io.Discard, conn)
					}()
				}
			}()
			defer l.Close()
			c := n.client(ProxyURL(&url.URL{Scheme: "http", Host: "p"}), UnsureClock(time.Time{}))
			if _, err := c.Document(t.Context(), "https://a/d", 100); err == nil || err.Error() != "https://a/d: "+want {
				t.Errorf("%.40q: error %v, want %s", answer, err, want)
			}
		})
	}
}
