package network

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/object"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// line is what lies between the machine and the far end: rate in bytes per second,
// and packets larger than most are swallowed without a word.
type line struct {
	delay time.Duration
	rate  int
	loss  float64
	most  int
}

// newLine makes the far namespace at the end of a line, with 10.0.0.9 at the near
// end eth0 and 10.0.0.1 at far0. Frames are carried by two goroutines.
func newLine(t *testing.T, l line) *far {
	t.Helper()
	f := newFar(t, 0)
	near := socket(t, "eth0", "near", "10.0.0.9/24")
	var remote int
	f.run(func() { remote = socket(t, "far0", "remote", "10.0.0.1/24") })
	go l.carry(near, remote, rand.New(rand.NewPCG(11, 1)))
	go l.carry(remote, near, rand.New(rand.NewPCG(11, 2)))
	return f
}

// socket makes a cable in this namespace, numbers its end nic, and returns a packet
// socket on the other one.
func socket(t *testing.T, nic, other, addr string) int {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = nic
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: other}))
	must(t, wholeChecksums(nic))
	must(t, up(other))
	must(t, up(nic))
	link, err := netlink.LinkByName(nic)
	must(t, err)
	must(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(addr))}))
	end, err := netlink.LinkByName(other)
	must(t, err)
	const everything = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8 // in network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, everything)
	must(t, err)
	must(t, unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: end.Attrs().Index}))
	return fd
}

// wholeChecksums has the kernel fill in checksums, and cut what it sends into
// packets: a virtual cable leaves both to its other end.
func wholeChecksums(nic string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := struct{ command, data uint32 }{unix.ETHTOOL_STXCSUM, 0}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:], nic)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}

// carry takes frames from one socket to the other until the test's process ends.
func (l line) carry(from, to int, dice *rand.Rand) {
	type frame struct {
		data []byte
		at   time.Time
	}
	under := make(chan frame, 1000)
	go func() {
		for f := range under {
			time.Sleep(time.Until(f.at))
			unix.Write(to, f.data)
		}
	}()
	var free time.Time // when the line is
	buf := make([]byte, 64<<10)
	for {
		n, sender, err := unix.Recvfrom(from, buf, 0)
		if err != nil {
			return
		}
		outgoing := sender.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_OUTGOING
		if outgoing || n > l.most || dice.Float64() < l.loss {
			continue
		}
		if now := time.Now(); free.Before(now) {
			free = now
		}
		free = free.Add(time.Duration(n) * time.Second / time.Duration(l.rate))
		under <- frame{bytes.Clone(buf[:n]), free.Add(l.delay)}
	}
}

// TestRealPoorLine: 64 kbit/s by satellite that loses one packet in twenty is slow,
// and that is all.
func TestRealPoorLine(t *testing.T) {
	if !isolated(t) {
		return
	}
	f := newLine(t, line{delay: 300 * time.Millisecond, rate: 8000, loss: 0.05, most: 1514})
	body := bytes.Repeat([]byte("farboot "), 4<<10)
	f.serveHTTP(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	})
	start := time.Now()
	got := make(memory, len(body))
	c := fetch.New(fetch.DefaultLimits())
	must(t, c.Object(t.Context(), []string{"http://10.0.0.1/object"}, object.OfBytes(body), got, nil))
	if !bytes.Equal(got, body) {
		t.Error("other bytes")
	}
	if took := time.Since(start); took < 4*time.Second {
		t.Errorf("%d bytes took %v: the line is not poor", len(body), took)
	}
}

// TestRealBlackHole: a router that swallows large packets is an error in good time,
// and says that nothing came.
func TestRealBlackHole(t *testing.T) {
	if !isolated(t) {
		return
	}
	f := newLine(t, line{rate: 1 << 20, most: 600})
	body := make([]byte, 32<<10)
	f.serveHTTP(func(w http.ResponseWriter, r *http.Request) { w.Write(body) })
	limits := fetch.DefaultLimits()
	limits.Answer, limits.Stall, limits.Attempts, limits.Backoff = 2*time.Second, 2*time.Second, 2, 100*time.Millisecond
	err := fetch.New(limits).Object(t.Context(), []string{"http://10.0.0.1/object"}, object.OfBytes(body), make(memory, len(body)), nil)
	if !errors.Is(err, fetch.ErrUnreachable) {
		t.Errorf("%v", err)
	}
	if text := err.Error(); !strings.Contains(text, "10.0.0.1") {
		t.Errorf("which site it was is missing: %s", text)
	}

}

// memory is an object's place.
type memory []byte

func (m memory) WriteAt(p []byte, off int64) (int, error) { return copy(m[off:], p), nil }
