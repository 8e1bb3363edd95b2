// Package cables gives tests a network of several computers on this one: namespaces of
// the kernel, and cables from each to a bridge.
//
// [Isolated] runs a test once more in namespaces of its own, for which no root is
// needed, and [Plug] makes the network there. What is sent in it leaves it nowhere.
package cables

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Bridge is the address of the computer in the middle, and Card its network card.
const (
	Bridge = "10.9.0.1"
	Card   = "br0"
)

// Isolated tells whether the test runs in namespaces of its own, of users and network.
// If not it runs the test once more, in such.
func Isolated(t *testing.T) bool {
	t.Helper()
	const marker = "FARBOOT_ISOLATED"
	if os.Getenv(marker) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.timeout=30m", "-test.v")
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

// Place is the far end of a cable: a network namespace, entered by one thread.
type Place struct {
	// Addr is the computer's address.
	Addr netip.Addr

	thread int
	jobs   chan func()
}

// Do calls f there. Sockets that f opens stay there, whoever uses them.
func (p *Place) Do(f func()) {
	done := make(chan struct{})
	p.jobs <- func() { f(); close(done) }
	<-done
}

// Dial connects from there.
func (p *Place) Dial(ctx context.Context, network, addr string) (conn net.Conn, err error) {
	p.Do(func() { conn, err = new(net.Dialer).DialContext(ctx, network, addr) })
	return conn, err
}

// Enter begins the command line of what is to run there.
func (p *Place) Enter() string {
	return fmt.Sprintf("nsenter --net=/proc/%d/task/%d/ns/net", os.Getpid(), p.thread)
}

// Plug makes the network, with n places. Multicast of the computer in the middle goes
// there as well, by a route.
func Plug(t *testing.T, n int) (places []*Place) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = Card
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	lo, err := netlink.LinkByName("lo")
	must(t, err, netlink.LinkSetUp(lo), netlink.LinkAdd(bridge), netlink.AddrAdd(bridge, address(t, Bridge)), netlink.LinkSetUp(bridge))
	link, err := netlink.LinkByName(Card)
	must(t, err)
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4(224, 0, 0, 0), Mask: net.CIDRMask(4, 32)}}))
	for i := range n {
		places = append(places, plug(t, bridge, i))
	}
	return places
}

// plug makes one place.
func plug(t *testing.T, bridge netlink.Link, i int) *Place {
	t.Helper()
	p := &Place{Addr: netip.AddrFrom4([4]byte{10, 9, 0, byte(10 + i)}), jobs: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // which ends with this goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		p.thread = unix.Gettid()
		ready <- err
		for job := range p.jobs {
			job()
		}
	}()
	must(t, <-ready)
	t.Cleanup(func() { close(p.jobs) })
	attrs := netlink.NewLinkAttrs()
	attrs.Name = fmt.Sprint("cable", i)
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: fmt.Sprint("far", i)}))
	near, err := netlink.LinkByName(attrs.Name)
	must(t, err)
	far, err := netlink.LinkByName(fmt.Sprint("far", i))
	must(t, err, netlink.LinkSetMaster(near, bridge), netlink.LinkSetUp(near), netlink.LinkSetNsPid(far, p.thread))
	p.Do(func() {
		if far, err = netlink.LinkByName(fmt.Sprint("far", i)); err == nil {
			err = errors.Join(netlink.AddrAdd(far, address(t, p.Addr.String())), netlink.LinkSetUp(far))
		}
	})
	must(t, err)
	return p
}

// address is an address in the network.
func address(t *testing.T, s string) *netlink.Addr {
	t.Helper()
	a, err := netlink.ParseAddr(s + "/24")
	must(t, err)
	return a
}

// must fails the test.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
