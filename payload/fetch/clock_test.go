package fetch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/fetch/evil"
)

func TestOnDate(t *testing.T) {
	// The bubble's own clock starts at 2000-01-01.
	root := mintRoot(t, time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC))
	cert := root.issue(t, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC))
	const date = "Sun, 22 Nov 2026 01:40:43 GMT"
	header := func(key, value string) evil.Fault { return evil.Header(key, value) }
	for _, tt := range []struct {
		name, url string
		faults    []evil.Fault
		want      string
	}{
		{"http", "http://a/d?x", []evil.Fault{header("Date", date)}, "2026-11-22T01:40:43Z http://a/d false"},
		{"https", "https://a/d?x", []evil.Fault{header("Date", date)}, "2026-11-22T01:40:43Z https://a/d true"},
		{"not found", "https://a/d", []evil.Fault{header("Date", date), evil.Status(404)}, "2026-11-22T01:40:43Z https://a/d true"},
		{"before the certificate", "https://a/d", []evil.Fault{header("Date", "Wed, 31 Dec 2025 23:59:59 GMT")}, "2025-12-31T23:59:59Z https://a/d false"},
		{"after the certificate", "https://a/d", []evil.Fault{header("Date", "Fri, 01 Jan 2027 00:00:01 GMT")}, "2027-01-01T00:00:01Z https://a/d false"},
		{"from a cache", "http://a/d", []evil.Fault{header("Age", "60"), header("Date", date)}, "2026-11-22T01:41:43Z http://a/d false"},
		{"absurd age", "http://a/d", []evil.Fault{header("Age", "99999999"), header("Date", date)}, "2026-11-22T01:40:43Z http://a/d false"},
		{"no date", "http://a/d", nil, ""},
		{"old format", "http://a/d", []evil.Fault{header("Date", "Sunday, 22-Nov-26 01:40:43 GMT")}, ""},
		{"the clock of a PC without battery", "http://a/d", []evil.Fault{header("Date", "Thu, 01 Jan 1970 00:00:00 GMT")}, ""},
		{"far future", "http://a/d", []evil.Fault{header("Date", "Fri, 01 Jan 2100 00:00:00 GMT")}, ""},
		{"upgrade", "http://a/up", []evil.Fault{header("Date", date), evil.On("/up", evil.Redirect("https://a:443/d"))}, "2026-11-22T01:40:43Z https://a:443/d true"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, n *network) {
				n.serve("a", evil.Content([]byte("hello")), tt.faults...)
				n.listenTLS("a:443", evil.New(evil.Content([]byte("hello")), tt.faults...), cert)
				var got []string
				tell := func(date time.Time, url string, secure bool) {
					got = append(got, fmt.Sprint(date.Format(time.RFC3339), " ", url, " ", secure))
				}
				c := n.client(OnDate(tell), UnsureClock(time.Time{}), Roots(root.pool()))
				c.Document(t.Context(), tt.url, 100)
				if strings.Join(got, "\n") != tt.want {
					t.Errorf("told %q, want %q", got, tt.want)
				}
			})
		})
	}
}
