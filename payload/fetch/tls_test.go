package fetch

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
)

// TestCertificateDates uses certificates of an own root. The one of httptest is
// valid from 1970 on.
func TestCertificateDates(t *testing.T) {
	day := func(year int) time.Time { return time.Date(year, 7, 1, 0, 0, 0, 0, time.UTC) }
	root := mintRoot(t, day(1990), day(2040))
	cert := root.issue(t, day(2025), day(2026))
	over := root.issue(t, day(1995), day(1999))
	roots, foreign := root.pool(), mintRoot(t, day(1990), day(2040)).pool()
	const dates = "valid from 2025-07-01 to 2026-07-01: this machine's clock or the certificate is wrong"
	for _, tt := range []struct {
		name   string
		host   string
		cert   tls.Certificate
		roots  *x509.CertPool
		option Option // the bubble's own clock starts at 2000-01-01
		text   string // of the error
	}{
		{"clock behind", "a", cert, roots, Roots(roots), dates},
		{"unsure clock behind", "a", cert, roots, UnsureClock(time.Time{}), ""},
		{"medium built before the certificate", "a", cert, roots, UnsureClock(day(2024)), ""},
		{"medium built while it is valid", "a", cert, roots, UnsureClock(day(2025).AddDate(0, 1, 0)), ""},
		{"over when the medium was built", "a", cert, roots, UnsureClock(day(2030)), dates},
		{"over by the clock", "a", over, roots, UnsureClock(time.Time{}), "valid from 1995-07-01 to 1999-07-01: this machine's clock"},
		{"root over by then", "a", root.issue(t, day(2041), day(2042)), roots, UnsureClock(time.Time{}), "this machine's clock"},
		{"foreign root", "a", cert, foreign, UnsureClock(time.Time{}), "unknown authority"},
		{"other name", "b", cert, roots, UnsureClock(time.Time{}), "valid for a, not b"},
		{"other name, an address", "192.0.2.1", cert, roots, UnsureClock(time.Time{}), "cannot validate certificate for 192.0.2.1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				n.listenTLS(tt.host+":443", evil.New(evil.Content([]byte("hello"))), tt.cert)
				c := n.client(Roots(tt.roots), tt.option)
				doc, err := c.Document(t.Context(), "https://"+tt.host+"/d", 100)
				switch {
				case tt.text == "" && (err != nil || string(doc) != "hello"):
					t.Errorf("%q, error %v", doc, err)
				case tt.text != "" && (!errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), tt.text)):
					t.Errorf("error %v, want %q with %q", err, ErrRefused, tt.text)
				}
			})
		})
	}
}

func TestTLSRedirects(t *testing.T) {
	cert, roots := mint(t, time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC))
	bubble(t, func(t *testing.T, n *network) {
		n.serve("a", evil.Content([]byte("hello")), evil.On("/up", evil.Redirect("https://a:443/d")))
		n.listenTLS("a:443", evil.New(evil.Content([]byte("hello")), evil.On("/down", evil.Redirect("http://a/d"))), cert)
		n.listenTLS("b:443", evil.New(evil.Content([]byte("hello"))), cert)
		c := n.client(Roots(roots))
		if doc, err := c.Document(t.Context(), "http://a/up", 100); err != nil || string(doc) != "hello" {
			t.Errorf("from http to https: %q, error %v", doc, err)
		}
		if _, err := c.Document(t.Context(), "https://a/down", 100); !errors.Is(err, ErrRefused) {
			t.Errorf("from https to http: error %v, want %q", err, ErrRefused)
		}
		_, err := c.Document(t.Context(), "https://b/d", 100)
		if _, ok := errors.AsType[x509.HostnameError](err); !ok || !errors.Is(err, ErrRefused) {
			t.Errorf("certificate of another name: error %v, want %q", err, ErrRefused)
		}
	})
}

// mint makes a certificate for the host "a", and a pool with its root.
func mint(t *testing.T, from, to time.Time) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	root := mintRoot(t, from, to)
	return root.issue(t, from, to), root.pool()
}

// root is a certificate authority.
type root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// mintRoot makes a root of its own.
func mintRoot(t *testing.T, from, to time.Time) root {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"},
		NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true,
	}
	key := newKey(t)
	return root{cert: certify(t, template, template, key, key), key: key}
}

// issue makes a certificate for the host "a".
func (r root) issue(t *testing.T, from, to time.Time) tls.Certificate {
	t.Helper()
	key := newKey(t)
	cert := certify(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"a"},
		NotBefore: from, NotAfter: to,
	}, r.cert, key, r.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

// pool holds the root.
func (r root) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(r.cert)
	return pool
}

// certify lets the parent's key sign a certificate.
func certify(t *testing.T, template, parent *x509.Certificate, key, signer *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// newKey makes a key.
func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
