//go:build boot

package boottest

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/vm"
	"github.com/farboot/farboot/payload/fetch/evil"
)

// TestServerDies: the server dies for good in the middle of the kernel, and
// another one goes on from there; and in the middle of what that one sends the
// cable is pulled, and plugged in again while it goes on sending.
func TestServerDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	kernel := "/" + w.linux(t, "marker").Kernel.Path()
	good := site.Handler(w.site, nil)
	first, second := new(mirror), &mirror{late: true}
	pulled := make(chan struct{}) // closed once the cable is out
	first.listen(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == kernel {
			rw = &halfway{ResponseWriter: rw, then: func() { first.server.Close() }}
		}
		good.ServeHTTP(rw, r)
	}))
	second.listen(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == kernel {
			rw = &halfway{ResponseWriter: rw, then: func() { <-pulled }}
		}
		good.ServeHTTP(rw, r)
	}))
	image := w.buildFor(t, first.url, second.url)
	m, ctx := start(t, vm.Config{Image: image})
	expect(t, ctx, m, "choose: marker", "mirror "+first.url+" rests", "(at byte ")
	second.wait(t, kernel)
	link(t, ctx, m, "nic0", false)
	expect(t, ctx, m, "carrier lost")
	close(pulled)
	link(t, ctx, m, "nic0", true)
	expect(t, ctx, m, "carrier is back", "obtain: kernel", " from "+strings.Trim(second.url, "htp:/"), "handing over", markerRuns, "next kernel done")
	for _, from := range second.ranges(kernel) {
		if from == 0 {
			t.Errorf("the second server is asked for the kernel's bytes from %d, want where the first one ended", from)
		}
	}
}

// TestBadMirrors: the first mirror serves wrong bytes, the second is slow, the
// third is good. The first is condemned by name, the second is left.
func TestBadMirrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good := site.Handler(w.site, nil)
	wrong, slow, third := new(mirror), &mirror{late: true}, &mirror{late: true, slower: true}
	wrong.listen(t, onObjects(evil.New(good, evil.Flip(8000)), good))
	slow.listen(t, onObjects(evil.New(good, evil.Slow(20_000)), good))
	third.listen(t, good)
	image := w.buildFor(t, wrong.url, slow.url, third.url)
	m, ctx := start(t, vm.Config{Image: image})
	expect(t, ctx, m, "choose: marker", "mirror "+wrong.url+" is condemned", "mirror "+slow.url+": left for another mirror",
		"obtain: kernel", " from "+strings.Trim(third.url, "htp:/"), "handing over", markerRuns, "next kernel done")
	if len(third.ranges("/"+w.linux(t, "marker").Kernel.Path())) == 0 {
		t.Error("the good mirror is not asked for the kernel")
	}
	for _, innocent := range []string{slow.url, third.url} {
		if strings.Contains(m.Serial(), "mirror "+innocent+" is condemned") {
			t.Errorf("%s is condemned, too", innocent)
		}
	}
}

// mirror is one of several sites, and what it was asked.
type mirror struct {
	url          string // as guests reach it
	server       *http.Server
	late, slower bool // its first byte comes late, so that it is not asked first

	mu    sync.Mutex
	asked []*http.Request
}

// listen serves h until the test ends.
func (s *mirror) listen(t *testing.T, h http.Handler) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.url = fmt.Sprintf("http://10.0.2.2:%d/", ln.Addr().(*net.TCPAddr).Port)
	s.server = &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r)
		s.mu.Unlock()
		s.delay(r)
		h.ServeHTTP(rw, r)
	})}
	go s.server.Serve(ln) //nolint:errcheck // ends with Close
	t.Cleanup(func() { s.server.Close() })
}

// delay makes the answer to a probe late, by which mirrors are ranked.
func (s *mirror) delay(r *http.Request) {
	if r.Header.Get("Range") != "bytes=0-0" {
		return
	}
	if s.late {
		time.Sleep(time.Second)
	}
	if s.slower {
		time.Sleep(time.Second)
	}
}

// ranges returns where the requests for a path began.
func (s *mirror) ranges(path string) (starts []int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.asked {
		if r.URL.Path == path {
			text, _, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Range"), "bytes="), "-")
			from, _ := strconv.ParseInt(text, 10, 64) // 0 where there is no range
			starts = append(starts, from)
		}
	}
	return starts
}

// wait waits until the mirror is asked for a path.
func (s *mirror) wait(t *testing.T, path string) {
	t.Helper()
	for begin := time.Now(); len(s.ranges(path)) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > patience {
			t.Fatalf("%s is not asked for %s", s.url, path)
		}
	}
}

// halfway does something once, when half of the bytes of an answer are sent.
type halfway struct {
	http.ResponseWriter
	sent int64
	then func()
	done bool
}

// Write sends what is before the middle, then does it, and sends the rest.
func (h *halfway) Write(p []byte) (n int, err error) {
	length, _ := strconv.ParseInt(h.Header().Get("Content-Length"), 10, 64)
	if before := length/2 - h.sent; !h.done && int64(len(p)) > before {
		n, err = h.ResponseWriter.Write(p[:before])
		http.NewResponseController(h.ResponseWriter).Flush() //nolint:errcheck // the next Write would show it
		h.done = true
		h.then()
	}
	if err == nil {
		var more int
		more, err = h.ResponseWriter.Write(p[n:])
		n += more
	}
	h.sent += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (h *halfway) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// onObjects answers for objects by one handler and for all else by another.
func onObjects(objects, rest http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/objects/") {
			objects.ServeHTTP(rw, r)
		} else {
			rest.ServeHTTP(rw, r)
		}
	})
}
