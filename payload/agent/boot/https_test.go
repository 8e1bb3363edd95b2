package boot

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serverCert is a server's certificate by the CA that all tests trust.
var serverCert tls.Certificate

// TestMain makes a CA and puts it where Go, and so the agent, looks for roots.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "boot")
	if err == nil {
		serverCert, err = issue(filepath.Join(dir, "roots.pem"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Setenv("SSL_CERT_FILE", filepath.Join(dir, "roots.pem"))
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// issue makes a CA, writes its certificate to file, and returns one for
// 127.0.0.1, valid for a year around now.
func issue(file string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().AddDate(0, -6, 0), NotAfter: time.Now().AddDate(0, 6, 0),
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
	}
	root, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	server, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root})
	return tls.Certificate{Certificate: [][]byte{server}, PrivateKey: key}, os.WriteFile(file, data, 0o600)
}

// https serves a site once more, over TLS, and makes that the only one.
func (l *simLab) https(t *testing.T, s *site) {
	t.Helper()
	server := httptest.NewUnstartedServer(s.Config.Handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{serverCert}}
	server.StartTLS()
	t.Cleanup(server.Close)
	l.sites = []string{server.URL + "/"}
}

// A machine with a dead battery learns the time from an https site: a medium that
// requires one boots, and what has expired is refused.
func TestTimeByHTTPS(t *testing.T) {
	l := newSimLab(t)
	l.settings.RequireTime = true
	l.ahead = ago(time.Unix(0, 0))
	s := l.publish(t, 12)
	l.https(t, s)
	handedOver(t, l.lab, l.run(t))
	lines := l.said("clock: ")
	if len(lines) != 3 || !strings.HasSuffix(lines[2], " by "+strings.TrimSuffix(l.sites[0], "/")+", trusted") {
		t.Errorf("said %q", lines)
	}
	if d := time.Since(l.clock); d < 0 || d > time.Minute {
		t.Errorf("the system's clock was set %s before now", d)
	}
	if lines := l.said("manifest: time not verified"); len(lines) > 0 {
		t.Errorf("said %q", lines)
	}

	l = newSimLab(t)
	l.ahead = ago(time.Unix(0, 0))
	l.manifest.Issued, l.manifest.Expires = built.Add(-time.Hour), built
	l.https(t, l.publish(t, 12))
	refused(t, l.lab, l.run(t), "manifest: [expired] "+l.sites[0])
}
