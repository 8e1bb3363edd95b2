package report

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
)

const (
	bootID  = "6a1f5b9e-07cd-4a39-9f2e-0f6a2a7d2c11"
	machID  = "4c4c4544-0042-3510-8050-b4c04f4d5931"
	machMAC = "52:54:00:12:34:56"
)

// ticker is an uptime that tests set.
type ticker struct {
	mu sync.Mutex
	d  time.Duration
}

func (t *ticker) uptime() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.d
}

func (t *ticker) pass(d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.d += d
}

// recorder returns one that begins 2 s after power-on.
func recorder() (*Recorder, *ticker) {
	up := &ticker{d: 2 * time.Second}
	return NewRecorder(up.uptime, Report{Boot: bootID, Model: "QEMU Standard PC", Medium: "97a88a30ea012ae7", Product: "demo"}), up
}

var (
	identity = manifest.Identity{MACs: []string{"52:54:00:12:34:56"}, UUID: strings.ToUpper(machID)}
	noon     = clock.Time{Now: time.Date(2026, 11, 22, 12, 0, 0, 5, time.UTC), Trusted: true}
)

// A boot over a second mirror, as it is told.
func TestRecorder(t *testing.T) {
	r, up := recorder()
	end := r.Stage("network")
	up.pass(300 * time.Millisecond)
	end()
	end() // a second end is none
	r.Believes(3)
	manifest := r.Stage("manifest")
	up.pass(5 * time.Second)
	r.Fail("manifest", "unreachable", "http://a/manifest.json: no usable answer")
	manifest()
	r.Fail("memory", "not-saved", "not remembered")
	r.Accepted(2, 17)
	r.Chosen("installer")
	ref := object.Ref{Size: 8 << 20, SHA256: object.ID{1}}
	r.Object("kernel", ref, 1500*time.Millisecond, "http://joe:secret@b:8080/objects/01?token=1")
	r.Stage("load")
	up.pass(time.Second)
	got := r.Report(HandingOver, identity, noon)
	want := Report{
		Format: Format, Boot: bootID, Machine: Machine{UUID: machID, MACs: []string{machMAC}},
		Model: "QEMU Standard PC", Medium: "97a88a30ea012ae7", Product: "demo",
		Uptime: 8300, Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), TimeTrusted: true,
		Statement: 3, Epoch: 2, Version: 17, Entry: "installer", Outcome: HandingOver,
		Code: "not-saved", Text: "not remembered",
		Stages: []Stage{
			{Name: "network", Start: 2000, Took: 300},
			{Name: "manifest", Start: 2300, Took: 5000, Code: "unreachable", Text: "http://a/manifest.json: no usable answer"},
			{Name: "memory", Start: 7300, Code: "not-saved", Text: "not remembered"},
			{Name: "load", Start: 7300, Took: 1000},
		},
		Objects: []Object{{What: "kernel", Size: 8 << 20, SHA256: object.ID{1}, Took: 1500, From: "b:8080"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	data, err := Encode(got)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, back); diff != "" {
		t.Error(diff)
	}
	if got.Machine.ID() != "uuid-"+machID {
		t.Errorf("machine %q", got.Machine.ID())
	}
}

// The news is what failed last, but no network at the end of a round is none.
func TestNews(t *testing.T) {
	r, _ := recorder()
	r.Fail("network", "no-network", "no card")
	if got := r.Report(Waiting, identity, noon); got.Code != "no-network" {
		t.Errorf("code %q, want the only one", got.Code)
	}
	r.Fail("manifest", "untrusted", "bad")
	r.Fail("network", "no-network", "no other card has a lease")
	if got := r.Report(Waiting, identity, noon); got.Code != "untrusted" || got.Text != "bad" {
		t.Errorf("code %q, %q, want what the site did", got.Code, got.Text)
	}
	r.Fail("manifest", "rollback", "old")
	if got := r.Report(Waiting, identity, noon); got.Code != "rollback" {
		t.Errorf("code %q, want the last", got.Code)
	}
}

// Weeks of waiting make a report of at most 64 KiB, whatever the words: the
// oldest stages go, and are counted.
func TestReportStaysSmall(t *testing.T) {
	for _, text := range []string{"short", strings.Repeat("x ", 1<<19), strings.Repeat("<&>", 500), strings.Repeat(`"\`, 500), strings.Repeat("\x1b", 2000)} {
		r, up := recorder()
		const rounds = 400
		for i := range rounds {
			end := r.Stage(fmt.Sprint("stage ", i))
			up.pass(time.Minute)
			r.Fail(fmt.Sprint("stage ", i), "unreachable", text)
			end()
			r.Object(text, object.Ref{Size: 1, SHA256: object.ID{1}}, time.Second, "http://"+strings.Repeat("h", 300)+"/")
		}
		data, err := Encode(r.Report(Waiting, identity, noon))
		if err != nil {
			t.Fatalf("%.20q: %v", text, err)
		}
		back, err := Decode(data)
		if err != nil {
			t.Fatalf("%.20q: %v", text, err)
		}
		if n := int64(len(back.Stages) + len(back.Objects)); n+back.Dropped != 2*rounds || n < 80 {
			t.Errorf("%.20q: %d are there, %d were dropped, want %d in all", text, n, back.Dropped, 2*rounds)
		}
		if last := back.Stages[len(back.Stages)-1].Name; last != fmt.Sprint("stage ", rounds-1) {
			t.Errorf("the last stage is %q", last)
		}
		if text == "short" && len(back.Stages) != maxStages {
			t.Errorf("%d short stages fit", len(back.Stages))
		}
	}
}

// Threat 42, and the promise that reports hold no secrets.
func TestTextIsCleanAndBare(t *testing.T) {
	for in, want := range map[string]string{
		"plain ~ text": "plain ~ text",
		"a\r\n[ 0.00] faked\x1b[2J \x00\u202e\xff":      "a [ 0.00] faked?[2J ???",
		"http://joe:pass@host:80/p?token=x#f no answer": "http://host:80/p no answer",
		`proxy "http://u:p@a/,http://b/?q": bad`:        `proxy "http://a/,http://b/ bad`,
		"http://u:p@a/,https://v:w@b/x":                 "http://b/x",
		"http://user:p@ss/w@host/":                      "http://host/",
		"HTTPS://U:P@H/":                                "HTTPS://H/",
		"://@?":                                         "://",
	} {
		if got := clean(in, 100); got != want {
			t.Errorf("clean(%q) = %q, want %q", in, got, want)
		}
	}
	if got := clean(strings.Repeat("x", 600), maxText); len(got) != maxText || !strings.HasSuffix(got, "...") {
		t.Errorf("%d bytes, want %d", len(got), maxText)
	}
	if got := clean("see http://u:"+strings.Repeat("p", maxRead)+"@h/", maxText); got != "see ..." {
		t.Errorf("of a word that does not end: %q", got)
	}
	r, _ := recorder()
	r.Fail("http://u:hush@h/?hush", "failed", "see http://u:hush@h/?hush")
	r.Chosen("http://u:hush@h/?hush")
	r.Object("http://u:hush@h/?hush", object.Ref{}, 0, "http://u:hush@h/?hush")
	data, err := Encode(r.Report(Failed, identity, noon))
	if err != nil || strings.Contains(string(data), "hush") {
		t.Errorf("a secret is told, or %v: %s", err, data)
	}
}

// A machine's names are those that a manifest could hold; one without any has no
// report.
func TestIdentity(t *testing.T) {
	r, _ := recorder()
	odd := manifest.Identity{UUID: "../../etc", Serial: "a\nb", MACs: []string{"..", "52:54:00:AA:BB:CC", "00"}}
	got := r.Report(Waiting, odd, noon)
	if diff := cmp.Diff(Machine{MACs: []string{"52:54:00:aa:bb:cc"}}, got.Machine); diff != "" {
		t.Error(diff)
	}
	if id := got.Machine.ID(); id != "mac-52-54-00-aa-bb-cc" {
		t.Errorf("id %q", id)
	}
	if _, err := Encode(r.Report(Waiting, manifest.Identity{}, noon)); !errors.Is(err, ErrMalformed) {
		t.Errorf("error %v of a machine without a name", err)
	}
}

func TestBootID(t *testing.T) {
	if id := BootID(fstest.MapFS{bootIDFile: {Data: []byte(bootID + "\n")}}); id != bootID {
		t.Errorf("id %q, want the kernel's", id)
	}
	a, b := BootID(fstest.MapFS{}), BootID(fstest.MapFS{bootIDFile: {Data: []byte("../x")}})
	if !isUUID(a) || !isUUID(b) || a == b {
		t.Errorf("ids %q and %q, want two of their own", a, b)
	}
	if id := BootID(os.DirFS("/proc")); id != BootID(os.DirFS("/proc")) || !isUUID(id) {
		t.Errorf("this kernel's boot id %q changes", id)
	}
}

func TestRecorderInParallel(t *testing.T) {
	r, up := recorder()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 500 {
				end := r.Stage("obtain")
				r.Fail("obtain", "corrupt", "bits")
				r.Object("kernel", object.Ref{}, 0, "http://a/")
				r.Report(Waiting, identity, noon)
				up.pass(time.Millisecond)
				end()
			}
		})
	}
	all.Wait()
	if _, err := Encode(r.Report(Waiting, identity, noon)); err != nil {
		t.Error(err)
	}
}
