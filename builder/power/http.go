package power

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

const (
	// dialTime is how long a controller may take to accept a connection: one that
	// is there does it at once, one that is not is to be known soon.
	dialTime = 5 * time.Second
	// maxAnswer bounds one answer, in bytes. A system with all its links has 20 kB.
	maxAnswer = 1 << 20
)

// client speaks HTTP to one controller, and tells failures apart.
type client struct {
	http  http.Client
	base  string // "https://host:port"
	limit time.Duration
}

// newClient returns a client for the controller of c at its default port.
func newClient(c Config, securePort, plainPort string) *client {
	scheme, port := "https", securePort
	if c.Plain {
		scheme, port = "http", plainPort
	}
	return &client{
		base:  scheme + "://" + withPort(c.Address, port),
		limit: c.limit(),
		http: http.Client{
			Transport: &http.Transport{ // no proxy: a controller's network is the desk's own
				DialContext:       dial,
				TLSClientConfig:   tlsConfig(c),
				DisableKeepAlives: false,
				MaxConnsPerHost:   1, // small controllers serve few
				ForceAttemptHTTP2: false,
			},
			// A password goes nowhere else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// withPort adds a port to an address that has none.
func withPort(address, port string) string {
	if _, _, err := net.SplitHostPort(address); err == nil {
		return address
	}
	return net.JoinHostPort(strings.Trim(address, "[]"), port)
}

// dialError is that of a connection that was never made.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

func dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, network, address)
	if err != nil {
		return nil, dialError{err}
	}
	return conn, nil
}

// pinError is that of a certificate with another fingerprint.
type pinError struct{ have string }

func (e pinError) Error() string { return "its SHA-256 is " + e.have }

// tlsConfig says who may vouch for a controller.
func tlsConfig(c Config) *tls.Config {
	t := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots}
	if c.Insecure {
		t.InsecureSkipVerify = true
	}
	if c.Fingerprint == "" {
		return t
	}
	t.InsecureSkipVerify = true // the one certificate is known, and nothing else of it counts
	t.VerifyConnection = func(s tls.ConnectionState) error {
		have := fingerprint(s.PeerCertificates[0])
		if !strings.EqualFold(have, strings.ReplaceAll(c.Fingerprint, ":", "")) {
			return pinError{have}
		}
		return nil
	}
	return t
}

// fingerprint returns the SHA-256 of a certificate, in hex.
func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// answer is what a controller says.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends one request. Only a request that brought no answer is an error.
func (c *client) do(ctx context.Context, method, path string, body []byte, header http.Header) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, classify(ctx, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return answer{}, classify(ctx, err)
	}
	if len(data) > maxAnswer {
		return answer{}, fmt.Errorf("%w: an answer of more than %d bytes", ErrFailed, maxAnswer)
	}
	return answer{resp.StatusCode, resp.Header, data}, nil
}

// classify gives an error of HTTP its class. An interrupted one has none.
func classify(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%w: %w (its SHA-256 is %s)", ErrCertificate, bad.Err, fingerprint(bad.UnverifiedCertificates[0]))
	}
	if bad, ok := errors.AsType[pinError](err); ok {
		return fmt.Errorf("%w: %w", ErrCertificate, bad)
	}
	if bad, ok := errors.AsType[dialError](err); ok {
		return fmt.Errorf("%w: %w", ErrDead, bad.error)
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: connected, and then silence", ErrSlow)
	}
	return fmt.Errorf("%w: %w", ErrFailed, err)
}

// refusal is the error of a status that is none of 2xx; what is said of it by the
// controller itself follows in quotes.
func (a answer) refusal() error {
	class := ErrFailed
	switch a.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		class = ErrPassword
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		class = ErrUnsupported
	}
	if said := a.said(); said != "" {
		return fmt.Errorf("%w: status %d: %+.200q", class, a.status, said)
	}
	return fmt.Errorf("%w: status %d", class, a.status)
}
