package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
)

// network is a fake network: servers by name, connections in memory. In a
// synctest bubble its time is fake, too, and every goroutine must end.
type network struct {
	t       *testing.T
	servers map[string]listener // by host:port
	done    []func()
}

// bubble runs f with a network, in a bubble of its own.
func bubble(t *testing.T, f func(t *testing.T, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := &network{t: t, servers: map[string]listener{}}
		defer n.close()
		f(t, n)
	})
}

func (n *network) close() {
	for _, f := range n.done {
		f()
	}
	time.Sleep(time.Minute) // fake: TLS gives its goodbye, which nobody reads, 5 s
}

// serve adds a server and returns it, with its URL set.
func (n *network) serve(host string, next http.Handler, faults ...evil.Fault) *evil.Server {
	s := evil.New(next, faults...)
	s.URL = "http://" + host
	n.listen(host+":80", s)
	return s
}

// listen adds any handler at host:port.
func (n *network) listen(addr string, h http.Handler) { n.accept(n.listener(addr), h) }

// listenTLS adds any handler at host:port, behind TLS.
func (n *network) listenTLS(addr string, h http.Handler, cert tls.Certificate) {
	n.accept(tls.NewListener(n.listener(addr), &tls.Config{Certificates: []tls.Certificate{cert}}), h)
}

func (n *network) listener(addr string) net.Listener {
	l := listener{conns: make(chan net.Conn), closed: make(chan struct{}), once: new(sync.Once)}
	n.servers[addr] = l
	return l
}

// accept serves h until the network is closed.
func (n *network) accept(l net.Listener, h http.Handler) {
	ctx, cancel := context.WithCancel(n.t.Context())
	srv := &http.Server{
		Handler:     h,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    log.New(io.Discard, "", 0),
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		srv.Serve(l)
	}()
	n.done = append(n.done, func() {
		cancel()
		srv.Close()
		<-ended
	})
}

var errNoRoute = errors.New("no route to host")

func (n *network) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	l, ok := n.servers[addr]
	if !ok {
		return nil, errNoRoute
	}
	client, server := net.Pipe()
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, errNoRoute
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// client returns a client on the network, with the default limits.
func (n *network) client(options ...Option) *Client {
	options = append(options, func(c *config) { c.dial = n.dial })
	c := New(DefaultLimits(), options...)
	n.done = append(n.done, c.Close)
	return c
}

type listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   *sync.Once
}

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l listener) Addr() net.Addr { return &net.IPAddr{} }
