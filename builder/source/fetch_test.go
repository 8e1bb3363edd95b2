package source

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source/aptsim"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// TestFetch hands out what a lock names.
func TestFetch(t *testing.T) {
	w := newWorld(t, 1)
	r := w.recipe(text)
	b := w.fetch(r, w.resolve(r, recipe.Input{Deb: "shim"}))

	name, err := b.Kernel("linux-image-amd64")
	if err != nil || name != "linux-image-6.1.0-9-amd64" {
		t.Errorf("kernel: %q, %v", name, err)
	}
	if again, err := b.Kernel(name); err != nil || again != name {
		t.Errorf("kernel of the kernel: %q, %v", again, err)
	}
	p, err := b.Deb(name)
	must(t, err)
	if data, err := p.ReadFile("boot/vmlinuz-6.1.0-9-amd64", 100); err != nil || string(data) != "bzImage" {
		t.Errorf("vmlinuz: %q, %v", data, err)
	}
	if again, err := b.Deb(name); err != nil || again != p {
		t.Errorf("the package is opened twice (%v)", err)
	}
	for i, want := range []string{"tool kernel", "tool initrd"} {
		path, ref, err := b.Path(r.Inputs()[1+i])
		wantContent(t, path, ref, err, want)
	}
	path, ref, err := b.File("shim", "usr/lib/shim.efi")
	wantContent(t, path, ref, err, "shim")
	path, ref, err = b.Path(recipe.Input{Deb: "shim"})
	wantContent(t, path, ref, err, string(w.mirrors[0].File("pool/bookworm/shim_1.0_all.deb")))
	if n := w.asked(); n != 4 {
		t.Errorf("%d downloads, want 4", n)
	}
}

// TestMissingFile says what may have been meant.
func TestMissingFile(t *testing.T) {
	w := newWorld(t, 1)
	for input, want := range map[string]string{
		"{deb: tool, file: usr/lib/kernel}":       `did you mean "usr/lib/tool/kernel" or "usr/share/doc/tool/kernel"?`,
		"{deb: tool, file: usr/lib/tool/kernels}": `did you mean "usr/lib/tool/kernel"?`,
		"{deb: tool, file: something/else}":       "dpkg-deb --contents",
	} {
		r := w.site(input)
		_, _, err := w.fetch(r, w.resolve(r)).Path(kernel(r))
		mistake, ok := errors.AsType[*recipe.Error](err)
		if !ok || mistake.Line != 5 || !strings.Contains(mistake.Hint, want) {
			t.Errorf("%s: %v, hint %q, want %q", input, err, mistake.Hint, want)
		}
	}
	r := w.recipe(text)
	b := w.fetch(r, w.resolve(r))
	if _, _, err := b.File("tool", "x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("File: %v", err)
	}
	_, err := b.Deb("shim")
	wantError(t, err, lock.ErrStale, "deb:shim", "farboot lock --update")
}

// TestOffline works from a warm cache with no mirror, no apt configuration and
// no network.
func TestOffline(t *testing.T) {
	w := newWorld(t, 1)
	r := w.recipe(text)
	l := w.resolve(r)
	first := w.fetch(r, l)
	for _, in := range r.Inputs()[1:] {
		_, _, err := first.Path(in)
		must(t, err)
	}
	w.options.Client = fetch.New(fetch.Limits{})
	w.options.Machine = t.TempDir()
	asked := w.asked()

	b := w.fetch(r, l)
	path, ref, err := b.Path(r.Inputs()[1])
	wantContent(t, path, ref, err, "tool kernel")
	if _, err := b.Kernel("linux-image-amd64"); err != nil {
		t.Error(err)
	}
	if n := w.asked(); n != asked {
		t.Errorf("%d requests", n-asked)
	}
}

// TestWarmFileNeedsNoPackage takes a file from its layer where the package is
// damaged: a warm build does not read packages.
func TestWarmFileNeedsNoPackage(t *testing.T) {
	w := newWorld(t, 1)
	r := w.recipe(text)
	l := w.resolve(r)
	b := w.fetch(r, l)
	_, _, err := b.Path(r.Inputs()[1])
	must(t, err)
	deb, _, err := b.Path(recipe.Input{Deb: "tool"})
	must(t, err)
	must(t, os.WriteFile(deb, make([]byte, inputs(l)["deb:tool"].Size), 0o600))

	asked := w.asked()
	b = w.fetch(r, l)
	for i, want := range []string{"tool kernel", "tool initrd"} { // the second came with the first
		path, ref, err := b.Path(r.Inputs()[1+i])
		wantContent(t, path, ref, err, want)
	}
	if n := w.asked(); n != asked {
		t.Errorf("%d downloads", n-asked)
	}
	// Whoever does want the package gets a whole one.
	p, err := b.Deb("tool")
	must(t, err)
	if data, err := p.ReadFile("usr/lib/tool/kernel", 100); err != nil || string(data) != "tool kernel" {
		t.Errorf("got %q, %v", data, err)
	}
	if n := w.asked(); n != asked+1 {
		t.Errorf("%d downloads to mend the cache, want 1", n-asked)
	}
	must(t, os.WriteFile(deb, make([]byte, inputs(l)["deb:tool"].Size), 0o600))
	w.mirrors[0].Set(inputs(l)["deb:tool"].Path, []byte("evil"))
	_, err = w.fetch(r, l).Deb("tool")
	wantError(t, err, object.ErrMismatch)
	if strings.Count(err.Error(), "deb:tool") != 1 {
		t.Errorf("the input is named more than once, or not: %v", err)
	}
}

