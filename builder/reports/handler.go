package reports

import (
	"errors"
	"fmt"
	"io"
	"log"
	"mime"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/farboot/farboot/payload/report"
)

// Handler takes reports at "/reports", by POST of application/json, and leaves
// every other request to next. It answers 204 where a report was stored. One
// line for each report, stored or not, goes to accessLog, with what the sender said
// quoted and clipped.
func (s *Store) Handler(next http.Handler, accessLog io.Writer) http.Handler {
	lines := log.New(accessLog, "", 0)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.URL.Path != "/"+report.Path {
			next.ServeHTTP(w, r)
			return
		}
		from := address(r.RemoteAddr)
		told, err := s.take(w, r, from)
		status := http.StatusNoContent
		if err != nil {
			status, told = refusal(err), err.Error()
		}
		lines.Printf("%s %s report %d %+.200q", s.now().UTC().Format(time.RFC3339), from, status, told)
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", strconv.Itoa(int(s.limits.Window.Seconds())))
		}
		if err != nil {
			http.Error(w, http.StatusText(status), status)
			return
		}
		w.WriteHeader(status)
	})
}

var (
	errRate = errors.New("too many reports")
	errType = errors.New("not application/json")
	errBody = errors.New("the body did not arrive, or is too large")
)

// take stores what a request holds, and says in a line what that is.
func (s *Store) take(w http.ResponseWriter, r *http.Request, from netip.Addr) (string, error) {
	if !s.gate.pass(from, s.now()) {
		return "", errRate
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return "", errType
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, report.MaxSize))
	if err != nil {
		return "", errBody
	}
	said, err := report.Decode(data)
	if err != nil {
		return "", err
	}
	if err := s.put(said, data, from.String()); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %s %s %s", said.Machine.ID(), said.Outcome, said.Entry, said.Code), nil
}

// refusal returns the status that goes with an error.
func refusal(err error) int {
	switch {
	case errors.Is(err, errRate):
		return http.StatusTooManyRequests
	case errors.Is(err, errType):
		return http.StatusUnsupportedMediaType
	case errors.Is(err, errBody):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, report.ErrMalformed):
		return http.StatusBadRequest
	case errors.Is(err, errFull):
		return http.StatusInsufficientStorage
	}
	return http.StatusInternalServerError
}

// address returns the sender's address without a port. One that is none, as in
// tests without a network, is the zero address.
func address(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// gate counts reports in windows of time.
type gate struct {
	limits Limits

	mu    sync.Mutex
	since time.Time
	all   int
	from  map[netip.Prefix]int // has at most limits.InAll keys
}

// pass counts a report, unless it is one too many.
func (g *gate) pass(from netip.Addr, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if age := now.Sub(g.since); g.from == nil || age >= g.limits.Window || age < 0 {
		g.since, g.all, g.from = now, 0, map[netip.Prefix]int{}
	}
	bits := 32
	if from.Is6() {
		bits = 64 // who has one address has them all
	}
	who, _ := from.Prefix(bits)
	if g.all >= g.limits.InAll || g.from[who] >= g.limits.PerAddress {
		return false
	}
	g.all++
	g.from[who]++
	return true
}
