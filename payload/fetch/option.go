package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/url"
	"time"
)

// Option changes how a Client reaches servers.
type Option func(*config)

// config is what the options make of a Client.
type config struct {
	limits Limits
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	proxy  func(*http.Request) (*url.URL, error) // nil is no proxy
	roots  *x509.CertPool                        // nil is the system's
	unsure bool                                  // whether certificates are judged by floor as well
	floor  time.Time
	onDate func(date time.Time, url string, secure bool)
}

// Proxy takes the proxy that the environment names (HTTPS_PROXY and so on). It
// is for the builder: a machine that boots has no environment to trust.
func Proxy() Option {
	return func(c *config) { c.proxy = http.ProxyFromEnvironment }
}

// ProxyURL asks every server through one HTTP proxy, https servers by CONNECT,
// so that the proxy sees no more of them than their names. u has the scheme
// "http", a host and perhaps a user and a password (Basic, RFC 7617), which
// appear in no message. Names are looked up by the proxy.
func ProxyURL(u *url.URL) Option {
	return func(c *config) { c.proxy = http.ProxyURL(u) }
}

// Dial replaces the way to a server: addr is "HOST:PORT". Tests bring networks of
// their own.
func Dial(dial func(ctx context.Context, network, addr string) (net.Conn, error)) Option {
	return func(c *config) { c.dial = dial }
}

// Roots replaces the system's root certificates.
func Roots(pool *x509.CertPool) Option {
	return func(c *config) { c.roots = pool }
}

// transport builds what New needs.
func (c *config) transport() *http.Transport {
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	t := &http.Transport{
		DialContext:            c.dial,
		Proxy:                  c.proxy,
		TLSClientConfig:        &tls.Config{RootCAs: c.roots},
		DisableCompression:     true,
		MaxResponseHeaderBytes: c.limits.HeaderBytes,
		MaxIdleConnsPerHost:    c.limits.IdleConns,
		IdleConnTimeout:        c.limits.IdleTime,
		Protocols:              http1,
	}
	if c.unsure { // net/http's own way to an https server has no place for another judgement
		t.DialTLSContext = c.dialTLS
		t.Proxy = c.proxyPlain
	}
	return t
}
