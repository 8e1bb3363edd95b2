package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/farboot/farboot/payload/guard"
)

// UnsureClock judges certificates by a clock that nobody vouches for, as that of
// a machine that boots: it may stand at 1970 or at the time the medium was
// built, floor, long before the server's certificate was renewed. The time taken
// is the latest of the clock's, floor and the beginning of the server's own
// certificate. A certificate is thus never too young; one that is over at the
// later of clock and floor stays refused, and so do other roots and names.
//
// It is for the agent, to which TLS is a mere transport.
func UnsureClock(floor time.Time) Option {
	return func(c *config) { c.unsure, c.floor = true, floor }
}

// OnDate tells what time servers say it is: f is called once for each answer
// with a Date that can be read (an IMF-fixdate as of RFC 9110, 5.6.7, from the
// years 2020 to 2099), to which the Age that a cache states has been added.
// Redirects on the way do not count. url is the address that answered, without
// query. Calls may come at the same time.
//
// secure says that the answer came over https and that the server's certificate
// is good for its name, by a root that the Client trusts, at that very date. It
// means the same with UnsureClock, where the date may be one that this machine's
// clock is far from: whoever holds a key whose certificate was valid at some
// time can claim that time and no other. A thief of a key of 2027 can thus make
// it 2027 again. What a date is good for is package clock's to say: there it may
// set the time back as well, though not to before the medium was built.
func OnDate(f func(date time.Time, url string, secure bool)) Option {
	return func(c *config) { c.onDate = f }
}

// date tells the time of an answer to who wants it.
func (c *config) date(resp *http.Response) {
	date, ok := dateOf(resp.Header)
	if !ok {
		return
	}
	u := resp.Request.URL
	secure := resp.TLS != nil && c.verify(resp.TLS.PeerCertificates, u.Hostname(), date) == nil
	c.onDate(date, display(u.String()), secure)
}

// dateOf reads the time at which an answer was sent.
func dateOf(h http.Header) (time.Time, bool) {
	const maxAge = 366 * 24 * 60 * 60 // seconds; caches keep nothing for longer (RFC 9111, 4.2.2 advises much less)
	date, err := time.Parse(http.TimeFormat, h.Get("Date"))
	if err != nil || date.Year() < 2020 || date.Year() > 2099 {
		return time.Time{}, false
	}
	if age, err := strconv.ParseUint(h.Get("Age"), 10, 31); err == nil && age <= maxAge {
		date = date.Add(time.Duration(age) * time.Second)
	}
	return date, true
}

// dialTLS connects to an https server whose certificate is judged by an unsure
// clock. The host comes from the URL: tls.ConnectionState.ServerName is empty
// where it is an IP address, and x509 checks no name where it is asked for none.
func (c *config) dialTLS(ctx context.Context, network, addr string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	conn, err := c.dialThrough(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(conn, &tls.Config{
		ServerName:         host,
		InsecureSkipVerify: true, // VerifyConnection does it, with a time that depends on the certificate
		VerifyConnection: func(state tls.ConnectionState) error {
			certs := state.PeerCertificates // a TLS server has at least one
			return c.verify(certs, host, latest(time.Now(), c.floor, certs[0].NotBefore))
		},
	})
	// net/http dials in a goroutine of its own, where nobody else would catch what
	// a certificate makes crash.
	if err := guard.Call("TLS with "+host, func() error { return secure.HandshakeContext(ctx) }); err != nil {
		conn.Close()
		return nil, err
	}
	return secure, nil
}

// verify judges a server's certificates as of a time.
func (c *config) verify(certs []*x509.Certificate, host string, at time.Time) error {
	options := x509.VerifyOptions{DNSName: host, Roots: c.roots, Intermediates: x509.NewCertPool(), CurrentTime: at}
	for _, cert := range certs[1:] {
		options.Intermediates.AddCert(cert)
	}
	if _, err := certs[0].Verify(options); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: certs, Err: err}
	}
	return nil
}

// latest returns the latest of times.
func latest(times ...time.Time) (last time.Time) {
	for _, t := range times {
		if t.After(last) {
			last = t
		}
	}
	return last
}
