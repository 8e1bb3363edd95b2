package reports

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
)

// told returns the bytes of a report: the number of the machine and of its boot.
func told(t testing.TB, machine, boot int) []byte {
	t.Helper()
	r := report.NewRecorder(func() time.Duration { return time.Second }, report.Report{
		Boot: fmt.Sprintf("00000000-0000-0000-0000-%012x", boot+1), Medium: "97a88a30ea012ae7", Product: "demo",
	})
	r.Believes(3)
	r.Accepted(1, int64(boot)+1)
	r.Chosen("installer")
	id := manifest.Identity{MACs: []string{fmt.Sprintf("52:54:00:00:%02x:%02x", machine/256, machine%256)}}
	data, err := report.Encode(r.Report(report.HandingOver, id, clock.Time{Now: time.Unix(1, 0)}))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// desk is a store with a clock of its own.
type desk struct {
	*Store
	mu    sync.Mutex
	clock time.Time
	log   bytes.Buffer
	http.Handler
}

func newDesk(t testing.TB, limits Limits) *desk {
	t.Helper()
	s, err := New(filepath.Join(t.TempDir(), "reports"), limits)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{Store: s, clock: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	s.now = func() time.Time {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.clock
	}
	d.Handler = s.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(418) }), &d.log)
	return d
}

func (d *desk) pass(by time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clock = d.clock.Add(by)
}

// post sends a body and returns the status.
func (d *desk) post(body []byte, from string) int {
	r := httptest.NewRequest("POST", "/reports", bytes.NewReader(body))
	r.RemoteAddr = from
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w.Code
}

const peer = "192.0.2.7:1234"

