package chunks

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"path"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/farboot/farboot/payload/caibx"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/imagecache"
	"github.com/farboot/farboot/payload/object"
)

// The image of most tests: 60 chunks, the last one short, one of them twice.
const (
	chunkSize = 4096
	imageSize = 59*chunkSize + 1000
)

// blob returns n bytes, half of which repeat.
func blob(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // never fails
	for i := 1; i < n; i += 2 {
		data[i] = byte(i >> 8)
	}
	if n >= imageSize {
		copy(data[40*chunkSize:41*chunkSize], data[7*chunkSize:])
	}
	return data
}

// layouts are an image in all its forms, and the files that go with them.
type layouts struct {
	data            []byte
	index           *caibx.Index
	table           Table
	files           map[string][]byte // by their names on a site
	zst, tree, url  Image
	zstName, rawURL string
}

// layout cuts data into chunks.
func layout(t testing.TB, data []byte, size int) *layouts {
	t.Helper()
	x, err := caibx.Make(bytes.NewReader(data), size)
	if err != nil {
		t.Fatal(err)
	}
	l := &layouts{data: data, index: x, files: map[string][]byte{"image.raw": data}, rawURL: "image.raw"}
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	var zst []byte
	for i, c := range x.Chunks {
		packed := e.EncodeAll(data[x.Start(i):c.End], nil)
		l.table = append(l.table, int64(len(packed)))
		l.files[CastrDir+"/"+ChunkPath(c.ID)] = packed
		zst = append(zst, packed...)
	}
	table, err := l.table.Encode(x)
	if err != nil {
		t.Fatal(err)
	}
	index, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	zst = append(zst, table...)
	for _, data := range [][]byte{zst, table, index} {
		l.files[object.OfBytes(data).Path()] = data
	}
	l.zstName = object.OfBytes(zst).Path()
	l.zst = Image{Index: object.OfBytes(index), Zst: &Zst{File: object.OfBytes(zst), Table: object.OfBytes(table)}}
	l.tree = Image{Index: l.zst.Index, Castr: true}
	l.url = Image{Index: l.zst.Index, URLs: []string{"http://a/image.raw"}}
	return l
}

// handler serves the files of all forms.
func (l *layouts) handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, ok := l.files[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, path.Base(r.URL.Path), time.Time{}, bytes.NewReader(data))
	})
}

// world is a network in memory, with sites a, b and so on that have an image. In
// the bubble of synctest its time is fake.
type world struct {
	t     *testing.T
	conns map[string]chan net.Conn
	done  []func()
	sites []string
	all   []*evil.Server
}

// bubble runs f with a world.
func bubble(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, conns: map[string]chan net.Conn{}}
		defer func() {
			for _, f := range w.done {
				f()
			}
		}()
		f(t, w)
	})
}

// site adds one that misbehaves.
func (w *world) site(h http.Handler, faults ...evil.Fault) *evil.Server {
	host := string(rune('a' + len(w.sites)))
	s := evil.New(h, faults...)
	w.all, w.sites = append(w.all, s), append(w.sites, "http://"+host)
	conns := make(chan net.Conn)
	w.conns[host+":80"] = conns
	ctx, cancel := context.WithCancel(w.t.Context())
	srv := &http.Server{Handler: s, BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: log.New(io.Discard, "", 0)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		srv.Serve(listener{conns, ctx})
	}()
	w.done = append(w.done, func() {
		cancel()
		srv.Close()
		<-ended
	})
	return s
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

// dial reaches the sites.
func (w *world) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	conns, ok := w.conns[addr]
	if !ok {
		return nil, errors.New("no route to host")
	}
	client, server := net.Pipe()
	select {
	case conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// config is for small images.
func (w *world) config(cache *imagecache.Cache) Config {
	client := fetch.New(FetchLimits(), fetch.Dial(w.dial))
	w.done = append(w.done, client.Close)
	log := func(format string, args ...any) {
		w.t.Logf("%s "+format, append([]any{time.Now().Format("04:05.000")}, args...)...)
	}
	l := DefaultLimits()
	l.Memory, l.Request, l.Ahead = 20*chunkSize, 4*chunkSize, 8*chunkSize
	return Config{Client: client, Sites: fetch.NewMirrors(client, log, w.sites...), Cache: cache, Limits: l, Log: log}
}

// open opens an image.
func (w *world) open(img Image, c Config) *Reader {
	w.t.Helper()
	r, err := Open(w.t.Context(), img, c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { r.Close() })
	return r
}

// readAll wants an image to begin with want, read in pieces of n bytes.
func readAll(t testing.TB, r *Reader, want []byte, n int) {
	t.Helper()
	for at := 0; at < len(want); at += n {
		buf := make([]byte, min(n, len(want)-at))
		if k, err := r.ReadAt(buf, int64(at)); err != nil || !bytes.Equal(buf, want[at:at+k]) {
			t.Fatalf("at byte %d: %d bytes, %v", at, k, err)
		}
	}
	if k, err := r.ReadAt(make([]byte, 9), r.Size()); k != 0 || !errors.Is(err, io.EOF) {
		t.Errorf("behind the end: %d bytes, %v", k, err)
	}
}

// rangesOf lists what a site was asked for of one file.
func rangesOf(s *evil.Server, name string) (all []string) {
	for _, q := range s.Requests() {
		if strings.HasSuffix(q.URL.Path, name) {
			all = append(all, strings.TrimPrefix(q.Header.Get("Range"), "bytes="))
		}
	}
	return all
}
