package console

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/farboot/farboot/payload/guard"
)

const (
	// maxSyslog bounds one message in octets, header included: what every
	// server should take (RFC 5424, 6.1).
	maxSyslog = 2048
	// maxHost, maxProcess and maxVersion bound fields of the header and the
	// origin's version, in octets (RFC 5424, 6 and 7.2.3).
	maxHost, maxProcess, maxVersion = 255, 128, 32
	// maxSequence is the largest sequenceId; the next is 1 again (7.3.1).
	maxSequence = 1<<31 - 1
	// priority is facility 3 (system daemons), severity 6 (informational): the
	// lines do not say how bad they are, their codes do.
	priority = 3*8 + 6
	// sendTime bounds a lookup, a connect and a write. A server that needs
	// longer loses the line.
	sendTime = 5 * time.Second
	// sendPause is the pause before the next attempt, which usually waits for a
	// card to get its lease.
	sendPause = time.Second
	// sendFlush is how long a hand-over waits for the last lines. They need one
	// round trip: 0.6 s over a satellite.
	sendFlush = time.Second
)

// Syslog says where and as whom lines are sent.
type Syslog struct {
	// URL is "udp://host:514" or "tcp://host:514", as settings.CheckSyslog wants
	// it.
	URL string
	// Boot is an id of this boot. It is sent as PROCID, whose change tells a
	// reader that there was a restart (RFC 5424, 6.2.6).
	Boot string
	// Build names the medium. It is sent as the origin's swVersion (7.2.3).
	Build string
	// Host names the machine as reports do, or is empty as long as that is not
	// known. It is asked when a line is sent, not when it is printed.
	Host func() string
	// Now is the time of day as far as it is known by then; zero is unknown.
	Now func() time.Time
}

// Syslog sends all lines to a server as well, from the last few that were printed
// before on, until ctx ends. It returns at once. Lines wait for the network,
// at most 256 of them: what comes when so many wait is lost, and counted. Over
// UDP they are RFC 5424 in datagrams (RFC 5426), over TCP counted in octets (RFC
// 6587, 3.4.1). Nobody on the way is authenticated, nor is what is read there.
func (c *Console) Syslog(ctx context.Context, cfg Syslog) error {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "udp" && u.Scheme != "tcp" {
		return errors.New(`syslog: want "udp://host:514" or "tcp://host:514"`)
	}
	s := &sender{Syslog: cfg, ctx: ctx, network: u.Scheme, addr: u.Host, uptime: c.uptime}
	t := &terminal{write: s.send, drain: func() {}, flush: sendFlush, queue: make(chan message, queueLines)}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.recent {
		t.put(m)
	}
	c.terminals = append(c.terminals, t)
	guard.Go("syslog", t.run, func(error) { s.close() })
	return nil
}

// sender is the connection to a server.
type sender struct {
	Syslog
	ctx           context.Context
	network, addr string
	uptime        func() time.Duration

	conn net.Conn
	sent int // messages handed to the network
}

// send sends one line, however long that takes. It gives up when ctx ends.
func (s *sender) send(m message) {
	msg := s.format(m)
	if s.network == "tcp" {
		msg = fmt.Sprintf("%d %s", len(msg), msg)
	}
	for s.ctx.Err() == nil {
		err := s.try(msg)
		if err == nil || s.network == "udp" && errors.Is(err, syscall.ECONNREFUSED) {
			// A refusal is an earlier datagram's. There may be no server for the
			// whole of the boot, and the queue must not fill with what is old.
			s.sent++
			return
		}
		s.close()
		select {
		case <-time.After(sendPause):
		case <-s.ctx.Done():
		}
	}
}

// try sends a message once, and connects before where that is needed.
func (s *sender) try(msg string) error {
	if s.conn == nil {
		dialer := net.Dialer{Timeout: sendTime}
		conn, err := dialer.DialContext(s.ctx, s.network, s.addr)
		if err != nil {
			return err
		}
		s.conn = conn
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(sendTime)); err != nil {
		return err
	}
	_, err := io.WriteString(s.conn, msg)
	return err
}

func (s *sender) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}

// format makes a message of a line (RFC 5424, 6). The time is that at which the
// line was printed, by what the clock knows now: lines from before the first
// lease get the right date once there is one.
func (s *sender) format(m message) string {
	stamp := "-"
	if now := s.Now(); !now.IsZero() {
		stamp = now.Add(m.at - s.uptime()).UTC().Format("2006-01-02T15:04:05.000000Z07:00")
	}
	msg := fmt.Sprintf(`<%d>1 %s %s farboot %s - [origin software="farboot" swVersion="%s"][meta sequenceId="%d"] %s`,
		priority, stamp, field(s.Host(), maxHost), field(s.Boot, maxProcess), field(s.Build, maxVersion), s.sent%maxSequence+1,
		strings.TrimSuffix(m.text, "\n"))
	return msg[:min(len(msg), maxSyslog)]
}

// field returns s as a header field or a parameter's value: printable ASCII
// without blanks and what would have to be escaped, "-" where nothing is left.
func field(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r > '~' || strings.ContainsRune(`"\]`, r) {
			return -1
		}
		return r
	}, s)
	if s = s[:min(len(s), most)]; s == "" {
		return "-"
	}
	return s
}
