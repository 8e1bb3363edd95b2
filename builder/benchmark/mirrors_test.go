//go:build bench

package benchmark

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/handover"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// The wire of the race of mirrors: each server has one like it.
const (
	wireRate    = 40_000_000 // bytes/s
	wireLatency = 20 * time.Millisecond
)

// TestMirrors compares the time from a network that is up to a verified kernel
// and initrd, of the sizes of Debian's installer: from good mirrors, and where
// the first of them is bad. curl is what one would write in a script: each file
// from the first mirror that gives it, --retry 3, and then sha256sum.
func TestMirrors(t *testing.T) {
	need(t, "curl", "curl")
	files := [][]byte{random(1, 8_200_000), random(2, 40_800_000)}
	out := table{title: fmt.Sprintf("Mirrors: %s at %s and %s of latency from each, time to verified bytes, median of 3",
		megabytes(int64(len(files[0])+len(files[1]))), rate(wireRate, time.Second), seconds(wireLatency))}
	out.row("", "farboot", "curl --retry", "of curl")
	for _, bad := range []struct {
		name   string
		faults []evil.Fault
	}{
		{"all good", nil},
		{"the first one is down", []evil.Fault{evil.Status(503)}},
		{"the first one gives wrong bytes", []evil.Fault{evil.Flip(12345)}},
		{"the first one cuts at 5 MB", []evil.Fault{evil.Cut(5_000_000)}},
		{"the first one sends 5 MB/s", []evil.Fault{evil.Bursts(50_000, 10*time.Millisecond)}},
	} {
		for n := 1; n <= 3; n++ {
			if (n == 1) == (bad.faults != nil) {
				continue // nobody gives anything, or nothing is bad
			}
			var sites []string
			for i := range n {
				if i == 0 {
					sites = append(sites, mirror(t, files, bad.faults...))
				} else {
					sites = append(sites, mirror(t, files))
				}
			}
			costs := race(t, []contender{
				{fmt.Sprintf("farboot, %d: %s", n, bad.name), "", 3, nil, fromMirrors(t, files, sites)},
				{"curl", "", 3, nil, byCurl(t, files, sites)},
			})
			out.row(fmt.Sprintf("%d, %s", n, bad.name), seconds(costs[0].wall), seconds(costs[1].wall), ratio(costs[0].wall, costs[1].wall))
		}
	}
	out.print()
}

// random returns n bytes that depend on seed alone.
func random(seed uint64, n int) []byte {
	data := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed)})
	r.Read(data) //nolint:errcheck // never fails
	return data
}

// mirror serves the files, by their hash, and a small one at the end of a wire.
// The faults befall the files.
func mirror(t *testing.T, files [][]byte, faults ...evil.Fault) string {
	t.Helper()
	mux := http.NewServeMux()
	serve := func(path string, data []byte, faults ...evil.Fault) {
		mux.Handle("/"+path, evil.New(evil.Content(data), append([]evil.Fault{evil.Late(wireLatency)}, faults...)...))
	}
	serve("manifest.json", []byte("{}"))
	for _, data := range files {
		serve(object.OfBytes(data).Path(), data, faults...)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: mux}
	go srv.Serve(&wire{Listener: l}) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { srv.Close() })
	return "http://" + l.Addr().String()
}

// wire is a listener whose connections share a wire of wireRate.
type wire struct {
	net.Listener
	mu   sync.Mutex
	free time.Time // when it has carried what it has been given
}

func (w *wire) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	return &wired{c, w}, err
}

// wired is the server's end of a connection.
type wired struct {
	net.Conn
	*wire
}

// Write takes as long as the wire does.
func (c *wired) Write(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		part := p[sent:min(len(p), sent+256<<10)]
		c.wait(len(part))
		n, err := c.Conn.Write(part)
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// wait returns when the wire has carried n bytes more.
func (w *wire) wait(n int) {
	w.mu.Lock()
	if now := time.Now(); w.free.Before(now) {
		w.free = now
	}
	w.free = w.free.Add(time.Duration(n) * time.Second / wireRate)
	until := w.free
	w.mu.Unlock()
	time.Sleep(time.Until(until))
}

// fromMirrors returns a run of the agent's client, which knows nothing of the
// sites yet.
func fromMirrors(t *testing.T, files [][]byte, sites []string) func() time.Duration {
	return func() time.Duration {
		t.Helper()
		client := fetch.New(fetch.DefaultLimits())
		defer client.Close()
		m := fetch.NewMirrors(client, nil, sites...)
		m.Probe(t.Context(), "manifest.json")
		var wants []fetch.Want
		for _, data := range files {
			memory, err := handover.NewMemory("benchmark")
			if err != nil {
				t.Fatal(err)
			}
			defer memory.Close()
			dst, err := memory.Append(int64(len(data)))
			if err != nil {
				t.Fatal(err)
			}
			wants = append(wants, fetch.Want{Ref: object.OfBytes(data), To: dst})
		}
		if err := m.Objects(t.Context(), wants...); err != nil {
			t.Fatal(err)
		}
		return 0
	}
}

// byCurl returns a run of the script that does the same, into memory as well.
func byCurl(t *testing.T, files [][]byte, sites []string) func() time.Duration {
	var script strings.Builder
	for _, data := range files {
		ref := object.OfBytes(data)
		fmt.Fprintf(&script, "for m in %s; do curl -sf --retry 3 -o $dir/f $m/%s && echo %s $dir/f | sha256sum -c --quiet && break; done; test -f $dir/f; rm $dir/f\n",
			strings.Join(sites, " "), ref.Path(), ref.SHA256)
	}
	dir, err := os.MkdirTemp("/dev/shm", "farboot-benchmark")
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return shell(t, "dir=%s\n%s", filepath.Clean(dir), script.String())
}
