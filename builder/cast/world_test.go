package cast

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/farboot/farboot/builder/chunker"
	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/cast"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/object"
)

// picture is an image with its packed file.
type picture struct {
	*cast.Image
	data, file []byte
}

// paint makes an image of n bytes in chunks of the given size, half of which packs.
func paint(t testing.TB, n, chunk int) *picture {
	t.Helper()
	p := &picture{data: make([]byte, n)}
	_, _ = rand.NewChaCha8([32]byte{1}).Read(p.data) // never fails
	for i := 0; i < n; i += 4096 {
		clear(p.data[i:min(i+i/4096%8*512, n)])
	}
	x, err := caibx.Make(bytes.NewReader(p.data), chunk)
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	table, err := chunker.Pack(t.Context(), &file, bytes.NewReader(p.data), x)
	if err != nil {
		t.Fatal(err)
	}
	p.file = file.Bytes()
	if p.Image, err = cast.NewImage(x, table, object.OfBytes(p.file)); err != nil {
		t.Fatal(err)
	}
	return p
}

// handler serves the packed file.
func (p *picture) handler(count func(n int64)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.TrimPrefix(r.URL.Path, "/") != p.File.Path() {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(counting{w, count}, r, "", time.Time{}, bytes.NewReader(p.file))
	})
}

// counting counts what is sent.
type counting struct {
	http.ResponseWriter
	count func(n int64)
}

func (c counting) Write(b []byte) (int, error) {
	c.count(int64(len(b)))
	return c.ResponseWriter.Write(b)
}

// hall is a room of machines, in memory and with a clock of its own.
type hall struct {
	t        *testing.T
	p        *picture
	conns    chan net.Conn
	sender   *Sender
	mu       sync.Mutex
	served   int64 // by HTTP
	machines []*machine
	sent     int // packets
	dies     int // after so many; 0 is never
}

// bubble runs f in a hall.
func bubble(t *testing.T, p *picture, f func(t *testing.T, h *hall)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &hall{t: t, p: p, conns: make(chan net.Conn)}
		ctx, cancel := context.WithCancel(t.Context())
		srv := &http.Server{BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: log.New(io.Discard, "", 0)}
		srv.Handler = p.handler(func(n int64) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.served += n
		})
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			srv.Serve(listener{h.conns, ctx})
		}()
		defer func() {
			cancel()
			srv.Close()
			<-ended
		}()
		f(t, h)
	})
}

// listener accepts what is dialled.
type listener struct {
	conns chan net.Conn
	ctx   context.Context
}

func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

func (l listener) Close() error   { return nil }
func (l listener) Addr() net.Addr { return &net.IPAddr{} }

// dial reaches the site.
func (h *hall) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case h.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// cast makes the sender.
func (h *hall) cast(c Config) {
	c.Image, c.File, c.Send, c.Port, c.Log = h.p.Image, bytes.NewReader(h.p.file), h.send, 80, h.t.Logf
	if c.Rate == 0 {
		c.Rate = 100e6
	}
	if c.Limits == (Limits{}) {
		c.Limits = DefaultLimits()
	}
	h.sender = New(c)
}

// source is the sender's address.
var source = netip.MustParseAddrPort("192.0.2.1:4000")

// send implements Config.Send.
func (h *hall) send(packets [][]byte) error {
	h.mu.Lock()
	machines := h.machines
	h.sent += len(packets)
	dead := h.dies > 0 && h.sent > h.dies
	h.mu.Unlock()
	if dead {
		return errDead
	}
	for _, m := range machines {
		for _, p := range packets {
			m.hear(bytes.Clone(p))
		}
	}
	return nil
}

// errDead is of a sender whose card is gone.
var errDead = errors.New("network is down")

// machine is a receiver with a disk in memory.
type machine struct {
	*cast.Receiver
	name   string
	air    chan []byte
	closed chan struct{}
	client *fetch.Client
	limits cast.Limits

	mu     sync.Mutex
	random *rand.Rand
	lost   float64 // of packets
	disk   []byte
	result chan error
}

// join adds a machine that loses a part of the packets and takes some time to write a
// chunk.
func (h *hall) join(name string, lost float64, write time.Duration) *machine {
	m := &machine{
		name: name, air: make(chan []byte, 1<<12), closed: make(chan struct{}), lost: lost, disk: make([]byte, len(h.p.data)),
		client: fetch.New(chunks.FetchLimits(), fetch.Dial(h.dial)), limits: cast.DefaultLimits(), result: make(chan error, 1),
		random: rand.New(rand.NewPCG(uint64(len(h.machines)), 1)),
	}
	m.limits.Memory = 16 * h.p.Index.Max
	m.Receiver = cast.New(cast.Config{
		Image: h.p.Image, Read: m.read, Sites: fetch.NewMirrors(m.client, nil, "http://a"), Machine: name, Limits: m.limits,
		Post: func(_ context.Context, url string, body []byte) error {
			rec := httptest.NewRecorder()
			h.sender.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, url, bytes.NewReader(body)))
			if rec.Code != http.StatusNoContent {
				h.t.Errorf("%s posts to %s: %d", name, url, rec.Code)
			}
			return nil
		},
	})
	go func() {
		m.result <- m.Receive(h.t.Context(), func(int) bool { return true }, func(i int, data []byte) error {
			time.Sleep(write)
			copy(m.disk[h.p.Index.Start(i):], data)
			return nil
		})
	}()
	synctest.Wait() // what comes before is lost
	h.mu.Lock()
	defer h.mu.Unlock()
	h.machines = append(h.machines, m)
	return m
}

// hear takes a packet, unless it is lost.
func (m *machine) hear(p []byte) {
	m.mu.Lock()
	lost := m.random.Float64() < m.lost
	m.mu.Unlock()
	if lost {
		return
	}
	select {
	case m.air <- p:
	default: // as a socket
	}
}

// read implements cast.Config.Read.
func (m *machine) read(p []byte) (int, netip.AddrPort, error) {
	select {
	case in := <-m.air:
		return copy(p, in), source, nil
	case <-m.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// end waits for the machine and wants it to have the image.
func (m *machine) end(t *testing.T, p *picture) cast.Stats {
	t.Helper()
	err := <-m.result
	m.Close(err)
	close(m.closed)
	m.client.Close()
	stats := m.Stats()
	if err != nil || !bytes.Equal(m.disk, p.data) {
		t.Errorf("%s: %v, right is %v, %+v", m.name, err, bytes.Equal(m.disk, p.data), stats)
	}
	if stats.Peak > m.limits.Memory {
		t.Errorf("%s held %d bytes, at most %d are allowed", m.name, stats.Peak, m.limits.Memory)
	}
	return stats
}
