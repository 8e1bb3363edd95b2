package fetch

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
)

func TestDocument(t *testing.T) {
	text := strings.Repeat("x", 1000)
	for _, tt := range []struct {
		name     string
		faults   []evil.Fault
		requests int
		class    error
		text     string
	}{
		{"good server", nil, 1, nil, ""},
		{"no length", []evil.Fault{evil.CloseDelimited()}, 1, nil, ""},
		{"cut", []evil.Fault{evil.First(4, evil.Cut(10))}, 5, nil, ""},
		{"cut in chunks", []evil.Fault{evil.First(4, evil.Cut(1002)), evil.Chunked()}, 5, nil, ""},
		{"busy", []evil.Fault{evil.First(4, evil.Status(502))}, 5, nil, ""},
		{"stall", []evil.Fault{evil.First(1, evil.Stall(10))}, 2, nil, ""},
		{"not there", []evil.Fault{evil.Status(404)}, 1, ErrNotFound, "http://a/d: server answers 404 Not Found"},
		{"partial", []evil.Fault{evil.Status(206)}, 1, ErrRefused, "server answers 206 Partial Content"},
		{"endless", []evil.Fault{evil.Endless()}, 1, ErrTooLarge, "at most 1000 bytes are read"},
		{"too long", []evil.Fault{evil.LyingLength(1001)}, 1, ErrTooLarge, "1001 bytes, at most 1000"},
		{"web page", []evil.Fault{evil.HTML()}, 1, ErrCorrupt, "got HTML (captive portal?)"},
		{"drip", []evil.Fault{evil.Drip(time.Second)}, 5, ErrUnreachable, "1 bytes/s, at least 1024"},
		{"silence", []evil.Fault{evil.Silent()}, 5, ErrUnreachable, "no answer within 30s (5 times)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				srv := n.serve("a", evil.Content([]byte(text)), tt.faults...)
				doc, err := n.client().Document(t.Context(), srv.URL+"/d?token=secret", 1000)
				if tt.class == nil {
					if err != nil || string(doc) != text {
						t.Errorf("%d bytes, error %v", len(doc), err)
					}
				} else if !errors.Is(err, tt.class) || !strings.Contains(err.Error(), tt.text) || doc != nil {
					t.Errorf("%d bytes, error %q, want %q with %q", len(doc), err, tt.class, tt.text)
				}
				if got := len(srv.Requests()); got != tt.requests {
					t.Errorf("%d requests, want %d", got, tt.requests)
				}
			})
		})
	}
}

func TestDocumentURL(t *testing.T) {
	for url, text := range map[string]string{
		"ftp://a/d":              `scheme "ftp"`,
		"file:///etc/passwd":     `scheme "file"`,
		"//a/d":                  `scheme ""`,
		"http:///d":              "no host",
		"http:a":                 "no host",
		"http://user@a/d":        "credentials",
		"http://u:secret@a/d":    "credentials",
		"http://a/\x1b[31m":      "not a URL",
		"http://a:port/d?secret": "not a URL",
	} {
		bubble(t, func(t *testing.T, n *network) {
			_, err := n.client().Document(t.Context(), url, 1000)
			if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "secret") {
				t.Errorf("%q: error %q, want %q with %q", url, err, ErrRefused, text)
			}
		})
	}
}

func TestDocumentCancel(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		srv := n.serve("a", evil.Content(nil), evil.Silent())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.client().Document(ctx, srv.URL, 1000); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline's", err)
		}
	})
}

func TestServerCannotWriteOnTheConsole(t *testing.T) {
	bubble(t, func(t *testing.T, n *network) {
		srv := n.serve("a", evil.Content(data), evil.Redirect("http://b"+strings.Repeat("b", 60_000)))
		if _, err := n.client().Document(t.Context(), srv.URL, 1000); err == nil || len(err.Error()) > 5000 {
			t.Errorf("an error of %d bytes", len(err.Error()))
		}
	})
	err := &Error{Attempts: []Attempt{{URL: "http://a/\x1b[2J", Err: errors.New("\u202ename\n"), Times: 1}}}
	if got, want := err.Error(), "http://a/?[2J: ?name?"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLooksLikeHTML(t *testing.T) {
	for text, want := range map[string]bool{
		"<!DOCTYPE html><p>":             true,
		"\xef\xbb\xbf\r\n  <HTML lang=x": true,
		"<!-- hello --><p>":              true,
		`{"format": 1}`:                  false,
		"<?xml version=":                 false,
		"":                               false,
		"\x7fELF":                        false,
	} {
		if got := LooksLikeHTML([]byte(text)); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestErrorIsBounded(t *testing.T) {
	failed := new(Error)
	for i := range 100 {
		failed.add("http://a/", &StatusError{Code: 500 + i})
		failed.add("http://a/", &StatusError{Code: 500 + i})
	}
	last := failed.Attempts[len(failed.Attempts)-1]
	if len(failed.Attempts) != 64 || last.Times != 2 || last.Err.(*StatusError).Code != 599 {
		t.Errorf("%d attempts, the last is %v", len(failed.Attempts), last)
	}
}
