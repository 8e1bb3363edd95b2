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
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// chunkSize makes chunks of up to 12 pieces.
const chunkSize = 16 << 10

// picture is an image with its packed file.
type picture struct {
	*Image
	data, file []byte
}

// paint makes an image of n chunks and a short one.
func paint(t testing.TB, n int) *picture {
	t.Helper()
	data := make([]byte, n*chunkSize+1000)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // never fails
	for i := range n {
		clear(data[i*chunkSize : i*chunkSize+chunkSize*(i%8)/8]) // which packs to nothing
	}
	x, err := caibx.Make(bytes.NewReader(data), chunkSize)
	if err != nil {
		t.Fatal(err)
	}
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	p := &picture{data: data}
	var table chunks.Table
	for i, c := range x.Chunks {
		packed := e.EncodeAll(data[x.Start(i):c.End], nil)
		p.file, table = append(p.file, packed...), append(table, int64(len(packed)))
	}
	end, err := table.Encode(x)
	if err != nil {
		t.Fatal(err)
	}
	p.file = append(p.file, end...)
	if p.Image, err = NewImage(x, table, object.OfBytes(p.file)); err != nil {
		t.Fatal(err)
	}
	return p
}

// frames returns all frames of a chunk.
func (p *picture) frames(i int) (all []Frame) {
	for k := range p.Pieces(i) {
		from, to := p.piece(i, k)
		all = append(all, Frame{Session: p.session, Chunk: uint32(i), Piece: uint32(k), Data: p.file[p.Start(i)+from : p.Start(i)+to]})
	}
	return all
}

// world is a network in memory, with a clock of its own.
type world struct {
	t     *testing.T
	p     *picture
	conns chan net.Conn
	site  *evil.Server
	posts struct {
		sync.Mutex
		all []Status
	}
}

// bubble runs f in a world with one site, which has the image.
func bubble(t *testing.T, p *picture, f func(t *testing.T, w *world), faults ...evil.Fault) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, p: p, conns: make(chan net.Conn)}
		w.site = evil.New(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if strings.TrimPrefix(r.URL.Path, "/") != p.File.Path() {
				http.NotFound(rw, r)
				return
			}
			http.ServeContent(rw, r, "", time.Time{}, bytes.NewReader(p.file))
		}), faults...)
		ctx, cancel := context.WithCancel(t.Context())
		srv := &http.Server{Handler: w.site, BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: log.New(io.Discard, "", 0)}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			srv.Serve(listener{w.conns, ctx})
		}()
		defer func() {
			cancel()
			srv.Close()
			<-ended
		}()
		f(t, w)
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

// dial reaches the site, by any name.
func (w *world) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	select {
	case w.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// packet is what comes by the air.
type packet struct {
	data []byte
	from netip.AddrPort
}

// machine is a receiver with a disk in memory.
type machine struct {
	*Receiver
	w      *world
	air    chan packet
	closed chan struct{}
	client *fetch.Client
	mu     sync.Mutex
	disk   []byte
	taken  map[int]int
	result chan error
}

// machine makes a receiver; alter may change its configuration.
func (w *world) machine(alter func(*Config)) *machine {
	m := &machine{
		w: w, air: make(chan packet, 64), closed: make(chan struct{}), disk: make([]byte, len(w.p.data)),
		taken: map[int]int{}, result: make(chan error, 1), client: fetch.New(chunks.FetchLimits(), fetch.Dial(w.dial)),
	}
	c := Config{Image: w.p.Image, Read: m.read, Sites: fetch.NewMirrors(m.client, w.t.Logf, "http://a"), Machine: "m", Limits: DefaultLimits(), Log: w.t.Logf}
	c.Limits.Memory = 8 * chunkSize
	c.Post = func(_ context.Context, url string, body []byte) error {
		s, err := DecodeStatus(body)
		if err != nil || url != "http://192.0.2.1:80/cast" {
			w.t.Errorf("posted to %s: %v", url, err)
		}
		w.posts.Lock()
		defer w.posts.Unlock()
		w.posts.all = append(w.posts.all, s)
		return nil
	}
	if alter != nil {
		alter(&c)
	}
	m.Receiver = New(c)
	return m
}

// read implements Config.Read.
func (m *machine) read(p []byte) (int, netip.AddrPort, error) {
	select {
	case in := <-m.air:
		return copy(p, in.data), in.from, nil
	case <-m.closed:
		return 0, netip.AddrPort{}, net.ErrClosed
	}
}

// sender is where frames come from.
var sender = netip.MustParseAddrPort("192.0.2.1:4000")

// send sends frames to the machine, 10 a millisecond.
func (m *machine) send(all ...Frame) {
	for _, f := range all {
		m.raw(f.Append(nil))
	}
}

// raw sends bytes.
func (m *machine) raw(data []byte) {
	m.air <- packet{data, sender}
	time.Sleep(100 * time.Microsecond)
}

// word sends a word.
func (m *machine) word(s State) {
	m.send(Frame{Session: m.w.p.session, Word: Word{State: s, Pass: 1, Port: 80}})
}

// start lets the machine receive what it lacks.
func (m *machine) start(want func(int) bool) {
	go func() {
		m.result <- m.Receive(m.w.t.Context(), want, func(i int, data []byte) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.taken[i]++
			copy(m.disk[m.w.p.Index.Start(i):], data)
			return nil
		})
	}()
	synctest.Wait() // what comes before is lost
}

// all wants every chunk.
func all(int) bool { return true }

// end waits for the end, and closes the receiver.
func (m *machine) end() error {
	err := <-m.result
	m.Close(err)
	close(m.closed)
	<-m.reader
	m.client.Close()
	return err
}

// finish wants the machine to end with the image, each chunk taken once, in memory
// that is bounded.
func (m *machine) finish(t *testing.T) Stats {
	t.Helper()
	err := m.end()
	stats := m.Stats()
	if err != nil || !bytes.Equal(m.disk, m.w.p.data) {
		t.Errorf("%v, right is %v, %+v", err, bytes.Equal(m.disk, m.w.p.data), stats)
	}
	for i, n := range m.taken {
		if n != 1 {
			t.Errorf("chunk %d was handed on %d times", i, n)
		}
	}
	if stats.Peak > m.config.Limits.Memory || m.book.memory != 0 || m.book.fixing != 0 {
		t.Errorf("held %d bytes of %d, %d in the end", stats.Peak, m.config.Limits.Memory, m.book.memory)
	}
	return stats
}

// errDisk is of a disk that is full.
var errDisk = errors.New("disk is full")