// TestEvilMirror asks a mirror first that has other bytes under every name.
func TestEvilMirror(t *testing.T) {
	w := newWorld(t, 2)
	r := w.recipe(text)
	l := w.resolve(r)
	for _, in := range l.Inputs {
		w.mirrors[0].Set(in.Path, []byte("evil"))
	}
	b := w.fetch(r, l)
	path, ref, err := b.Path(r.Inputs()[1])
	wantContent(t, path, ref, err, "tool kernel")

	w.freshCache()
	evil := inputs(l)["deb:tool"]
	w.mirrors[1].Set(evil.Path, []byte(strings.Repeat("x", int(evil.Size))))
	_, err = Fetch(t.Context(), r, l, w.options)
	wantError(t, err, object.ErrMismatch, "deb:tool", w.mirrors[0].URL, w.mirrors[1].URL, evil.SHA256.String())
}

// TestGone says what to do when no mirror has the locked version any more.
func TestGone(t *testing.T) {
	w := newWorld(t, 2)
	r := w.recipe(text)
	l := w.resolve(r)
	for i := range l.Inputs {
		if l.Inputs[i].Name == "deb:tool" {
			l.Inputs[i].Path = "pool/bookworm/tool_1.9_amd64.deb"
			l.Inputs[i].Version = "1.9"
			l.Inputs[i].SHA256 = object.OfBytes([]byte("superseded")).SHA256
		}
	}
	_, err := Fetch(t.Context(), r, l, w.options)
	wantError(t, err, ErrGone, "deb:tool", "version 1.9", "farboot lock --update "+r.Path, "snapshot mirror")

	// A mirror that is merely down may still have it.
	w.mirrors[1].OnRequest = func(path string) {
		if strings.Contains(path, "tool_1.9") {
			panic(http.ErrAbortHandler)
		}
	}
	_, err = Fetch(t.Context(), r, l, w.options)
	if errors.Is(err, ErrGone) || !errors.Is(err, fetch.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
}

// TestSwappedPackages serves sound, signed, rightly hashed packages under the
// names of others: an archive gone bad, or a lock made up by hand.
func TestSwappedPackages(t *testing.T) {
	swapped := aptsim.Package{Name: "tool", Version: "2.0", Files: map[string]string{"usr/lib/tool/kernel": "old"}}
	for name, other := range map[string]aptsim.Package{
		"name":         {Name: "tools", Version: "2.0"},
		"version":      {Name: "tool", Version: "1.0"},
		"architecture": {Name: "tool", Version: "2.0", Arch: "i386"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 1)
			m := aptsim.New(t)
			m.Suite("other").Add(other)
			m.Publish()
			for _, path := range []string{"pool/other/tools_2.0_amd64.deb", "pool/other/tool_1.0_amd64.deb", "pool/other/tool_2.0_i386.deb"} {
				if strings.Contains(path, other.Name+"_") && (other.Arch == "" || strings.Contains(path, other.Arch)) &&
					strings.Contains(path, "_"+other.Version+"_") {
					swapped.Deb = m.File(path)
				}
			}
			s := w.mirrors[0].Suite("bookworm")
			s.Packages["main"] = append(s.Packages["main"][:3], swapped)
			w.mirrors[0].Publish()
			r := w.recipe(text)
			_, err := Fetch(t.Context(), r, w.resolve(r), w.options)
			wantError(t, err, ErrImpostor, "deb:tool", "it says "+other.Name+" "+other.Version, "the lock says tool 2.0 amd64")
		})
	}
	t.Run("lock", func(t *testing.T) {
		w := newWorld(t, 1)
		r := w.recipe(text)
		l := w.resolve(r, recipe.Input{Deb: "shim"})
		w.fetch(r, l) // all that is in the cache is sound
		a, b := &l.Inputs[2], &l.Inputs[3]
		a.Ref, a.Path, b.Ref, b.Path = b.Ref, b.Path, a.Ref, a.Path
		_, err := Fetch(t.Context(), r, l, w.options)
		wantError(t, err, ErrImpostor)
	})
}

