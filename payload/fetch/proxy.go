package fetch

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
)

// proxyPlain names the proxy for http URLs only: dialTLS goes its own way.
func (c *config) proxyPlain(req *http.Request) (*url.URL, error) {
	if c.proxy == nil || req.URL.Scheme == "https" {
		return nil, nil
	}
	return c.proxy(req)
}

// dialThrough connects to an https server at host:port, through the proxy where
// there is one.
func (c *config) dialThrough(ctx context.Context, network, addr string) (net.Conn, error) {
	if c.proxy == nil {
		return c.dial(ctx, network, addr)
	}
	proxy, err := c.proxy(&http.Request{URL: &url.URL{Scheme: "https", Host: addr}})
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: proxy: not a URL", ErrRefused) // err repeats the URL
	case proxy == nil:
		return c.dial(ctx, network, addr)
	case proxy.Scheme != "http":
		return nil, fmt.Errorf("%w: proxy: scheme %q, only http is spoken", ErrRefused, proxy.Scheme)
	}
	port := proxy.Port()
	if port == "" {
		port = "80"
	}
	conn, err := c.dial(ctx, network, net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	err = c.tunnel(conn, proxy.User, addr)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return conn, nil
}

// tunnel asks a proxy for a connection to host:port (RFC 9110, 9.3.6). A TLS
// server does not speak first, so nothing may follow the proxy's answer.
func (c *config) tunnel(conn net.Conn, user *url.Userinfo, addr string) error {
	request := "CONNECT " + addr + " HTTP/1.1\r\nHost: " + addr + "\r\nUser-Agent: " + userAgent + "\r\n"
	if user != nil {
		password, _ := user.Password()
		request += "Proxy-Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)) + "\r\n"
	}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return err
	}
	limited := &io.LimitedReader{R: conn, N: c.limits.HeaderBytes}
	answer := bufio.NewReader(limited)
	resp, err := http.ReadResponse(answer, &http.Request{Method: http.MethodConnect})
	switch {
	case err != nil && limited.N <= 0:
		return fmt.Errorf("header of more than %d bytes", c.limits.HeaderBytes)
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return statusError(resp)
	case answer.Buffered() > 0:
		return fmt.Errorf("%w: it speaks before the server does", ErrRefused)
	}
	return nil
}
