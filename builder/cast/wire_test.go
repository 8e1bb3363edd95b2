package cast

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/internal/cables"
	"github.com/farboot/farboot/payload/cast"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
)

// receive lets a machine receive.
func receive(t *testing.T, p *cables.Place, pic *picture, group netip.AddrPort, loss int) (cast.Stats, error) {
	var conn *net.UDPConn
	var err error
	l := cast.DefaultLimits()
	p.Do(func() {
		var card *net.Interface
		if card, err = cast.Card(p.Addr); err == nil {
			conn, err = cast.Listen(group, card, l.Socket)
		}
	})
	if err != nil {
		return cast.Stats{}, err
	}
	defer conn.Close()
	client := fetch.New(chunks.FetchLimits(), fetch.Dial(p.Dial))
	defer client.Close()
	count := 0
	r := cast.New(cast.Config{
		Image: pic.Image, Sites: fetch.NewMirrors(client, t.Logf, "http://"+cables.Bridge+":8080"), Machine: p.Addr.String(), Limits: l, Log: t.Logf,
		Read: func(b []byte) (int, netip.AddrPort, error) {
			n, from, err := conn.ReadFromUDPAddrPort(b)
			if count++; loss > 0 && count%loss == 0 {
				n = 0
			}
			return n, from, err
		},
		Post: func(ctx context.Context, url string, body []byte) error {
			return client.Post(ctx, url, "application/json", body)
		},
	})
	disk := make([]byte, len(pic.data))
	err = r.Receive(t.Context(), func(int) bool { return true }, func(i int, data []byte) error {
		copy(disk[pic.Index.Start(i):], data)
		return nil
	})
	r.Close(err)
	if err == nil && !bytes.Equal(disk, pic.data) {
		err = errors.New("the disk is wrong")
	}
	return r.Stats(), err
}

// TestWire casts to four machines in a network of the kernel's, one of which loses
// every fiftieth packet: sockets, groups, cards and reports are real. One route leads to
// the group, so that the card is found by it.
func TestWire(t *testing.T) {
	if !cables.Isolated(t) {
		return
	}
	group := netip.MustParseAddrPort("239.255.7.1:7400")
	pic := paint(t, 40<<20, 1<<20)
	dir := t.TempDir()
	index, err := pic.Index.Encode()
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "image.zst"), pic.file, 0o600), os.WriteFile(filepath.Join(dir, "image.caibx"), index, 0o600)); err != nil {
		t.Fatal(err)
	}
	src, err := OpenFile(filepath.Join(dir, "image.zst"), filepath.Join(dir, "image.caibx"), group)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if _, err := Dial(group, "", 1); err == nil || !strings.Contains(err.Error(), "no route to 239.255.7.1; name the network card") {
		t.Errorf("without a route: %v", err)
	}
	places := cables.Plug(t, 4)
	if _, err := Dial(group, "lo1", 1); err == nil {
		t.Error("a card that is not there sends")
	}
	served := 0
	ln, err := net.Listen("tcp", cables.Bridge+":8080")
	if err != nil {
		t.Fatal(err)
	}
	site := &http.Server{Handler: pic.handler(func(n int64) { served += int(n) })}
	go site.Serve(ln)
	defer site.Close()
	type result struct {
		stats cast.Stats
		err   error
	}
	results := make([]chan result, len(places))
	for i, p := range places {
		results[i] = make(chan result, 1)
		go func() {
			s, err := receive(t, p, pic, group, map[int]int{3: 50}[i])
			results[i] <- result{s, err}
		}()
	}
	start := time.Now()
	room, err := Cast(t.Context(), src, Options{TTL: 1, Rate: 300e6, Machines: len(places), Wait: time.Minute, Limits: DefaultLimits(), Log: t.Logf})
	if err != nil || len(room.Machines) != len(places) {
		t.Errorf("%v: %+v", err, room)
	}
	t.Logf("%s, %d bytes by HTTP of a file of %d", time.Since(start), served, pic.File.Size)
	for i, c := range results {
		r := <-c
		t.Logf("%d: %+v, %v", i, r.stats, r.err)
		if r.err != nil || r.stats.Forged != 0 || r.stats.Cast == 0 {
			t.Errorf("machine %d: %v, %+v", i, r.err, r.stats)
		}
		if from := room.Machines[i].Address; !strings.HasPrefix(from, places[i].Addr.String()+":") {
			t.Errorf("%s reports from %s", places[i].Addr, from)
		}
	}
	if limit := int(pic.File.Size / 2); served > limit {
		t.Errorf("%d bytes came by HTTP, want at most %d", served, limit)
	}
}
