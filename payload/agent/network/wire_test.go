package network

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/server4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/server6"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// isolated tells whether the test runs in namespaces of its own: users, mounts
// and network. If not it runs the test once more, in such. No root is needed.
func isolated(t *testing.T) bool {
	t.Helper()
	const marker = "FARBOOT_ISOLATED"
	if os.Getenv(marker) == t.Name() {
		enter(t)
		return true
	}
	t.Parallel() // they wait for the kernel's timers, mostly
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.timeout=30s", "-test.v")
	cmd.Env = append(os.Environ(), marker+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWNS,
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
	}
	return false
}

// enter hides the host's /sys and /etc, whose resolv.conf is written.
func enter(t *testing.T) {
	for _, m := range []struct{ kind, dir string }{{"tmpfs", "/etc"}, {"sysfs", "/sys"}} {
		if err := unix.Mount(m.kind, m.dir, m.kind, 0, ""); err != nil {
			t.Fatalf("mount %s on %s: %v", m.kind, m.dir, err)
		}
	}
}

// cards is /sys, in which virtual cables look like cards.
type cards struct{ fs.FS }

func (c cards) Lstat(name string) (fs.FileInfo, error) {
	if dir, file := path.Split(name); file == "device" {
		name = path.Clean(dir)
	}
	return fs.Stat(c.FS, name)
}

func (c cards) ReadLink(string) (string, error) { return "", fs.ErrNotExist }

// far is the other end of the cables: a network namespace of its own, entered by
// one thread.
type far struct {
	t    *testing.T
	jobs chan func()

	mu    sync.Mutex
	heard []string
}

// newFar makes the namespace and cables to it, near ends eth0, eth1 ..., far ends
// far0, far1 ... with the addresses 10.0.n.1/24 and 2001:db8:n::1/64.
func newFar(t *testing.T, cables int) *far {
	t.Helper()
	f := &far{t: t, jobs: make(chan func())}
	ready := make(chan int)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err != nil {
			t.Errorf("unshare: %v", err)
		}
		ready <- unix.Gettid()
		for job := range f.jobs {
			job()
		}
	}()
	tid := <-ready
	for i := range cables {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth" + string(rune('0'+i))
		peer := "far" + string(rune('0'+i))
		must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerNamespace: netlink.NsPid(tid)}))
		f.run(func() {
			f.check(up("lo"))
			// No link-local address but fe80::1 (IN6_ADDR_GEN_MODE_NONE).
			f.check(os.WriteFile("/proc/sys/net/ipv6/conf/"+peer+"/addr_gen_mode", []byte("1"), 0))
			f.check(up(peer))
			link, err := netlink.LinkByName(peer)
			f.check(err)
			f.check(netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), 24))}))
			f.check(number6(peer))
		})
	}
	return f
}

// run runs job in the far namespace: sockets that it opens are there.
func (f *far) run(job func()) {
	done := make(chan struct{})
	f.jobs <- func() { defer close(done); job() }
	<-done
}

// check reports an error of the far end. The thread goes on.
func (f *far) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Error(err)
	}
}

func (f *far) hear(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, what)
}

// count tells how often the far end heard something that begins so.
func (f *far) count(prefix string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.heard {
		if strings.HasPrefix(h, prefix) {
			n++
		}
	}
	return n
}

// cable switches the far end of a cable on or off, which is carrier at this one.
func (f *far) cable(nic string, on bool) {
	f.run(func() {
		if on {
			f.check(up(nic))
			f.check(number6(nic)) // the kernel has dropped them
		} else {
			f.check(down(nic))
		}
	})
}

// serveDHCP answers DHCPv4 on the far end nic with the address.
func (f *far) serveDHCP(nic, addr string, options ...dhcpv4.Option) {
	f.run(func() {
		s, err := server4.NewServer(nic, nil, func(conn net.PacketConn, peer net.Addr, m *dhcpv4.DHCPv4) {
			f.hear(m.MessageType().String() + " " + m.ClientIPAddr.String())
			kind := dhcpv4.MessageTypeOffer
			if m.MessageType() == dhcpv4.MessageTypeRequest {
				kind = dhcpv4.MessageTypeAck
			}
			r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(kind), dhcpv4.WithYourIP(net.ParseIP(addr)))
			f.check(err)
			server := net.IPv4(10, 0, nic[3]-'0', 1)
			r.ServerIPAddr = server
			for _, o := range append(options, dhcpv4.OptServerIdentifier(server), mask24(), dhcpv4.OptIPAddressLeaseTime(time.Hour)) {
				r.UpdateOption(o)
			}
			if _, err := conn.WriteTo(r.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 68}); err != nil {
				f.t.Logf("DHCP answer: %v", err)
			}
		})
		f.check(err)
		go s.Serve()
	})
}

