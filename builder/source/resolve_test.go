package source

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/lock"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/source/apt"
	"github.com/farboot/farboot/builder/source/aptsim"
	"github.com/farboot/farboot/payload/fetch/evil"
	"github.com/farboot/farboot/payload/object"
)

// TestResolve locks a recipe: packages, what they lead to and what the build
// needs beside them, each once and in order.
func TestResolve(t *testing.T) {
	w := newWorld(t, 1)
	date := time.Now().Add(-10 * time.Minute).Truncate(time.Second).UTC()
	w.mirrors[0].Suite("bookworm-updates").Release["Date"] = aptsim.Stamp(date)
	w.mirrors[0].Suite("bookworm-security").Add(aptsim.Package{Name: "shim", Version: "1.1", Arch: "all"})
	w.mirrors[0].Publish()

	l := w.resolve(w.recipe(text), recipe.Input{Deb: "shim"}, recipe.Input{Deb: "tool"})
	if diff := cmp.Diff([]string{"deb:linux-image-6.1.0-9-amd64", "deb:linux-image-amd64", "deb:shim", "deb:tool"}, sortedNames(l)); diff != "" {
		t.Errorf("inputs (-want +got):\n%s", diff)
	}
	if !l.Epoch.Equal(date) || l.Epoch.Location() != time.UTC {
		t.Errorf("epoch %v, want the newest release's %v", l.Epoch, date)
	}
	const path = "pool/bookworm-security/shim_1.1_all.deb"
	want := lock.Input{Name: "deb:shim", Version: "1.1", Arch: "all", Path: path, Repo: "security",
		Ref: object.OfBytes(w.mirrors[0].File(path))}
	if diff := cmp.Diff(want, inputs(l)["deb:shim"]); diff != "" {
		t.Errorf("shim (-want +got):\n%s", diff)
	}
	if n := w.asked(); n != 0 {
		t.Errorf("%d packages were downloaded to lock them", n)
	}
}