// files lists what is below the store's folder, and wants it closed to others.
func (d *desk) files(t *testing.T) (names []string) {
	t.Helper()
	err := filepath.WalkDir(d.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v, %v", path, info.Mode(), err)
		}
		if !e.IsDir() {
			rel, _ := filepath.Rel(d.dir, path)
			names = append(names, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// From the machine to the owner's table.
func TestReportsAreKept(t *testing.T) {
	d := newDesk(t, DefaultLimits())
	for boot := range 3 {
		if status := d.post(told(t, 1, boot), peer); status != 204 {
			t.Fatalf("status %d", status)
		}
		d.pass(time.Hour)
	}
	d.post(told(t, 1, 2), peer) // the same boot once more
	d.pass(time.Hour)
	if status := d.post(told(t, 2, 0), "[2001:db8::1%eth0]:5"); status != 204 {
		t.Fatalf("status %d", status)
	}
	all, errs := List(d.dir)
	if len(errs) > 0 || len(all) != 2 {
		t.Fatalf("%d machines, errors %v", len(all), errs)
	}
	if m := all[0]; m.ID != "mac-52-54-00-00-00-02" || m.From != "2001:db8::1" || m.Boots != 1 {
		t.Errorf("first %+v", m)
	}
	m := all[1]
	if m.ID != "mac-52-54-00-00-00-01" || m.From != "192.0.2.7" || m.Boots != 3 || !m.Received.Equal(time.Date(2026, 11, 22, 15, 0, 0, 0, time.UTC)) {
		t.Errorf("second %+v", m)
	}
	if r := m.Report; r.Version != 3 || r.Statement != 3 || r.Entry != "installer" || r.Outcome != report.HandingOver {
		t.Errorf("second said %+v", r)
	}
	if n := len(d.files(t)); n != 4 {
		t.Errorf("%d files", n)
	}
}

// What is no report is answered for what it is, stores nothing, and leaves no
// byte of its own in the log.
func TestHandlerRefuses(t *testing.T) {
	d := newDesk(t, DefaultLimits())
	good := string(told(t, 1, 1))
	for name, tt := range map[string]struct {
		body   string
		status int
	}{
		"nothing":            {"", 400},
		"no JSON":            {"hello", 400},
		"traversal, boot":    {strings.Replace(good, "00000000-0000-0000-0000-", "../../../../../../../../", 1), 400},
		"traversal, MAC":     {strings.Replace(good, "52:54:00:00:00:01", "../../../evil.jso", 1), 400},
		"absolute":           {strings.Replace(good, "52:54:00:00:00:01", "/etc/passwd", 1), 400},
		"NUL":                {strings.Replace(good, "demo", `a\u0000b`, 1), 400},
		"escape codes":       {strings.Replace(good, "demo", `\u001b[2J`, 1), 400},
		"escape codes, bare": {strings.Replace(good, "demo", "\x1b[2J\x07", 1), 400},
		"escape in a key":    {strings.Replace(good, `"product"`, `"\u001b]0;x"`, 1), 400},
		"long key":           {strings.Replace(good, `"product"`, `"`+strings.Repeat("P", 60_000)+`"`, 1), 400},
		"not UTF-8":          {strings.Replace(good, "demo", "\xff\xfe\x9b", 1), 400},
		"deep":               {strings.Repeat("[", 60_000), 400},
		"64 KiB and one":     {strings.Repeat(" ", report.MaxSize+1), 413},
		"huge":               {strings.Repeat("x", 10<<20), 413},
	} {
		if status := d.post([]byte(tt.body), peer); status != tt.status {
			t.Errorf("%s: status %d, want %d", name, status, tt.status)
		}
	}
	for _, kind := range []string{"", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json;;"} {
		r := httptest.NewRequest("POST", "/reports", strings.NewReader(good))
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		if d.ServeHTTP(w, r); w.Code != 415 {
			t.Errorf("content type %q: status %d", kind, w.Code)
		}
	}
	if names := d.files(t); len(names) > 0 {
		t.Errorf("files %q", names)
	}
	for line := range strings.Lines(d.log.String()) {
		if len(line) > 1500 || bytes.ContainsFunc([]byte(strings.TrimSuffix(line, "\n")), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("log %q", line)
		}
	}
	if got := strings.Count(d.log.String(), "\n"); got != 19 {
		t.Errorf("%d lines in the log", got)
	}
}

// What is stored is not served, and all but POST /reports is another's matter.
func TestHandlerLeavesTheRest(t *testing.T) {
	d := newDesk(t, DefaultLimits())
	for _, ask := range []string{"GET /reports", "HEAD /reports", "PUT /reports", "POST /reports/", "POST /", "GET /", "POST /x/../reports", "DELETE /reports/a"} {
		method, path, _ := strings.Cut(ask, " ")
		w := httptest.NewRecorder()
		d.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(string(told(t, 1, 1)))))
		if w.Code != 418 {
			t.Errorf("%s: status %d", ask, w.Code)
		}
	}
}

// A flood ends at a number of reports, and the disk fills to a known size.
func TestFlood(t *testing.T) {
	d := newDesk(t, Limits{Boots: 3, Machines: 4, PerAddress: 10, InAll: 15, Window: time.Minute})
	count := func(n int, machine func(int) int, from func(int) string) map[int]int {
		got := map[int]int{}
		for i := range n {
			got[d.post(told(t, machine(i), i), from(i))]++
		}
		return got
	}
	one := func(int) int { return 0 }
	if got := count(50, one, func(i int) string { return fmt.Sprintf("[2001:db8::%x]:1", i) }); got[204] != 10 || got[429] != 40 {
		t.Errorf("from one /64: %v", got)
	}
	if got := count(50, one, func(i int) string { return fmt.Sprintf("10.0.0.%d:1", i) }); got[204] != 5 || got[429] != 45 {
		t.Errorf("from all: %v", got)
	}
	d.pass(time.Minute)
	if got := count(8, func(i int) int { return i }, func(int) string { return peer }); got[204] != 4 || got[507] != 4 {
		t.Errorf("machines: %v", got)
	}
	d.pass(time.Minute)
	if status := d.post(told(t, 0, 99), peer); status != 204 {
		t.Errorf("a machine that is known: status %d", status)
	}
	all, errs := List(d.dir)
	if len(errs) > 0 || len(all) != 4 || all[0].ID != "mac-52-54-00-00-00-00" || all[0].Boots != 3 {
		t.Errorf("%+v, errors %v", all, errs)
	}
	if n := len(d.files(t)); n != 6 {
		t.Errorf("%d files", n)
	}
	if n := len(d.gate.from); n > 15 {
		t.Errorf("%d addresses are remembered", n)
	}
}

// A clock that is set back does not shut the gate.
func TestGateWhenTheClockIsSet(t *testing.T) {
	d := newDesk(t, Limits{Boots: 1, Machines: 1, PerAddress: 1, InAll: 1, Window: time.Minute})
	for range 3 {
		if status := d.post(told(t, 0, 0), peer); status != 204 {
			t.Errorf("status %d", status)
		}
		d.pass(-24 * time.Hour)
	}
}

func TestReportsInParallel(t *testing.T) {
	d := newDesk(t, DefaultLimits())
	h := d.Store.Handler(http.NotFoundHandler(), &d.log)
	srv := httptest.NewServer(h)
	defer srv.Close()
	var all sync.WaitGroup
	d.log.Grow(1 << 20)
	for machine := range 4 {
		all.Go(func() {
			for boot := range 30 {
				resp, err := http.Post(srv.URL+"/reports", "application/json; charset=utf-8", bytes.NewReader(told(t, machine, boot)))
				if err != nil || resp.StatusCode != 204 {
					t.Errorf("%v, %v", resp, err)
					return
				}
				resp.Body.Close()
			}
		})
	}
	all.Wait()
	machines, errs := List(d.dir)
	if len(machines) != 4 || len(errs) > 0 {
		t.Errorf("%d machines, errors %v", len(machines), errs)
	}
	if n := len(d.files(t)); n != 4*20 {
		t.Errorf("%d files", n)
	}
}

// Files that somebody damaged give way to the ones before them, and none of
// their bytes gets out.
func TestListDamaged(t *testing.T) {
	d := newDesk(t, DefaultLimits())
	d.post(told(t, 1, 1), peer)
	dir := filepath.Join(d.dir, "mac-52-54-00-00-00-01")
	stored, err := os.ReadFile(filepath.Join(dir, "00000000-0000-0000-0000-000000000002.json"))
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(d.dir, "mac-52-54-00-00-00-09")
	for name, data := range map[string]string{
		filepath.Join(dir, "0.json"):            "\x1b[2J",
		filepath.Join(dir, "1.json"):            strings.Replace(string(stored), "demo", `\u001b[2J`, 1),
		filepath.Join(dir, "2.json"):            string(stored[:len(stored)/2]),
		filepath.Join(dir, "3.json"):            strings.Repeat(" ", 1<<20),
		filepath.Join(dir, "4.json"):            strings.Replace(string(stored), "192.0.2.7", `fe80::1%\u001b`, 1),
		filepath.Join(dir, "half-written"):      "{",
		filepath.Join(dir, "\x1b.json"):         "{}",
		filepath.Join(other, "0.json"):          string(stored),
		filepath.Join(d.dir, "\x1b[2J", "a"):    "",
		filepath.Join(d.dir, "no-folder.json"):  "{}",
		filepath.Join(d.dir, "empty-one", "x"):  "",
		filepath.Join(t.TempDir(), "elsewhere"): "",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(data), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(dir, "5.json")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(d.dir, "root")); err != nil {
		t.Fatal(err)
	}
	all, errs := List(d.dir)
	if len(all) != 1 || all[0].ID != "mac-52-54-00-00-00-01" || len(errs) == 0 {
		t.Fatalf("%+v, errors %v", all, errs)
	}
	out, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	text := string(out) + errors.Join(errs...).Error()
	if strings.ContainsAny(strings.ReplaceAll(text, "\n", ""), "\x1b\x07") {
		t.Errorf("%q", text)
	}
	if _, errs := List(filepath.Join(d.dir, "missing")); len(errs) != 1 || !errors.Is(errs[0], fs.ErrNotExist) {
		t.Errorf("errors %v of no folder", errs)
	}
}

// A folder that was prepared to lead elsewhere leads nowhere.
func TestStoreStaysInItsFolder(t *testing.T) {
	d := newDesk(t, DefaultLimits())
	outside := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(d.dir, "mac-52-54-00-00-00-01")); err != nil {
		t.Fatal(err)
	}
	if status := d.post(told(t, 1, 1), peer); status != 500 {
		t.Errorf("status %d", status)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("%v, %v outside of the folder", entries, err)
	}
}
