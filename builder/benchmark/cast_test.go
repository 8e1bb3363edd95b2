//go:build bench

package benchmark

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/cast"
	"github.com/farboot/farboot/builder/chunker"
	"github.com/farboot/farboot/builder/internal/cables"
	"github.com/farboot/farboot/payload/caibx"
	air "github.com/farboot/farboot/payload/cast"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/flash"
	"github.com/farboot/farboot/payload/object"
)

const (
	// castSize is what the image has, unpacked: half of it is noise, and half zeros.
	castSize = 256 << 20
	// castMachines take it at the same time, on two cores with the sender.
	castMachines = 4
	// castRate is that of the link, in bits per second: what is left of 1 Gbit/s.
	castRate = 900e6
)

// castGroup is where the image goes, within a network of its own.
var castGroup = netip.MustParseAddrPort("239.255.7.1:7400")

// TestCast brings an image to four machines: by farboot cast, by udpcast, and by four
// downloads that share the link of the same rate. All unpack it and write it to files;
// farboot also checks it, and reads it back. The network is a bridge of the kernel's, in namespaces.
func TestCast(t *testing.T) {
	if !cables.Isolated(t) {
		return
	}
	need(t, "udp-sender", "udpcast")
	need(t, "curl", "curl")
	need(t, "zstd", "zstd")
	need(t, "nsenter", "util-linux")
	c := newCastRoom(t)
	fresh := func() {
		for i := range castMachines {
			if err := errors.Join(os.WriteFile(c.disk(i), nil, 0o600), os.Truncate(c.disk(i), castSize)); err != nil {
				t.Fatal(err)
			}
		}
	}
	names := []string{"farboot cast: checked, written, read back", "udpcast, zstd -d", "4 times curl | zstd -d | dd", "1 of them alone"}
	costs := race(t, []contender{
		{names[0], "", 3, fresh, c.farboot(t)},
		{names[1], "", 3, fresh, c.udpcast(t)},
		{names[2], "", 3, fresh, c.unicast(t, castMachines)},
		{names[3], "", 3, fresh, c.unicast(t, 1)},
	})
	out := table{title: fmt.Sprintf("Cast: an image of %s, %s packed, to %d machines at %d Mbit/s, over a bridge of the kernel's", megabytes(castSize), megabytes(size(t, c.file)), castMachines, int(castRate/1e6))}
	out.row("", "wall", "CPU", "of one download")
	for i, name := range names {
		out.row(name, seconds(costs[i].wall), seconds(costs[i].cpu), ratio(costs[i].wall, costs[3].wall))
	}
	out.print()
}

// castRoom is an image in all forms, and a server for it.
type castRoom struct {
	dir, file, index, url string
	image                 *air.Image
	places                []*cables.Place
}

// disk is where machine i writes.
func (c *castRoom) disk(i int) string { return filepath.Join(c.dir, fmt.Sprint("disk", i)) }

// newCastRoom makes the image.
func newCastRoom(t *testing.T) *castRoom {
	t.Helper()
	c := &castRoom{dir: t.TempDir(), places: cables.Plug(t, castMachines)}
	raw := filepath.Join(c.dir, "image")
	shell(t, "for i in $(seq %d); do head -c 524288 /dev/urandom; head -c 524288 /dev/zero; done >%s", castSize>>20, raw)()
	data, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	x, err := caibx.Make(bytes.NewReader(data), caibx.DefaultChunk)
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	lens, err := chunker.Pack(t.Context(), &packed, bytes.NewReader(data), x)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x.Encode()
	if err != nil {
		t.Fatal(err)
	}
	ref := object.OfBytes(packed.Bytes())
	c.file, c.index = filepath.Join(c.dir, filepath.FromSlash(ref.Path())), filepath.Join(c.dir, "image.caibx")
	if err := errors.Join(os.MkdirAll(filepath.Dir(c.file), 0o755), os.WriteFile(c.file, packed.Bytes(), 0o644), os.WriteFile(c.index, encoded, 0o644)); err != nil {
		t.Fatal(err)
	}
	if c.image, err = air.NewImage(x, lens, ref); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", cables.Bridge+":0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(c.dir))}
	go server.Serve(&link{Listener: ln, start: time.Now()})
	t.Cleanup(func() { server.Close() })
	c.url = "http://" + ln.Addr().String()
	return c
}

