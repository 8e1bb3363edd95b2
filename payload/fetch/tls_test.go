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

// TestCertificateDates uses a certificate that is valid in the year 2026 only.
// The one of httptest is valid from 1970 on.
func TestCertificateDates(t *testing.T) {
	day := func(year int) time.Time { return time.Date(year, 7, 1, 0, 0, 0, 0, time.UTC) }
	cert, roots := mint(t, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	for _, tt := range []struct {
		name  string
		floor time.Time // the bubble's own clock starts at 2000-01-01
		text  string    // of the error
	}{
		{"clock behind", time.Time{}, "valid from 2026-01-01 to 2027-01-01: this machine's clock or the certificate is wrong"},
		{"floor below the clock", day(1990), "this machine's clock"},
		{"clock behind, medium built in time", day(2026), ""},
		{"certificate over", day(2030), "this machine's clock"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				n.listenTLS("a:443", evil.New(evil.Content([]byte("hello"))), cert)
				c := n.client(Roots(roots), ClockFloor(tt.floor))
				doc, err := c.Document(t.Context(), "https://a/d", 100)
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
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, DNSNames: []string{"a"},
		NotBefore: from, NotAfter: to, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(root)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