// serveDHCP6 answers DHCPv6 on the far end nic with the address and DNS server.
func (f *far) serveDHCP6(nic, addr, dns string) {
	f.run(func() {
		s, err := server6.NewServer(nic, nil, func(conn net.PacketConn, peer net.Addr, d dhcpv6.DHCPv6) {
			m, err := d.GetInnerMessage()
			f.check(err)
			f.hear(m.MessageType.String())
			reply := &dhcpv6.Message{MessageType: dhcpv6.MessageTypeReply, TransactionID: m.TransactionID}
			if m.MessageType == dhcpv6.MessageTypeSolicit {
				reply.MessageType = dhcpv6.MessageTypeAdvertise
			}
			reply.AddOption(dhcpv6.OptClientID(m.Options.ClientID()))
			reply.AddOption(dhcpv6.OptServerID(&dhcpv6.DUIDLL{HWType: 1, LinkLayerAddr: mac}))
			reply.AddOption(dhcpv6.OptDNS(net.ParseIP(dns)))
			if ia := m.Options.OneIANA(); ia != nil {
				given := &dhcpv6.OptIANA{IaId: ia.IaId}
				given.Options.Add(&dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP(addr), PreferredLifetime: time.Hour, ValidLifetime: time.Hour})
				reply.AddOption(given)
			}
			if _, err := conn.WriteTo(reply.ToBytes(), peer); err != nil {
				f.t.Logf("DHCPv6 answer: %v", err)
			}
		})
		f.check(err)
		go s.Serve()
	})
}

// advertise answers router solicitations on the far end nic with the message.
func (f *far) advertise(nic string, message []byte) {
	f.run(func() {
		conn, err := net.ListenPacket("ip6:ipv6-icmp", "::")
		f.check(err)
		raw, err := conn.(*net.IPConn).SyscallConn()
		f.check(err)
		raw.Control(func(fd uintptr) {
			f.check(unix.BindToDevice(int(fd), nic))
			f.check(unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, 255))
			i, err := net.InterfaceByName(nic)
			f.check(err)
			f.check(unix.SetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IPV6, unix.IPV6_ADD_MEMBERSHIP, &unix.IPv6Mreq{
				Multiaddr: [16]byte(net.IPv6linklocalallrouters), Interface: uint32(i.Index),
			}))
		})
		go func() {
			var p [1500]byte
			for {
				n, _, err := conn.ReadFrom(p[:])
				if err != nil {
					return
				}
				if n > 0 && p[0] == icmpSolicit {
					f.hear("solicitation")
					conn.WriteTo(message, &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: nic})
				}
			}
		}()
	})
}

// serveHTTP serves at all far addresses.
func (f *far) serveHTTP(h http.HandlerFunc) {
	f.run(func() {
		l, err := net.Listen("tcp", ":80")
		f.check(err)
		go http.Serve(l, h)
	})
}

// serveDNS says that each name has the address.
func (f *far) serveDNS(addr string) {
	f.run(func() {
		conn, err := net.ListenPacket("udp", ":53")
		f.check(err)
		go func() {
			var p [512]byte
			for {
				n, peer, err := conn.ReadFrom(p[:])
				if err != nil {
					return
				}
				if _, err := conn.WriteTo(dnsAnswer(p[:n], netip.MustParseAddr(addr)), peer); err != nil {
					f.t.Logf("DNS answer to %s: %v", peer, err)
				}
			}
		}()
	})
}

// dnsAnswer answers the question with addr where it asks for its family.
func dnsAnswer(q []byte, addr netip.Addr) []byte {
	end := 12
	for q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5
	a := bytes.Clone(q[:end])
	a[2], a[3] = 0x81, 0x80
	copy(a[6:], make([]byte, 6)) // no records
	if kind := binary.BigEndian.Uint16(q[end-4:]); kind == 28 && addr.Is6() || kind == 1 && addr.Is4() {
		a[7] = 1
		a = append(a, 0xc0, 12)
		a = binary.BigEndian.AppendUint16(a, kind)
		a = append(a, 0, 1, 0, 0, 0, 60)
		a = binary.BigEndian.AppendUint16(a, uint16(len(addr.AsSlice())))
		a = append(a, addr.AsSlice()...)
	}
	return a
}

// routerAdvert makes an advertisement.
func routerAdvert(flags byte, options ...[]byte) []byte {
	p := []byte{icmpAdvert, 0, 0, 0, 64, flags, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0} // lifetime 1800 s
	return append(p, bytes.Join(options, nil)...)
}

// prefixOption and dnsOption are options of an advertisement.
func prefixOption(prefix string, flags byte) []byte {
	p := netip.MustParsePrefix(prefix)
	o := append([]byte{3, 4, byte(p.Bits()), flags, 0, 0, 14, 16, 0, 0, 14, 16, 0, 0, 0, 0}, p.Addr().AsSlice()...)
	return o
}

func dnsOption(servers ...string) []byte {
	o := []byte{25, byte(1 + 2*len(servers)), 0, 0, 0, 0, 14, 16}
	for _, s := range servers {
		o = append(o, netip.MustParseAddr(s).AsSlice()...)
	}
	return o
}

// number6 gives a far end its IPv6 addresses, at once.
func number6(nic string) error {
	link, err := netlink.LinkByName(nic)
	if err != nil {
		return err
	}
	for _, a := range []string{"2001:db8:" + nic[3:] + "::1/64", "fe80::1/64"} {
		err = errors.Join(err, netlink.AddrReplace(link, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(a)), Flags: unix.IFA_F_NODAD}))
	}
	return err
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
