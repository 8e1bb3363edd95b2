package fetch

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
)

// Every failure of a request is of exactly one of these classes.
var (
	// ErrUnreachable: no usable answer came. No connection, silence, a crawl, a
	// body cut short, a status of 5xx, 408 or 429. The only class that is tried
	// again at the same URL.
	ErrUnreachable = errors.New("no usable answer")
	// ErrNotFound: the server says that it does not have it.
	ErrNotFound = errors.New("not found")
	// ErrCorrupt: the server gave other bytes than the wanted ones.
	ErrCorrupt = errors.New("wrong content")
	// ErrTooLarge: the document is larger than its cap.
	ErrTooLarge = errors.New("too large")
	// ErrRefused: the URL, a redirect, a certificate or an answer breaks a rule
	// of this package.
	ErrRefused = errors.New("refused")
)

// ErrPortal goes with [ErrCorrupt] or [ErrRefused] where an answer looks like
// that of a captive portal or of an error page with status 200: HTML, or a
// redirect to another server. What comes from such a network says nothing about
// the server that was meant.
var ErrPortal = errors.New("captive portal?")

// StatusError is an answer with a status other than the wanted one. Its class
// follows from the code.
type StatusError struct {
	Code int
	// RetryAfter is the pause that the server asked for, or 0.
	RetryAfter time.Duration
}

// Error names the code by this package's words, never by the server's.
func (e *StatusError) Error() string {
	return strings.TrimSpace(fmt.Sprintf("server answers %d %s", e.Code, http.StatusText(e.Code)))
}

// Is tells the class. Object stores answer 403 for what they do not have, which
// is fs.ErrNotExist, too.
func (e *StatusError) Is(class error) bool {
	switch {
	case e.Code == 403 || e.Code == 404 || e.Code == 410:
		return class == ErrNotFound || class == fs.ErrNotExist
	case e.Code == 408 || e.Code == 429 || e.Code >= 500:
		return class == ErrUnreachable
	}
	return class == ErrRefused
}

// Error tells why no URL gave what was wanted. errors.Is and errors.As find the
// classes and causes of all attempts.
type Error struct {
	// Object names the wanted object; it is empty for a document.
	Object string
	// Attempts are in the order in which they were made: the first 63 and the last.
	Attempts []Attempt
}

// Attempt is a failed request, or several in a row that failed alike.
type Attempt struct {
	URL   string // without credentials, query and fragment
	Err   error
	Times int
}

// Error lists every attempt on one line.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Object != "" {
		b.WriteString("object " + e.Object + ": ")
	}
	for i, a := range e.Attempts {
		if i > 0 {
			b.WriteString("; ")
		}
		fmt.Fprintf(&b, "%s: %v", a.URL, a.Err)
		if a.Times > 1 {
			fmt.Fprintf(&b, " (%d times)", a.Times)
		}
	}
	return printable(b.String())
}

// printable makes text that may hold a server's words fit for a console: no
// control characters, no end.
func printable(s string) string {
	const most = 4 << 10
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, s)
}

// shown is an error whose text is fit for a console.
type shown struct{ err error }

// Error returns the cause's text, made printable.
func (s shown) Error() string { return printable(s.err.Error()) }

// Unwrap returns the cause.
func (s shown) Unwrap() error { return s.err }

// Unwrap returns the causes of all attempts.
func (e *Error) Unwrap() []error {
	errs := make([]error, len(e.Attempts))
	for i, a := range e.Attempts {
		errs[i] = a.Err
	}
	return errs
}

// add records one more failure.
func (e *Error) add(url string, err error) {
	if n := len(e.Attempts); n > 0 {
		last := &e.Attempts[n-1]
		if last.URL == url && last.Err.Error() == err.Error() {
			last.Times++
			return
		}
	}
	if most := 64; len(e.Attempts) == most { // a server may cut a large object many thousand times
		e.Attempts = e.Attempts[:most-1]
	}
	e.Attempts = append(e.Attempts, Attempt{URL: url, Err: err, Times: 1})
}

// classify gives a class to an error of net/http. The URL that net/http puts in
// front goes: it may hold a secret in its query.
func classify(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	if _, ok := errors.AsType[*StatusError](err); ok || errors.Is(err, ErrRefused) {
		return err
	}
	if bad, ok := errors.AsType[x509.CertificateInvalidError](err); ok && bad.Reason == x509.Expired {
		return fmt.Errorf("%w: the certificate is valid from %s to %s: this machine's clock or the certificate is wrong: %w",
			ErrRefused, bad.Cert.NotBefore.Format(time.DateOnly), bad.Cert.NotAfter.Format(time.DateOnly), err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return fmt.Errorf("%w: %w", ErrUnreachable, err)
}

// errHTML is what a captive portal or an error page in a 200 answer looks like.
var errHTML = fmt.Errorf("got HTML (%w)", ErrPortal)

// LooksLikeHTML tells whether data begins like a web page. Nothing that farboot
// fetches does.
func LooksLikeHTML(data []byte) bool {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	data = bytes.ToLower(bytes.TrimLeft(data[:min(len(data), 512)], " \t\r\n"))
	for _, start := range []string{"<!doctype html", "<html", "<head", "<body", "<script", "<!--"} {
		if bytes.HasPrefix(data, []byte(start)) {
			return true
		}
	}
	return false
}
