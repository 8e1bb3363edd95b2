package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/google/go-cmp/cmp"
)

// recorded returns what a server reads of what r has recorded.
func recorded(t *testing.T, r *Recorder) Report {
	t.Helper()
	out := r.Report(Working, manifest.Identity{Serial: "ABC"}, clock.Time{Now: time.Unix(1e9, 0)})
	data, err := Encode(out)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// newWorker returns a Recorder of a boot.
func newWorker() *Recorder {
	return NewRecorder(func() time.Duration { return time.Minute }, Report{Boot: "01234567-89ab-cdef-0123-456789abcdef", Medium: "m", Product: "p"})
}

// What an entry does is told with the end of its words, without secrets and
// without what could move a cursor.
func TestWorks(t *testing.T) {
	r := newWorker()
	r.Status("nobody's")
	r.Note("nobody's")
	if got := recorded(t, r); got.Works != nil {
		t.Errorf("works of nobody: %+v", got.Works)
	}
	r.Begin("repair", "script")
	for i := range 40 {
		r.Output(fmt.Sprintf("line %d\x1b[2J", i))
	}
	r.Note("see http://user:secret@h/x?token=1")
	r.Status("exit status 1")
	before := recorded(t, r)
	r.Begin("login", "rescue")
	r.Status("host key SHA256:abc")
	got := recorded(t, r).Works
	if diff := cmp.Diff(before.Works[0], got[0]); diff != "" {
		t.Errorf("a work that has ended changed:\n%s", diff)
	}
	want := []Work{
		{Entry: "repair", Kind: "script", Status: "exit status 1", Notes: []string{"see http://h/x"}},
		{Entry: "login", Kind: "rescue", Status: "host key SHA256:abc"},
	}
	for i := 24; i < 40; i++ {
		want[0].Output = append(want[0].Output, fmt.Sprintf("line %d?[2J", i))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// However much is done and said, the report is sent.
func TestManyWorks(t *testing.T) {
	r := newWorker()
	for i := range 20 {
		r.Begin(fmt.Sprintf("entry-%d", i), "script")
		r.Status(strings.Repeat(`"`, 9999))
		for range 99 {
			r.Output(strings.Repeat(`\`, 9999))
			r.Note(strings.Repeat(`"`, 9999))
		}
	}
	for range 999 {
		r.Fail("stage", "failed", strings.Repeat(`"`, 9999))
	}
	got := recorded(t, r)
	if len(got.Works) != maxWorks || got.Works[3].Entry != "entry-19" || len(got.Works[0].Output) != maxOutput || len(got.Stages) == 0 {
		t.Errorf("%d works, %d stages", len(got.Works), len(got.Stages))
	}
}

// A server refuses what no agent sends.
func TestWorksRefused(t *testing.T) {
	good := newWorker().Report(Done, manifest.Identity{Serial: "ABC"}, clock.Time{Now: time.Unix(1e9, 0)})
	for name, w := range map[string]Work{
		"no entry":      {Kind: "script"},
		"no kind":       {Entry: "e"},
		"control":       {Entry: "e", Kind: "script", Status: "\x1b"},
		"long line":     {Entry: "e", Kind: "script", Output: []string{strings.Repeat("x", maxLine+1)}},
		"control note":  {Entry: "e", Kind: "script", Notes: []string{"\r"}},
		"much output":   {Entry: "e", Kind: "script", Output: make([]string, maxOutput+1)},
		"many notes":    {Entry: "e", Kind: "script", Notes: make([]string, maxNotes+1)},
		"long entry":    {Entry: strings.Repeat("x", maxName+1), Kind: "script"},
		"control kind":  {Entry: "e", Kind: "\n"},
		"control entry": {Entry: "\t", Kind: "script"},
	} {
		r := good
		r.Works = []Work{w}
		if _, err := Encode(r); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	good.Works = make([]Work, maxWorks+1)
	for i := range good.Works {
		good.Works[i] = Work{Entry: "e", Kind: "script"}
	}
	if _, err := Encode(good); err == nil {
		t.Error("too many works pass")
	}
}

func TestFlashed(t *testing.T) {
	for status, want := range map[string]bool{
		"3.6 MB written, 0 bytes kept, in 4 s": true,
		"left alone: its mark says so":         true,
		"":                                     false,
		"begins":                               false,
		"sda: write, 25 % of 3.6 MB":           false,
		"disk is full":                         false,
	} {
		if got := (Work{Kind: "flash", Status: status}).Flashed(); got != want {
			t.Errorf("%q: %t", status, got)
		}
		if (Work{Kind: "script", Status: status}).Flashed() {
			t.Errorf("%q of a script", status)
		}
	}
}
