//go:build boot && long

package boottest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// room is a network of machines and one host: a switch in this process, that can lose
// multicast packets, and a namespace of the kernel's for the host's programs. The host
// is 10.77.0.1 and answers DHCP.
type room struct {
	ns   string // its name, as of ip-netns(8)
	host *port

	mu    sync.Mutex
	ports []*port
	at    map[[6]byte]*port // by address
}

// port is a machine's place at the switch.
type port struct {
	send func(frame []byte)
	// lost is the share of multicast packets that do not reach it.
	lost float64
	// rate is how many bytes a second do, beyond a burst of 128 KiB; 0 is all.
	rate  float64
	spare float64
	last  time.Time
}

// takes tells whether a frame gets through at the port's rate.
func (p *port) takes(n int) bool {
	if p.rate == 0 {
		return true
	}
	now := time.Now()
	p.spare = min(p.spare+now.Sub(p.last).Seconds()*p.rate, 128<<10)
	p.last = now
	if p.spare < float64(n) {
		return false
	}
	p.spare -= float64(n)
	return true
}

// newRoom makes the network.
func newRoom(t *testing.T) *room {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes a network namespace; it must be run by root")
	}
	r := &room{ns: fmt.Sprintf("farboot-%d", os.Getpid()), at: map[[6]byte]*port{}}
	command(t, "iproute2", "ip", "netns", "add", r.ns)
	t.Cleanup(func() { command(t, "iproute2", "ip", "netns", "del", r.ns) })
	tap := r.tap(t)
	r.host = r.plug(func(frame []byte) { tap.Write(frame) })
	for _, args := range [][]string{
		{"addr", "add", "10.77.0.1/24", "dev", "tap0"}, {"link", "set", "tap0", "up"}, {"link", "set", "lo", "up"},
	} {
		command(t, "iproute2", "ip", append([]string{"-n", r.ns}, args...)...)
	}
	go func() {
		frame := make([]byte, 1<<16)
		for {
			n, err := tap.Read(frame)
			if err != nil {
				return // it is closed
			}
			r.forward(r.host, frame[:n])
		}
	}()
	t.Cleanup(func() { tap.Close() })
	r.start(t, "dnsmasq-base", "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=tap0", "--user=root", "--group=root",
		"--dhcp-range=10.77.0.100,10.77.0.200,255.255.255.0", "--dhcp-authoritative", "--log-facility=-", "--pid-file="+filepath.Join(t.TempDir(), "pid"),
		"--dhcp-leasefile="+filepath.Join(t.TempDir(), "leases"))
	return r
}

// tap returns the host's card. A thread enters the namespace for it, and ends.
func (r *room) tap(t *testing.T) *os.File {
	t.Helper()
	type opened struct {
		fd  int
		err error
	}
	done := make(chan opened)
	go func() {
		runtime.LockOSThread()
		ns, err := unix.Open("/run/netns/"+r.ns, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(ns, unix.CLONE_NEWNET)
		}
		fd := -1
		if err == nil {
			fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		}
		request, _ := unix.NewIfreq("tap0")
		request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		if err == nil {
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		done <- opened{fd, err}
	}()
	o := <-done
	if o.err != nil {
		t.Fatalf("a tap in namespace %s: %v", r.ns, o.err)
	}
	return os.NewFile(uintptr(o.fd), "tap0")
}

// plug adds a port.
func (r *room) plug(send func([]byte)) *port {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &port{send: send}
	r.ports = append(r.ports, p)
	return p
}

// forward does what a switch does.
func (r *room) forward(from *port, frame []byte) {
	if len(frame) < 14 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[[6]byte(frame[6:12])] = from
	if to := r.at[[6]byte(frame[:6])]; to != nil {
		if to != from && to.takes(len(frame)) {
			to.send(frame)
		}
		return
	}
	multicast := frame[0] == 1 && frame[1] == 0 && frame[2] == 0x5e // RFC 1112, 6.4
	for _, p := range r.ports {
		if p != from && !(multicast && rand.Float64() < p.lost) && p.takes(len(frame)) {
			p.send(frame)
		}
	}
}

// card returns a port, and what QEMU's -netdev has to say to be plugged into it.
func (r *room) card(t *testing.T) (*port, string) {
	t.Helper()
	theirs := udpPort(t)
	conn, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: theirs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	p := r.plug(func(frame []byte) { conn.Write(frame) })
	go func() {
		frame := make([]byte, 1<<16)
		for {
			n, err := conn.Read(frame)
			if n == 0 && err != nil {
				if opError, ok := err.(*net.OpError); ok && opError.Err == net.ErrClosed {
					return
				}
				continue // QEMU is not there yet, or not any more
			}
			r.forward(p, frame[:n])
		}
	}()
	ours := conn.LocalAddr().(*net.UDPAddr).Port
	return p, fmt.Sprintf("socket,udp=127.0.0.1:%d,localaddr=127.0.0.1:%d", ours, theirs)
}

// udpPort returns a UDP port of the loopback that nobody has.
func udpPort(t *testing.T) int {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// command returns a command that runs on the room's host.
func (r *room) command(t *testing.T, debianPackage, name string, args ...string) *exec.Cmd {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("%s: install the Debian package %s", name, debianPackage)
	}
	return exec.CommandContext(t.Context(), "nsenter", append([]string{"--net=/run/netns/" + r.ns, name}, args...)...)
}

// start starts a command there that runs until the test ends.
func (r *room) start(t *testing.T, debianPackage, name string, args ...string) {
	t.Helper()
	cmd := r.command(t, debianPackage, name, args...)
	log := &lines{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s:\n%s", name, log)
		}
	})
}