// link is a listener whose connections share a rate.
type link struct {
	net.Listener
	mu    sync.Mutex
	start time.Time // when all that was sent would be through
}

// Accept implements net.Listener.
func (l *link) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return paced{conn, l}, err
}

// paced is a connection of a link.
type paced struct {
	net.Conn
	link *link
}

// Write implements net.Conn.
func (p paced) Write(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		part := b[n:min(n+64<<10, len(b))]
		p.link.mu.Lock()
		if now := time.Now(); p.link.start.Before(now) {
			p.link.start = now
		}
		p.link.start = p.link.start.Add(time.Duration(float64(len(part)) * 8 / castRate * 1e9))
		wait := time.Until(p.link.start)
		p.link.mu.Unlock()
		time.Sleep(wait)
		var more int
		more, err = p.Conn.Write(part)
		n += more
	}
	return n, err
}

// farboot returns a run of the sender and four receivers, in this process.
func (c *castRoom) farboot(t *testing.T) func() time.Duration {
	return func() time.Duration {
		t.Helper()
		src, err := cast.OpenFile(c.file, c.index, castGroup)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		var group sync.WaitGroup
		for i := range castMachines {
			group.Go(func() {
				if err := c.receive(t, i); err != nil {
					t.Error(err)
				}
			})
		}
		o := cast.Options{NIC: cables.Card, TTL: 1, Rate: castRate, Machines: castMachines, Wait: time.Minute, Limits: cast.DefaultLimits(), Log: t.Logf}
		if _, err := cast.Cast(t.Context(), src, o); err != nil {
			t.Error(err)
		}
		group.Wait()
		return 0
	}
}

// receive is one machine.
func (c *castRoom) receive(t *testing.T, i int) error {
	limits := air.DefaultLimits()
	var conn *net.UDPConn
	var err error
	c.places[i].Do(func() {
		var card *net.Interface
		if card, err = air.Card(c.places[i].Addr); err == nil {
			conn, err = air.Listen(castGroup, card, limits.Socket)
		}
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	client := fetch.New(chunks.FetchLimits(), fetch.Dial(c.places[i].Dial))
	defer client.Close()
	r := air.New(air.Config{
		Image: c.image, Read: conn.ReadFromUDPAddrPort, Sites: fetch.NewMirrors(client, nil, c.url), Machine: fmt.Sprint("m", i), Limits: limits,
		Post: func(ctx context.Context, url string, body []byte) error {
			return client.Post(ctx, url, "application/json", body)
		},
	})
	d, err := flash.Open(c.disk(i))
	if err != nil {
		return err
	}
	_, err = flash.Run(t.Context(), d, flash.Job{
		Index: c.image.Index, Format: "zst", Source: webFile(c.url + "/" + c.image.File.Path()), Plain: true, Receive: r.Receive,
	})
	r.Close(err)
	t.Logf("%d: %+v", i, r.Stats())
	return errors.Join(err, d.Close())
}

// udpcast returns a run of one sender and four receivers.
func (c *castRoom) udpcast(t *testing.T) func() time.Duration {
	var b strings.Builder
	for i := range castMachines {
		fmt.Fprintf(&b, "(%s udp-receiver --nokbd --interface far%d --portbase 9000 --pipe 'zstd -dq' 2>/dev/null | dd of=%s bs=1M conv=notrunc,fsync status=none) & ", c.places[i].Enter(), i, c.disk(i))
	}
	fmt.Fprintf(&b, "udp-sender --nokbd --interface %s --portbase 9000 --min-receivers %d --max-bitrate %dm --file %s >/dev/null 2>&1; wait", cables.Card, castMachines, int(castRate/1e6), c.file)
	return shell(t, "%s", b.String())
}

// unicast returns a run of n downloads at a time.
func (c *castRoom) unicast(t *testing.T, n int) func() time.Duration {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "(%s curl -sS %s/%s | zstd -dq | dd of=%s bs=1M conv=notrunc,fsync status=none) & ", c.places[i].Enter(), c.url, c.image.File.Path(), c.disk(i))
	}
	return shell(t, "%swait", b.String())
}
