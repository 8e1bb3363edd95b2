package cast

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/farboot/farboot/payload/cast"
	"github.com/farboot/farboot/payload/chunks"
	"github.com/farboot/farboot/payload/fetch"
)

// isolated tells whether the test runs in namespaces of its own, of users and network.
// If not it runs the test once more, in such. No root is needed.
func isolated(t *testing.T) bool {
	t.Helper()
	const marker = "FARBOOT_ISOLATED"
	if os.Getenv(marker) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.timeout=3m", "-test.v")
	cmd.Env = append(os.Environ(), marker+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Errorf("in namespaces:\n%s", out)
	case err != nil:
		t.Fatalf("no namespaces here (kernel.unprivileged_userns_clone, or max_user_namespaces): %v", err)
	case !bytes.Contains(out, []byte("--- PASS: "+t.Name())):
		t.Errorf("in namespaces it did not run:\n%s", out)
	default:
		t.Logf("%s", out)
	}
	return false
}

// bridge is the address of the sender, and of the site.
const bridge = "10.9.0.1"

// place is a machine's end of a cable: a network namespace, entered by one thread.
type place struct {
	addr netip.Addr
	jobs chan func()
}

// do calls f within the namespace.
func (p *place) do(f func()) {
	done := make(chan struct{})
	p.jobs <- func() { f(); close(done) }
	<-done
}

// dial connects from within the namespace.
func (p *place) dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	p.do(func() { conn, err = new(net.Dialer).DialContext(ctx, network, addr) })
	return conn, err
}

// must fails the test.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// plug makes a bridge with cables to n machines.
func plug(t *testing.T, n int) (places []*place) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "br0"
	br := &netlink.Bridge{LinkAttrs: attrs}
	lo, err := netlink.LinkByName("lo")
	must(t, err, netlink.LinkSetUp(lo), netlink.LinkAdd(br), netlink.AddrAdd(br, addr(t, bridge)), netlink.LinkSetUp(br))
	for i := range n {
		p := &place{addr: netip.MustParseAddr(fmt.Sprintf("10.9.0.%d", 10+i)), jobs: make(chan func())}
		ready := make(chan int)
		go func() {
			runtime.LockOSThread()
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				t.Errorf("unshare: %v", err)
			}
			ready <- unix.Gettid()
			for job := range p.jobs {
				job()
			}
		}()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = fmt.Sprint("cable", i)
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: fmt.Sprint("far", i)}))
		near, err := netlink.LinkByName(attrs.Name)
		must(t, err)
		far, err := netlink.LinkByName(fmt.Sprint("far", i))
		must(t, err, netlink.LinkSetMaster(near, br), netlink.LinkSetUp(near), netlink.LinkSetNsPid(far, <-ready))
		p.do(func() {
			far, err := netlink.LinkByName(fmt.Sprint("far", i))
			must(t, err, netlink.AddrAdd(far, addr(t, p.addr.String())), netlink.LinkSetUp(far))
		})
		places = append(places, p)
	}
	return places
}

// addr is an address in the room's network.
func addr(t *testing.T, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s + "/24")
	must(t, err)
	return a
}

// receive lets a machine receive.
func (p *place) receive(t *testing.T, pic *picture, group netip.AddrPort, loss int) (cast.Stats, error) {
	var conn *net.UDPConn
	var err error
	l := cast.DefaultLimits()
	p.do(func() {
		var card *net.Interface
		if card, err = cast.Card(p.addr); err == nil {
			conn, err = cast.Listen(group, card, l.Socket)
		}
	})
	if err != nil {
		return cast.Stats{}, err
	}
	defer conn.Close()
	client := fetch.New(chunks.FetchLimits(), fetch.Dial(p.dial))
	defer client.Close()
	count := 0
	r := cast.New(cast.Config{
		Image: pic.Image, Sites: fetch.NewMirrors(client, t.Logf, "http://"+bridge+":8080"), Machine: p.addr.String(), Limits: l, Log: t.Logf,
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
	if !isolated(t) {
		return
	}
	group := netip.MustParseAddrPort("239.255.7.1:7400")
	pic := paint(t, 40<<20, 1<<20)
	dir := t.TempDir()
	index, err := pic.Index.Encode()
	must(t, err, os.WriteFile(filepath.Join(dir, "image.zst"), pic.file, 0o600), os.WriteFile(filepath.Join(dir, "image.caibx"), index, 0o600))
	src, err := OpenFile(filepath.Join(dir, "image.zst"), filepath.Join(dir, "image.caibx"), group)
	must(t, err)
	defer src.Close()
	if _, err := Dial(group, "", 1); err == nil || !strings.Contains(err.Error(), "no route to 239.255.7.1; name the network card") {
		t.Errorf("without a route: %v", err)
	}
	places := plug(t, 4)
	if _, err := Dial(group, "lo1", 1); err == nil {
		t.Error("a card that is not there sends")
	}
	br, err := netlink.LinkByName("br0")
	must(t, err, netlink.RouteAdd(&netlink.Route{LinkIndex: br.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4(239, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}))
	served := 0
	ln, err := net.Listen("tcp", bridge+":8080")
	must(t, err)
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
			s, err := p.receive(t, pic, group, map[int]int{3: 50}[i])
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
		if from := room.Machines[i].Address; !strings.HasPrefix(from, places[i].addr.String()+":") {
			t.Errorf("%s reports from %s", places[i].addr, from)
		}
	}
	if limit := int(pic.File.Size / 2); served > limit {
		t.Errorf("%d bytes came by HTTP, want at most %d", served, limit)
	}
}