// TestLockLacksInput refuses a lock that was made for another recipe.
func TestLockLacksInput(t *testing.T) {
	w := newWorld(t, 1)
	r := w.recipe(text)
	_, err := Fetch(t.Context(), r, w.resolve(w.site("{deb: tool, file: x}")), w.options)
	wantError(t, err, lock.ErrStale, "demo.yaml:3: deb:linux-image-amd64")
}

// front puts an evil server in front of the first mirror. Only what it serves
// below pool/ is faulty.
func (w *world) front(faults ...evil.Fault) *evil.Server {
	u, err := url.Parse(w.mirrors[0].URL)
	must(w.t, err)
	server := evil.Serve(w.t, w.mirrors[0], faults...)
	sources := filepath.Join(w.options.Machine, "etc/apt/sources.list.d/aptsim.sources")
	data, err := os.ReadFile(sources)
	must(w.t, err)
	data = []byte(strings.ReplaceAll(string(data), "http://"+u.Host, server.URL))
	must(w.t, os.WriteFile(sources, data, 0o644))
	return server
}

// bigWorld has a tool of half a megabyte that does not compress.
func bigWorld(t *testing.T) (*world, *recipe.Recipe, *lock.Lock) {
	w := newWorld(t, 1)
	noise := make([]byte, 500_000)
	for i, state := 0, uint32(1); i < len(noise); i++ {
		state = state*1664525 + 1013904223
		noise[i] = byte(state >> 24)
	}
	s := w.mirrors[0].Suite("bookworm")
	s.Packages["main"] = append(s.Packages["main"][:3], aptsim.Package{Name: "tool", Files: map[string]string{"usr/lib/tool/kernel": string(noise)}})
	w.mirrors[0].Publish()
	r := w.site("{deb: tool, file: usr/lib/tool/kernel}")
	return w, r, w.resolve(r)
}

// TestResume goes on where a connection was cut.
func TestResume(t *testing.T) {
	w, r, l := bigWorld(t)
	server := w.front(evil.First(2, evil.Cut(200_000)))
	var most int64
	w.options.Progress = func(name string, done, total int64) {
		if name != "deb:tool" || total != l.Inputs[0].Size || done <= most {
			t.Errorf("progress: %s %d of %d after %d", name, done, total, most)
		}
		most = done
	}
	w.fetch(r, l)
	if most != l.Inputs[0].Size {
		t.Errorf("progress ends at %d", most)
	}
	var ranges []string
	for _, request := range server.Requests() {
		ranges = append(ranges, request.Header.Get("Range"))
	}
	if got := strings.Join(ranges, " "); got != " bytes=200000- bytes=400000-" {
		t.Errorf("ranges asked for: %q", got)
	}
}

// TestParallel fetches four at once, and not more.
func TestParallel(t *testing.T) {
	w := newWorld(t, 1)
	var extra []recipe.Input
	for _, name := range []string{"p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8"} {
		w.mirrors[0].Suite("bookworm").Add(aptsim.Package{Name: name})
		extra = append(extra, recipe.Input{Deb: name})
	}
	w.mirrors[0].Publish()
	r := w.recipe(text)
	l := w.resolve(r, extra...)

	var now, most atomic.Int32
	w.mirrors[0].OnRequest = func(string) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(20 * time.Millisecond)
		now.Add(-1)
	}
	w.fetch(r, l)
	if n := most.Load(); n != parallel {
		t.Errorf("%d downloads at once, want %d", n, parallel)
	}
}

// TestCancel ends at once, and leaves no half of anything to be taken for a
// whole.
func TestCancel(t *testing.T) {
	w, r, l := bigWorld(t)
	server := w.front(evil.First(1, evil.Stall(200_000)))
	ctx, cancel := context.WithCancel(t.Context())
	w.options.Progress = func(_ string, done, _ int64) {
		if done >= 200_000 {
			cancel()
		}
	}
	if _, err := Fetch(ctx, r, l, w.options); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if w.options.Cache.Has(l.Inputs[0].Ref) {
		t.Error("half a package is in the cache")
	}
	// The next run, be it days later, goes on from there.
	w.options.Progress = nil
	w.fetch(r, l)
	requests := server.Requests()
	if got := requests[len(requests)-1].Header.Get("Range"); got != "bytes=200000-" {
		t.Errorf("the second run asked for range %q", got)
	}
	if _, err := Resolve(canceled(), w.recipe(text), nil, w.options); !errors.Is(err, context.Canceled) {
		t.Errorf("resolve: %v", err)
	}
}

// TestNoCredentialsInMessages names inputs without what may be secret.
func TestNoCredentialsInMessages(t *testing.T) {
	for name, want := range map[string]string{
		"deb:tool":                         "deb:tool",
		"url:https://u:p@host/x?token=s#f": "url:https://host/x",
		"url:https://host/x":               "url:https://host/x",
		"url:http://host/%zz?token=secret": "url:(unreadable)",
	} {
		if got := (&Error{Input: name, Err: io.EOF}).Error(); got != want+": EOF" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
