package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/source/aptsim"
)

// signals by the names that scripts use.
var signals = map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}

// world is an operator's project, with a home folder outside of it and a
// mirror. The mirror's key lies in the project as archive.asc.
type world struct {
	project string
	mirror  *mirror
	// env is what commands get, with nothing of the test's own environment but
	// PATH and TMPDIR.
	env map[string]string
}

// newWorld makes the world whose project is in the folder given.
func newWorld(t testing.TB, project string, archive archive) *world {
	t.Helper()
	w := &world{project: project, mirror: newMirror(t, archive)}
	w.env = map[string]string{
		"PATH":   os.Getenv("PATH"),
		"HOME":   t.TempDir(),
		"TMPDIR": filepath.Join(project, ".tmp"),
		"MIRROR": w.mirror.server.URL + "/debian",
	}
	if err := os.MkdirAll(w.env["TMPDIR"], 0o755); err != nil {
		t.Fatal(err)
	}
	aptsim.WriteFile(t, project, "archive.asc", w.mirror.apt.Key.Public)
	return w
}

// close ends the mirror.
func (w *world) close() { w.mirror.close() }

// ship puts recipes of this project into the world's, with the mirror added at
// the end.
func (w *world) ship(names ...string) error {
	if err := os.MkdirAll(filepath.Join(w.project, "recipes"), 0o755); err != nil {
		return err
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("../../../recipes", name))
		if err != nil {
			return err
		}
		text = append(text, "\napt: {mirror: \""+w.env["MIRROR"]+"\", keyring: archive.asc}\n"...)
		if err := os.WriteFile(filepath.Join(w.project, "recipes", name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// emptyTemp empties the folder for temporary files, as a reboot does.
func (w *world) emptyTemp() error {
	dir := w.env["TMPDIR"]
	return errors.Join(os.RemoveAll(dir), os.Mkdir(dir, 0o755))
}

// command returns a command that will run in the project.
func (w *world) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.Dir = w.project
	for name, value := range w.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return cmd
}

// tester is what a world complains to: a test or a script.
type tester interface {
	Fatalf(format string, args ...any)
}

// snapshot returns the mode and the content's hash of every file in the project,
// by path. Folders count where their names say that they are temporary.
func (w *world) snapshot(t tester) map[string]string {
	all := map[string]string{}
	err := filepath.WalkDir(w.project, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || d.IsDir() && !strings.HasPrefix(d.Name(), ".") {
			return err
		}
		all[path] = info.Mode().String()
		if !info.Mode().IsRegular() {
			return nil
		}
		data, err := os.ReadFile(path)
		all[path] += fmt.Sprintf(" %x", sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatalf("%v", err)
	}
	return all
}

// cached are the names that a cache may have; ".part" is how a download goes on
// tomorrow.
var cached = regexp.MustCompile(`/farboot(/(blobs|layers)(/[0-9a-f]{64}(\.part)?)?)?$`)

// wantSame fails if anything in the project is not as it was. A lock may appear:
// it says what there was to build from, whether or not it could be built.
func (w *world) wantSame(t tester, before map[string]string) {
	after := w.snapshot(t)
	maps.DeleteFunc(after, func(path, _ string) bool {
		_, old := before[path]
		return !old && filepath.Ext(path) == ".lock"
	})
	if diff := cmp.Diff(before, after); diff != "" {
		t.Fatalf("the failure changed the project (-before +after):\n%s", diff)
	}
}

// wantTidyCache fails if the cache holds what nobody would find again.
func (w *world) wantTidyCache(t tester) {
	err := filepath.WalkDir(filepath.Join(w.env["HOME"], ".cache", "farboot"), func(path string, _ fs.DirEntry, err error) error {
		if err == nil && !cached.MatchString(path) {
			return fmt.Errorf("the cache holds %s", path)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatalf("%v", err)
	}
}

// mirror is the simulated archive behind a server that can be told to fail.
type mirror struct {
	apt     *aptsim.Mirror
	server  *httptest.Server
	archive archive

	mu   sync.Mutex
	gone map[string]bool // paths that do not exist any more
	held *hold           // nil unless requests wait
}

// hold has requests wait.
type hold struct {
	part    string        // of the paths that are meant
	reached chan struct{} // has a value once a request waits
	free    chan struct{} // closed when requests need not wait any longer
}

// newMirror serves the archive.
func newMirror(t testing.TB, archive archive) *mirror {
	t.Helper()
	m := &mirror{apt: aptsim.New(t), archive: archive, gone: map[string]bool{}}
	m.apt.Suite("bookworm").Add(archive.packages(1)...)
	m.apt.Publish()
	m.server = httptest.NewServer(m)
	return m
}

// ServeHTTP implements http.Handler.
func (m *mirror) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	gone, held := m.gone[r.URL.Path], m.held
	m.mu.Unlock()
	if held != nil && strings.Contains(r.URL.Path, held.part) {
		select {
		case held.reached <- struct{}{}:
		default:
		}
		<-held.free
	}
	if gone {
		http.NotFound(rw, r)
		return
	}
	m.apt.ServeHTTP(rw, r)
}

// holdBack has requests wait whose path contains part, until release.
func (m *mirror) holdBack(part string) {
	m.release()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held = &hold{part, make(chan struct{}, 1), make(chan struct{})}
}

// reached returns a channel that gets a value once a request waits.
func (m *mirror) reached() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held == nil {
		return nil
	}
	return m.held.reached
}

// release lets go what waits, and everything from now on.
func (m *mirror) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.held != nil {
		close(m.held.free)
	}
	m.held = nil
}

// newer publishes the next version of every package and drops the old ones, as
// a mirror does with a point release.
func (m *mirror) newer() {
	m.mu.Lock()
	defer m.mu.Unlock()
	suite := m.apt.Suite("bookworm")
	for _, p := range suite.Packages["main"] {
		m.gone[fmt.Sprintf("/debian/pool/bookworm/%s_%s_%s.deb", p.Name, p.Version, p.Arch)] = true
	}
	suite.Packages["main"] = m.archive.packages(2)
	m.apt.Publish()
}

// older publishes the same with a date of long ago, as an attacker who keeps an
// old mirror does.
func (m *mirror) older() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.apt.Suite("bookworm").Release["Date"] = aptsim.Stamp(time.Now().AddDate(0, 0, -5))
	m.apt.Publish()
}

// close ends the server: nobody listens on its port any more.
func (m *mirror) close() {
	m.release()
	m.server.CloseClientConnections()
	m.server.Close()
}
