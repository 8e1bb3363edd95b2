package settings

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxPlace bounds a URL, in bytes: it is one line on a screen, or three.
const maxPlace = 240

// CheckReport tells what is wrong with a place to post reports to: it is
// [ReportSite] or http(s)://HOST/PATH, with no user, query or fragment, since it
// is printed.
func CheckReport(s string) error {
	if s == ReportSite {
		return nil
	}
	u, err := place(s, "http", "https")
	if err != nil {
		return fmt.Errorf("%w; want http://HOST/PATH, or %q", err, ReportSite)
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.HasSuffix(s, "#") {
		return errors.New("a query or fragment in it; want http://HOST/PATH")
	}
	return nil
}

// CheckSyslog tells what is wrong with the address of a log server, which is
// udp://HOST:PORT or tcp://HOST:PORT. The empty one is none.
func CheckSyslog(s string) error { return address(s, "udp", "tcp") }

// CheckProxy tells what is wrong with the address of a proxy, http://HOST:PORT.
// The empty one is none.
func CheckProxy(s string) error { return address(s, "http") }

// address checks a URL that is a scheme, a host and a port.
func address(s string, schemes ...string) error {
	if s == "" {
		return nil
	}
	u, err := place(s, schemes...)
	if err == nil && (u.Port() == "" || s != u.Scheme+"://"+u.Host) {
		err = errors.New("no port, or more than a host with one")
	}
	if err != nil {
		return fmt.Errorf("%w; want %s://HOST:PORT", err, strings.Join(schemes, ":// or "))
	}
	return nil
}

// place reads a URL with a host. Its errors do not quote what may hold a
// password.
func place(s string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil || len(s) > maxPlace || strings.ContainsFunc(s, odd) {
		return nil, errors.New("not a URL")
	}
	if u.User != nil {
		return nil, errors.New("a user name or password would lie on every medium")
	}
	if !slices.Contains(schemes, u.Scheme) || u.Hostname() == "" || strings.Contains(u.Host, "%") {
		return nil, fmt.Errorf("%q has another scheme or no host", s)
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || port == 0) {
		return nil, fmt.Errorf("port %q is not between 1 and 65535", u.Port())
	}
	return u, nil
}

// odd tells whether r has no business in a URL that is printed and quoted.
func odd(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'\\<>`", r) }
