package boot

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/network"
	"github.com/farboot/farboot/payload/netconf"
)

// site is a directory of static files, served over HTTP.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	files map[string][]byte
	asked []string
}

// newSite serves the given files until the test ends.
func newSite(t *testing.T, files map[string][]byte) *site {
	s := &site{files: files}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		name := strings.TrimPrefix(r.URL.Path, "/")
		data, ok := s.files[name]
		s.asked = append(s.asked, name)
		s.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(data))
	}))
	t.Cleanup(s.Close)
	return s
}

// put replaces a file.
func (s *site) put(name string, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[name] = data
}

// count returns how often the file was asked for.
func (s *site) count(name string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, asked := range s.asked {
		if asked == name {
			n++
		}
	}
	return n
}

// wire is the lab's network. It has one lease per round, or as many as next allows.
type wire struct {
	lab      *lab
	networks []netconf.Network
	given    int
}

// Conf is the first network that was asked for.
func (w *wire) Conf() netconf.Network { return append(w.networks, netconf.Network{})[0] }

func (w *wire) Next(ctx context.Context) (string, network.Lease, error) {
	w.given++
	if w.lab.next != nil {
		return "eth0", network.Lease{}, w.lab.next()
	}
	if w.given > 1 {
		return "", network.Lease{}, fmt.Errorf("%w: no other card", network.ErrNoNetwork)
	}
	return "eth0", network.Lease{}, ctx.Err()
}

// Use is the network that an entry may be told.
func (w *wire) Use() netconf.Use {
	return netconf.Use{MAC: "52:54:00:12:34:56", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.2.15/24")}}
}

func (w *wire) Quiet() { w.lab.quiet++ }
func (w *wire) Close() { w.lab.closed++ }