// TestResolveRefuses asks for what cannot be locked.
func TestResolveRefuses(t *testing.T) {
	w := newWorld(t, 1)
	t.Run("no such package", func(t *testing.T) {
		_, err := Resolve(t.Context(), w.site("{deb: toul, file: x}"), nil, w.options)
		wantError(t, err, apt.ErrNotFound, "demo.yaml:5: deb:toul", "tool")
	})
	t.Run("kernel not there yet", func(t *testing.T) {
		w := newWorld(t, 1)
		w.mirrors[0].Suite("bookworm").Packages["main"][0].Fields["Depends"] = "linux-image-6.1.0-9-amd64 (= 6.1-3)"
		w.mirrors[0].Publish()
		_, err := Resolve(t.Context(), w.recipe(text), nil, w.options)
		if err == nil || !strings.Contains(err.Error(), "needs linux-image-6.1.0-9-amd64 6.1-3, the repository has 6.1-2") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("kernel in a circle", func(t *testing.T) {
		w := newWorld(t, 1)
		w.mirrors[0].Suite("bookworm").Packages["main"][1].Fields["Depends"] = "linux-image-amd64"
		w.mirrors[0].Publish()
		_, err := Resolve(t.Context(), w.recipe(text), nil, w.options)
		if err == nil || !strings.Contains(err.Error(), "lead to a kernel") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("older than the lock", func(t *testing.T) {
		w := newWorld(t, 1)
		w.options.Previous = w.resolve(w.recipe(text)).Archive
		w.resolve(w.recipe(text))
		w.options.Previous.Date = time.Now()
		_, err := Resolve(t.Context(), w.recipe(text), nil, w.options)
		wantError(t, err, apt.ErrStale)
	})
}

// TestFloorIsOfTheSameArchive: a lock without packages, another mirror and
// another suite say nothing about how old the archive may be.
func TestFloorIsOfTheSameArchive(t *testing.T) {
	w := newWorld(t, 1)
	w.write("k", "kernel")
	first := w.resolve(w.site("{file: k}"))
	if first.Archive != nil {
		t.Errorf("no package, but archive %+v", first.Archive)
	}
	w.options.Previous = first.Archive
	machine := w.resolve(w.recipe(text))
	if a := machine.Archive; a.Suite != "bookworm" || a.Source != "machine" || !a.Date.Equal(machine.Epoch) {
		t.Errorf("archive %+v, epoch %s", a, machine.Epoch)
	}
	for _, other := range []lock.Archive{
		{Suite: "bookworm", Source: "recipe 0011223344556677"}, {Suite: "trixie", Source: "machine"},
	} {
		other.Date = time.Now()
		w.options.Previous = &other
		w.resolve(w.recipe(text))
	}
	mirror := recipe.Apt{Suite: "bookworm", Mirror: "http://mirror.example/debian/"}
	snapshot := mirror
	snapshot.Snapshot = "2026-01-01T00:00:00Z"
	if a, b := archive(mirror), archive(snapshot); a == b || a.Source == "machine" || strings.Contains(a.Source, "example") {
		t.Errorf("%+v and %+v", a, b)
	}
}

// TestEpochWithoutPackages is the operator's clock, in whole seconds.
func TestEpochWithoutPackages(t *testing.T) {
	w := newWorld(t, 0)
	w.write("k", "kernel")
	w.options.Now = func() time.Time { return time.Date(2026, 11, 21, 13, 0, 0, 999, time.FixedZone("CET", 3600)) }
	l := w.resolve(w.site("{file: k}"))
	if want := "2026-11-21T12:00:00Z"; l.Epoch.Format(time.RFC3339Nano) != want {
		t.Errorf("epoch %v, want %s", l.Epoch, want)
	}
}

// TestURL locks a download by the hash in the recipe, and fetches it once.
func TestURL(t *testing.T) {
	w := newWorld(t, 0)
	body := strings.Repeat("memtest ", 5000)
	server := evil.Serve(t, evil.Content([]byte(body)))
	want := object.OfBytes([]byte(body))
	r := w.site("{url: \"" + server.URL + "/m\", sha256: " + want.SHA256.String() + "}")

	l := w.resolve(r)
	if in := l.Inputs[0]; in.Name != kernel(r).Name() || in.Path != kernel(r).URL || in.Ref != want {
		t.Errorf("locked: %+v", in)
	}
	path, ref, err := w.fetch(r, l).Path(kernel(r))
	wantContent(t, path, ref, err, body)
	w.resolve(r)
	if n := len(server.Requests()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}

	other := object.OfBytes([]byte("other")).SHA256.String()
	bad := w.site("{url: \"" + server.URL + "/m\", sha256: " + other + "}")
	_, err = Resolve(t.Context(), bad, nil, w.options)
	wantError(t, err, object.ErrMismatch, "demo.yaml:5: ", other, want.SHA256.String())
	// A lock that says otherwise than the recipe does not get its way.
	_, err = Fetch(t.Context(), bad, l, w.options)
	wantError(t, err, lock.ErrStale, other, "farboot lock --update")
}

// TestLargeURL locks what is no document any more, and believes the server's word on its
// size only once the hash fits.
func TestLargeURL(t *testing.T) {
	w := newWorld(t, 0)
	body := bytes.Repeat([]byte("live system "), maxUnlocked/12+1)
	server := evil.Serve(t, evil.Content(body))
	want := object.OfBytes(body)
	r := w.site("{url: \"" + server.URL + "/live.iso\", sha256: " + want.SHA256.String() + "}")
	if in := w.resolve(r).Inputs[0]; in.Ref != want || in.Path != kernel(r).URL {
		t.Errorf("locked: %+v", in)
	}
	bad := w.site("{url: \"" + server.URL + "/live.iso\", sha256: " + object.OfBytes([]byte("x")).SHA256.String() + "}")
	_, err := Resolve(t.Context(), bad, nil, w.options)
	wantError(t, err, object.ErrMismatch, "demo.yaml:5: ")
}

// TestFile locks files of the project, and nothing outside of it.
func TestFile(t *testing.T) {
	w := newWorld(t, 0)
	w.write("boot/kernel", "kernel")
	sentinel := filepath.Join(filepath.Dir(w.project), "sentinel")
	must(t, os.WriteFile(sentinel, []byte("outside"), 0o644))
	must(t, os.Symlink("../boot/kernel", filepath.Join(w.project, "boot/benign")))
	must(t, os.Symlink("../../sentinel", filepath.Join(w.project, "boot/out")))
	must(t, os.Symlink(sentinel, filepath.Join(w.project, "boot/absolute")))
	must(t, os.Symlink("../..", filepath.Join(w.project, "boot/up")))

	for _, name := range []string{"boot/kernel", "boot/benign"} {
		r := w.site("{file: " + name + "}")
		path, ref, err := w.fetch(r, w.resolve(r)).Path(kernel(r))
		wantContent(t, path, ref, err, "kernel")
	}
	for _, name := range []string{"boot/out", "boot/absolute", "boot/up/sentinel"} {
		r := w.site("{file: " + name + "}")
		if _, err := Resolve(t.Context(), r, nil, w.options); err == nil || !strings.Contains(err.Error(), "escapes") {
			t.Errorf("%s: %v", name, err)
		}
		l := &lock.Lock{Inputs: []lock.Input{{Name: "file:" + name, Path: name, Ref: object.OfBytes([]byte("outside"))}}}
		if _, err := Fetch(t.Context(), r, l, w.options); err == nil || !strings.Contains(err.Error(), "escapes") {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := Resolve(t.Context(), w.site("{file: boot}"), nil, w.options)
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("folder: %v", err)
	}
	_, err = Resolve(t.Context(), w.site("{file: none}"), nil, w.options)
	wantError(t, err, fs.ErrNotExist, "demo.yaml:5: file:none")
}

// TestFileChanged refuses a file that is no longer what was locked.
func TestFileChanged(t *testing.T) {
	w := newWorld(t, 0)
	w.write("k", "kernel")
	r := w.site("{file: k}")
	l := w.resolve(r)
	w.fetch(r, l)
	w.write("k", "Kernel")
	_, err := Fetch(t.Context(), r, l, w.options)
	wantError(t, err, lock.ErrStale, "file:k", "farboot lock --update")
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
