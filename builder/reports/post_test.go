package reports

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/payload/clock"
	"github.com/farboot/farboot/payload/fetch"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
)

// What the agent posts is what the owner reads: a boot that failed twice and then
// went on is one boot, with its last word.
func TestFromAgentToOwner(t *testing.T) {
	store, err := New(t.TempDir(), DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(store.Handler(http.NotFoundHandler(), io.Discard))
	defer srv.Close()
	client := fetch.New(fetch.DefaultLimits())
	defer client.Close()
	up := time.Second
	rec := report.NewRecorder(func() time.Duration { return up }, report.Report{
		Boot: "6a1f5b9e-07cd-4a39-9f2e-0f6a2a7d2c11", Model: strings.Repeat(`"<&>\`, 100), Medium: "97a88a30ea012ae7", Product: "demo",
	})
	id := manifest.Identity{Serial: "CZ1234/A b", MACs: []string{"52:54:00:12:34:56"}}
	var last report.Report
	for _, outcome := range []report.Outcome{report.Waiting, report.Waiting, report.HandingOver} {
		for range 300 { // more than there is room for
			rec.Fail("manifest", "unreachable", strings.Repeat(`"<&>\`, 200))
		}
		up += time.Minute
		last = rec.Report(outcome, id, clock.Time{Now: time.Unix(0, 0)})
		if err := report.Post(t.Context(), client, []string{srv.URL + "/" + report.Path}, last); err != nil {
			t.Fatal(err)
		}
	}
	all, errs := List(store.dir)
	if len(all) != 1 || len(errs) > 0 {
		t.Fatalf("%d machines, errors %v", len(all), errs)
	}
	got := all[0]
	if got.ID != "serial-435a313233342f412062" || got.From != "127.0.0.1" || got.Boots != 1 {
		t.Errorf("%s from %s, %d boots", got.ID, got.From, got.Boots)
	}
	kept := len(got.Report.Stages) // Encode leaves out the oldest
	last.Dropped += int64(len(last.Stages) - kept)
	last.Stages = last.Stages[len(last.Stages)-kept:]
	if diff := cmp.Diff(last, got.Report); diff != "" || kept < 50 {
		t.Errorf("%d stages are kept\n%s", kept, diff)
	}
}
