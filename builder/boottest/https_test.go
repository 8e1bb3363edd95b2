//go:build boot

package boottest

import (
	"bytes"
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
	"testing"
	"time"

	"github.com/farboot/farboot/builder/vm"
)

// TestHTTPS reaches the site by https: with the CA on the medium, although the
// machine's clock shows 1980, a time before the certificate; and not without.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ca, cert := certificates(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	w.listen(t, ln)
	url := fmt.Sprintf("https://10.0.2.2:%d/", ln.Addr().(*net.TCPAddr).Port)
	w.write(t, "ca.pem", ca)
	w.write(t, "recipes/netboot.yaml", fmt.Appendf(nil, mediumRecipe+"roots: [{file: ca.pem}]\n", url))
	image, _ := w.build(t)
	m, ctx := start(t, vm.Config{Image: image, Args: []string{"-rtc", "base=1980-01-01T00:00:00"}})
	expect(t, ctx, m, "is before this medium was built", "manifest: version 1", "handing over", markerRuns, "next kernel done")

	stranger, _ := certificates(t)
	w.write(t, "ca.pem", stranger)
	w.farboot(t, "lock", "--update", "recipes/netboot.yaml")
	image, _ = w.build(t)
	m, ctx = start(t, vm.Config{Image: image})
	expect(t, ctx, m, "certificate signed by unknown authority", "waiting")
}

// certificates makes a CA and a certificate of it for 10.0.2.2, valid for a year
// around now.
func certificates(t *testing.T) (ca []byte, cert tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	issuer := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "farboot test CA"},
		NotBefore: time.Now().AddDate(0, -6, 0), NotAfter: time.Now().AddDate(0, 6, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: issuer.NotBefore, NotAfter: issuer.NotAfter,
		IPAddresses: []net.IP{net.IPv4(10, 0, 2, 2)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	var pemCA bytes.Buffer
	for i, c := range []*x509.Certificate{issuer, leaf} {
		der, err := x509.CreateCertificate(rand.Reader, c, issuer, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			pem.Encode(&pemCA, &pem.Block{Type: "CERTIFICATE", Bytes: der})
		} else {
			cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
		}
	}
	return pemCA.Bytes(), cert
}
