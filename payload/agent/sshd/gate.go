package sshd

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// gate holds the connections that nobody is logged in by. Whoever comes is let
// in, and when that is one too many, the oldest of the network with the most is
// thrown out: who opens connections and leaves them keeps out himself.
type gate struct {
	most int

	mu     sync.Mutex
	closed bool
	guests []guest // the oldest first
}

// guest is one connection.
type guest struct {
	conn net.Conn
	from netip.Prefix
}

// enter lets a connection in.
func (g *gate) enter(conn net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		conn.Close()
		return
	}
	g.guests = append(g.guests, guest{conn, network(conn.RemoteAddr())})
	if len(g.guests) <= g.most {
		return
	}
	count := map[netip.Prefix]int{}
	crowd := 0
	for _, one := range g.guests {
		count[one.from]++
		crowd = max(crowd, count[one.from])
	}
	out := slices.IndexFunc(g.guests, func(one guest) bool { return count[one.from] == crowd })
	g.guests[out].conn.Close()
	g.guests = slices.Delete(g.guests, out, out+1)
}

// leave forgets a connection, and tells whether it was still in.
func (g *gate) leave(conn net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := len(g.guests)
	g.guests = slices.DeleteFunc(g.guests, func(one guest) bool { return one.conn == conn })
	return len(g.guests) < before
}

// close throws all out, and lets nobody in again.
func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, one := range g.guests {
		one.conn.Close()
	}
}

// network returns whose address it is: of IPv6, one customer has a /64 at least.
func network(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// quota bounds how many lines a stranger can have printed.
type quota struct {
	most  int
	every time.Duration

	mu   sync.Mutex
	have int
	last time.Time
	left int
}

// newQuota allows most lines at once, and one more after every.
func newQuota(most int, every time.Duration) quota {
	return quota{most: most, every: every, have: most, last: time.Now()}
}

// line tells whether there is room for one, and how many were left out before it.
func (q *quota) line() (left int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if n := int(time.Since(q.last) / q.every); n > 0 {
		q.have = min(q.most, q.have+n)
		q.last = time.Now()
	}
	if q.have == 0 {
		q.left++
		return 0, false
	}
	q.have--
	left, q.left = q.left, 0
	return left, true
}
