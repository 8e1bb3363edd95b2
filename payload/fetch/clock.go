package fetch

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// UnsureClock judges certificates by a clock that nobody vouches for, as that of
// a machine that boots: it may stand at 1970 or at the time the medium was
// built, floor, long before the server's certificate was renewed. The time taken
// is the latest of the clock's, floor and the beginning of the server's own
// certificate. A certificate is thus never too young; one that is over at the
// later of clock and floor stays refused, and so do other roots and names.
//
// It is for the agent, to which TLS is a mere transport. It does not reach
// through a proxy: there the system's clock decides.
func UnsureClock(floor time.Time) Option {
	return func(t *http.Transport) {
		t.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			conn, err := t.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			secure := tls.Client(conn, unsure(t.TLSClientConfig, host, floor))
			if err := secure.HandshakeContext(ctx); err != nil {
				conn.Close()
				return nil, err
			}
			return secure, nil
		}
	}
}

// unsure returns config with a verification of its own in the place of
// crypto/tls's, whose time cannot depend on the certificate. The host comes from
// the URL: tls.ConnectionState.ServerName is empty where it is an IP address,
// and x509 checks no name where it is asked for none.
func unsure(config *tls.Config, host string, floor time.Time) *tls.Config {
	config = config.Clone()
	config.ServerName = host
	config.InsecureSkipVerify = true // VerifyConnection does it
	config.VerifyConnection = func(state tls.ConnectionState) error {
		certs := state.PeerCertificates // a TLS server has at least one
		options := x509.VerifyOptions{
			DNSName: host, Roots: config.RootCAs, Intermediates: x509.NewCertPool(),
			CurrentTime: latest(time.Now(), floor, certs[0].NotBefore),
		}
		for _, c := range certs[1:] {
			options.Intermediates.AddCert(c)
		}
		if _, err := certs[0].Verify(options); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: certs, Err: err}
		}
		return nil
	}
	return config
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
