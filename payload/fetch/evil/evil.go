// Package evil is a web server that misbehaves to order, for tests of all that
// fetches.
//
// A test puts faults in front of any handler, in one line:
//
//	srv := evil.Serve(t, evil.Content(data), evil.First(2, evil.Cut(1000)), evil.IgnoreRange())
//
// and asks srv.URL. The faults wrap the handler from right to left, so the
// leftmost has the last word. Answers are written to the bare connection, one
// for each connection: nothing of net/http mends them.
//
// It is no part of the agent or the builder.
package evil

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"
)

// Server is a handler with faults. It remembers what it was asked.
type Server struct {
	// URL is where [Serve] made it listen, without a slash at the end.
	URL string

	source Source
	mu     sync.Mutex
	seen   []Request
}

// Request is a request that a Server has had, and when.
type Request struct {
	*http.Request
	At time.Time
}

// New returns a Server as a plain handler, for tests that bring their own
// network. It needs HTTP/1.1, since it hijacks the connection.
func New(next http.Handler, faults ...Fault) *Server {
	source := record(next)
	for i := len(faults) - 1; i >= 0; i-- {
		source = faults[i](source)
	}
	return &Server{source: source}
}

// Serve starts a Server on the loopback interface. It ends with the test, and
// so does every connection to it.
func Serve(t testing.TB, next http.Handler, faults ...Fault) *Server {
	t.Helper()
	s := New(next, faults...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv := &http.Server{Handler: s, BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan struct{})
	go func() {
		defer close(done)
		srv.Serve(l)
	}()
	t.Cleanup(func() {
		cancel()
		srv.Close()
		<-done
	})
	s.URL = "http://" + l.Addr().String()
	return s
}

// Down returns the URL of a server that is not there: connections are refused.
func Down(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return "http://" + l.Addr().String()
}

// Content is a well-behaved handler: data at every path, with an ETag and
// ranges.
func Content(data []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"content"`)
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	})
}

// Requests returns the requests so far, in order.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.seen...)
}

// ServeHTTP answers on the bare connection and closes it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, Request{r, time.Now()})
	s.mu.Unlock()
	answer := s.source(r)
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(fmt.Sprintf("evil: %v", err))
	}
	defer conn.Close()
	stop := context.AfterFunc(r.Context(), func() { conn.Close() })
	defer stop()
	answer.send(r.Context(), conn) // it fails where the client has had enough, which is no fault here
}

// Source makes the answer to a request. Fault changes a Source.
type (
	Source func(*http.Request) *Answer
	Fault  func(Source) Source
)

// Answer is what goes over the wire.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	// Length is the Content-Length that is claimed; -1 is none, so that the end
	// of the connection ends the body.
	Length  int64
	Chunked bool // in chunks of 1000 bytes, instead of Length
	Endless bool // the body never ends

	Silent bool          // not even a status line
	Flood  bool          // a header that never ends
	Late   time.Duration // the pause before the status line
	Fast   int           // how many bytes of the body are sent at once
	Step   int           // how many bytes are sent at a time behind Fast
	Drip   time.Duration // the pause before each Step
	Stop   int           // how many bytes of the body, as sent, are sent; -1 is all
	Hang   bool          // keep the connection open after the last byte
}

// record makes a Source of a handler.
func record(next http.Handler) Source {
	return func(r *http.Request) *Answer {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		body := rec.Body.Bytes()
		return &Answer{Status: rec.Code, Header: rec.Header(), Body: body, Length: int64(len(body)), Stop: -1}
	}
}

// send writes the answer, until ctx ends or the client goes.
func (a *Answer) send(ctx context.Context, conn net.Conn) error {
	if a.Silent {
		return hang(conn)
	}
	if err := wait(ctx, a.Late); err != nil {
		return err
	}
	if err := a.sendHeader(conn); err != nil {
		return err
	}
	var body io.Reader = bytes.NewReader(a.Body)
	switch {
	case a.Endless:
		body = &endless{data: a.Body}
	case a.Chunked:
		body = bytes.NewReader(chunked(a.Body))
	}
	if a.Stop >= 0 {
		body = io.LimitReader(body, int64(a.Stop))
	}
	var w io.Writer = conn
	if a.Drip > 0 {
		if _, err := io.CopyN(conn, body, int64(a.Fast)); err != nil {
			return err
		}
		w = dripper{ctx, conn, a.Step, a.Drip}
	}
	if _, err := io.Copy(w, body); err != nil {
		return err
	}
	if a.Hang {
		return hang(conn)
	}
	return nil
}

// sendHeader writes the status line and the header.
func (a *Answer) sendHeader(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nConnection: close\r\n", a.Status, http.StatusText(a.Status))
	header := a.Header.Clone()
	header.Del("Content-Length")
	header.Write(&b)
	switch {
	case a.Chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n")
	case a.Length >= 0:
		fmt.Fprintf(&b, "Content-Length: %d\r\n", a.Length)
	}
	for a.Flood {
		fmt.Fprintf(&b, "X-Flood: %01000d\r\n", 0)
		if _, err := b.WriteTo(w); err != nil {
			return err
		}
	}
	b.WriteString("\r\n")
	_, err := b.WriteTo(w)
	return err
}

// hang waits until the client goes.
func hang(conn net.Conn) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}

// endless reads as data over and over, and as nothing where there is none.
type endless struct {
	data []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, e.data[e.at:])
	e.at = (e.at + n) % len(e.data)
	return n, nil
}

// chunked encodes data in chunks of 1000 bytes.
func chunked(data []byte) []byte {
	var b bytes.Buffer
	for len(data) > 0 {
		n := min(len(data), 1000)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, data[:n])
		data = data[n:]
	}
	b.WriteString("0\r\n\r\n")
	return b.Bytes()
}

// dripper writes a few bytes at a time.
type dripper struct {
	ctx   context.Context
	w     io.Writer
	step  int
	pause time.Duration
}

func (d dripper) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if err := wait(d.ctx, d.pause); err != nil {
			return n, err
		}
		sent, err := d.w.Write(p[n:min(n+d.step, len(p))])
		if n += sent; err != nil {
			return n, err
		}
	}
	return n, nil
}

// wait waits, unless ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
