//go:build boot

package boottest

import (
	"bytes"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/farboot/farboot/builder/site"
	"github.com/farboot/farboot/builder/vm"
)

// TestRefusals shows one machine one forgery after the other. Each has to end in
// a named reason on the console, with no kexec and no prompt, whatever is typed
// meanwhile; and once the site is right again, the machine boots.
func TestRefusals(t *testing.T) {
	t.Parallel()
	w, stranger := newWorld(t), newWorld(t)
	image, _ := w.build(t)
	good := site.Handler(w.site, nil)
	read := func(w *world, name string) []byte {
		data, err := os.ReadFile(filepath.Join(w.site, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	flipped := bytes.Replace(read(w, "manifest.json"), []byte("quiet"), []byte("quieu"), 1)
	forgeries := []struct {
		name    string
		replace map[string][]byte // by the request's path; nil is 404
		want    string
	}{
		{"unsigned manifest", map[string][]byte{"/manifest.json.sig": {}}, "[untrusted]"},
		{"foreign signature", map[string][]byte{
			"/manifest.json": read(stranger, "manifest.json"), "/manifest.json.sig": read(stranger, "manifest.json.sig"),
		}, "[untrusted]"},
		{"one bit flipped in the manifest", map[string][]byte{"/manifest.json": flipped}, "[untrusted]"},
		{"wrong byte in an artifact", map[string][]byte{"/objects/": nil}, "[corrupt]"},
	}
	var now atomic.Int32 // which of the forgeries is served
	serve := func(rw http.ResponseWriter, r *http.Request) {
		for path, data := range forgeries[now.Load()].replace {
			switch {
			case r.URL.Path == path:
				rw.Write(data)
				return
			case strings.HasSuffix(path, "/") && strings.HasPrefix(r.URL.Path, path):
				object := read(w, r.URL.Path)
				object[len(object)/2] ^= 1
				rw.Write(object)
				return
			}
		}
		good.ServeHTTP(rw, r)
	}
	w.answer(http.HandlerFunc(serve))
	m, ctx := start(t, vm.Config{Image: image})
	for i, f := range forgeries {
		t.Log(f.name)
		now.Store(int32(i))
		if err := m.Type("\r\n\x03\x1b[A id\r"); err != nil { // hammer keys at whatever may listen
			t.Fatal(err)
		}
		expect(t, ctx, m, f.want, "waiting")
		if i+1 < len(forgeries) {
			now.Store(int32(i) + 1) // before the next round begins
		}
	}
	if serial := m.Serial(); strings.Contains(serial, "handing over") || strings.Contains(serial, "uid=") {
		t.Errorf("a forgery got through:\n%s", serial)
	}
	w.answer(good)
	expect(t, ctx, m, "handing over", markerRuns, "next kernel done")
}
