package power

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/recipe"
)

// The account of every controller here.
const user, password = "operator", "hunter2 with blanks"

// config is that of a machine at a server; more may change it.
func config(driver string, srv *httptest.Server, more func(*Config)) Config {
	c := Config{Name: "room-4-01", MAC: "52:54:00:00:04:01", Secret: password}
	c.Driver, c.User = driver, user
	if srv != nil {
		c.Address = srv.Listener.Addr().String()
		if srv.TLS != nil {
			c.Roots = x509.NewCertPool()
			c.Roots.AddCert(srv.Certificate())
		} else {
			c.Plain = true
		}
	}
	if more != nil {
		more(&c)
	}
	return c
}

// driverOf makes a driver that must be made.
func driverOf(t *testing.T, c Config) Driver {
	t.Helper()
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// wantClass wants an error of one class and of no other, that keeps the password.
func wantClass(t *testing.T, what string, err, class error) {
	t.Helper()
	for _, c := range []error{ErrPassword, ErrCertificate, ErrDead, ErrSlow, ErrUnsupported, ErrFailed} {
		if errors.Is(err, c) != (c == class) {
			t.Errorf("%s: %v; want %v", what, err, class)
			break
		}
	}
	if err != nil && strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%s: the error tells the password: %v", what, err)
	}
	if class != ErrFailed && class != nil && Hint(err) == "" {
		t.Errorf("%s: no hint", what)
	}
}

// dead returns an address where nobody listens.
func dead(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// silent returns the address of a host that takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
		}
	}()
	return ln.Addr().String()
}

// The failures of a way to a controller by TLS, each with its own class, whatever
// is spoken there.
func TestFailuresOfTLS(t *testing.T) {
	t.Parallel()
	right := httptest.NewTLSServer(http.NotFoundHandler())
	defer right.Close()
	right.Config.ErrorLog = nil
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	other := make([]byte, 32)
	for name, tt := range map[string]struct {
		change func(*Config)
		class  error
	}{
		"nobody vouches":    {func(c *Config) { c.Roots = nil }, ErrCertificate},
		"another pin":       {func(c *Config) { c.Fingerprint = hexOf(other) }, ErrCertificate},
		"dead":              {func(c *Config) { c.Address = dead(t) }, ErrDead},
		"no such name":      {func(c *Config) { c.Address = "bmc.invalid" }, ErrDead},
		"slow":              {func(c *Config) { c.Address, c.Seconds = silent(t), 1 }, ErrSlow},
		"no TLS":            {func(c *Config) { c.Address = plain.Listener.Addr().String() }, ErrFailed},
		"vouched for":       {nil, ErrUnsupported}, // 404
		"pinned":            {func(c *Config) { c.Roots, c.Fingerprint = nil, colons(fingerprint(right.Certificate())) }, ErrUnsupported},
		"not to be checked": {func(c *Config) { c.Roots, c.Insecure = nil, true }, ErrUnsupported},
	} {
		for _, driver := range []string{recipe.DriverRedfish, recipe.DriverAMT} {
			c := config(driver, right, tt.change)
			_, err := driverOf(t, c).State(t.Context())
			wantClass(t, driver+", "+name, err, tt.class)
			if tt.class == ErrCertificate && !strings.Contains(err.Error(), fingerprint(right.Certificate())) {
				t.Errorf("%s: the error does not tell the certificate that it met: %v", name, err)
			}
		}
	}
}

// A name that is not in the certificate is as bad as no certificate.
func TestOtherName(t *testing.T) {
	t.Parallel()
	srv := httptest.NewTLSServer(http.NotFoundHandler()) // for 127.0.0.1, ::1 and example.com
	defer srv.Close()
	c := config(recipe.DriverRedfish, srv, nil)
	_, port, _ := net.SplitHostPort(c.Address)
	c.Address = "localhost:" + port
	_, err := driverOf(t, c).State(t.Context())
	wantClass(t, "another name", err, ErrCertificate)
}

// TLS 1.1 and older are not spoken.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	srv.StartTLS()
	defer srv.Close()
	_, err := driverOf(t, config(recipe.DriverRedfish, srv, nil)).State(t.Context())
	wantClass(t, "TLS 1.1", err, ErrFailed)
}

// An interrupt is no failure of a controller.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	c := Config{Secret: password}
	c.Driver, c.Address = recipe.DriverRedfish, silent(t)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := driverOf(t, c).State(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A password does not follow a redirection, and an answer without end is cut.
func TestHostileServers(t *testing.T) {
	t.Parallel()
	var stolen bool
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen = true }))
	defer thief.Close()
	for name, handler := range map[string]http.HandlerFunc{
		"redirects": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := io.WriteString(w, strings.Repeat("[", 1<<16)); err != nil {
					return
				}
			}
		},
		"leads elsewhere": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `{"Systems":{"@odata.id":"`+thief.URL+`"},"Links":{"Sessions":{"@odata.id":"//`+thief.Listener.Addr().String()+`/"}}}`) //nolint:errcheck // a test
		},
		"deep": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, strings.Repeat(`{"Systems":`, 90_000)) //nolint:errcheck // a test
		},
		"deep XML": func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, `<Envelope xmlns="`+nsSOAP+`"><Body>`+strings.Repeat("<a>", 100_000)) //nolint:errcheck // a test
		},
	} {
		srv := httptest.NewTLSServer(handler)
		for _, driver := range []string{recipe.DriverRedfish, recipe.DriverAMT} {
			_, err := driverOf(t, config(driver, srv, nil)).State(t.Context())
			wantClass(t, driver+", "+name, err, ErrFailed)
		}
		srv.Close()
	}
	if stolen {
		t.Error("a request went elsewhere")
	}
}

// asked is a driver that is on or off and keeps what it was asked to do.
type asked struct {
	state State
	err   error
	did   []Action
}

func (a *asked) State(context.Context) (State, error)      { return a.state, a.err }
func (a *asked) BootNext(context.Context, Device) error    { return nil }
func (a *asked) Do(_ context.Context, action Action) error { a.did = append(a.did, action); return nil }

func TestSwitch(t *testing.T) {
	for _, tt := range []struct {
		state  State
		err    error
		action Action
		did    Action
		class  error
	}{
		{IsOn, nil, On, "", nil}, {IsOff, nil, On, On, nil},
		{IsOn, nil, Off, Off, nil}, {IsOff, nil, Off, "", nil},
		{IsOn, nil, Cycle, Cycle, nil}, {IsOff, nil, Cycle, On, nil},
		{IsOn, nil, Reset, Reset, nil}, {IsOff, nil, Reset, "", ErrFailed},
		{"asleep", nil, On, On, nil},
		{"", ErrUnsupported, On, On, nil},
		{"", ErrPassword, On, "", ErrPassword},
	} {
		d := &asked{state: tt.state, err: tt.err}
		err := Switch(t.Context(), d, tt.action)
		if !errors.Is(err, tt.class) || (err == nil) != (tt.class == nil) || strings.Join(texted(d.did), " ") != string(tt.did) {
			t.Errorf("%s of a machine that is %s: %v, did %v", tt.action, tt.state, err, d.did)
		}
	}
}

func texted(all []Action) []string {
	var out []string
	for _, a := range all {
		out = append(out, string(a))
	}
	return out
}

func hexOf(b []byte) string { return fingerprint(&x509.Certificate{Raw: b}) }

// colons writes a fingerprint as openssl does.
func colons(hex string) string {
	var pairs []string
	for i := 0; i < len(hex); i += 2 {
		pairs = append(pairs, strings.ToUpper(hex[i:i+2]))
	}
	return strings.Join(pairs, ":")
}
