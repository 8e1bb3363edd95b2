package clone

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/farboot/farboot/builder/power"
	"github.com/farboot/farboot/builder/recipe"
	"github.com/farboot/farboot/builder/reports"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/report"
)

// machine is one with a controller and an agent that reports by HTTP, as real ones
// do.
type machine struct {
	name string
	mac  string
	url  string // of the server for reports
	lab  *lab

	mu    sync.Mutex
	state power.State
	did   []string
	boots int

	err   error         // of its controller
	plays []play        // what it reports, boot by boot
	lost  time.Duration // how long it goes on after it said that it is off
}

// play is what a machine reports in one boot.
type play []report.Report

func says(outcome report.Outcome, entry, status string) report.Report {
	r := report.Report{Outcome: outcome, Entry: entry}
	if status != "" {
		r.Works = []report.Work{{Entry: entry, Kind: "flash", Status: status}}
	}
	return r
}

func (m *machine) State(context.Context) (power.State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, m.err
}

func (m *machine) BootNext(_ context.Context, d power.Device) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.did = append(m.did, "next "+string(d))
	return m.err
}

func (m *machine) Do(_ context.Context, a power.Action) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.did = append(m.did, string(a))
	if m.err != nil && !errors.Is(m.err, power.ErrUnsupported) {
		return m.err
	}
	m.state = power.IsOn
	boot := m.boots
	m.boots++
	if boot < len(m.plays) {
		m.lab.group.Go(func() { m.boot(boot) })
	}
	return nil
}

// boot reports all of a boot.
func (m *machine) boot(n int) {
	for _, r := range m.plays[n] {
		m.lab.post(m, n, r)
		time.Sleep(40 * time.Millisecond)
	}
	if last := m.plays[n][len(m.plays[n])-1]; last.Outcome == report.Rebooting && last.Entry == "offwards" {
		time.Sleep(m.lost)
		m.mu.Lock()
		m.state = power.IsOff
		m.mu.Unlock()
	}
}

// lab is a room with a server for its reports.
type lab struct {
	t        *testing.T
	dir      string
	group    sync.WaitGroup
	machines []*machine
	told     [][]Machine
}

func newLab(t *testing.T, machines ...*machine) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir(), machines: machines}
	store, err := reports.New(l.dir, reports.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(store.Handler(http.NotFoundHandler(), io.Discard))
	t.Cleanup(srv.Close)
	t.Cleanup(l.group.Wait)
	for i, m := range machines {
		m.name, m.lab, m.url = cmp0(m.name, fmt.Sprintf("room-4-%02d", i+1)), l, srv.URL+"/"+report.Path
		m.mac = fmt.Sprintf("52:54:00:00:04:%02x", i+1)
		if m.state == "" {
			m.state = power.IsOff
		}
	}
	return l
}

func cmp0(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// post sends a report of a machine's boot.
func (l *lab) post(m *machine, boot int, r report.Report) {
	var at byte = m.mac[len(m.mac)-1]
	r.Boot = fmt.Sprintf("6a1f5b9e-07cd-4a39-9f2e-0000000%02x%03d", at, boot)
	r.Machine = report.Machine{MACs: []string{strings.Replace(m.mac, "52:", "02:", 1), m.mac}}
	r.Medium, r.Product, r.Time = "m", "demo", time.Now()
	data, err := report.Encode(r)
	if err != nil {
		l.t.Error(err)
	}
	resp, err := http.Post(m.url, "application/json", bytes.NewReader(data))
	if err != nil || resp.StatusCode != http.StatusNoContent {
		l.t.Errorf("%v, %v", resp, err)
		return
	}
	resp.Body.Close()
}

// run clones the room.
func (l *lab) run(ctx context.Context, change func(*Options)) ([]Machine, error) {
	var targets []power.Target
	for _, m := range l.machines {
		target := power.Target{Machine: recipe.Machine{Match: recipe.Match{MAC: m.mac}, Name: m.name}, Label: m.name, Driver: m}
		if errors.Is(m.err, power.ErrNone) {
			target.Driver, target.Err = nil, m.err
		}
		targets = append(targets, target)
	}
	o := Options{
		Device: power.PXE, Reports: l.dir, Progress: func(room []Machine) { l.told = append(l.told, room) },
		Then: func(entry string) string {
			return map[string]string{"waits": manifest.ThenWait, "offwards": manifest.ThenOff, "server": ""}[entry]
		},
		Log:    func(format string, args ...any) { l.t.Logf(format, args...) },
		Limits: Limits{Parallel: 4, Silence: 2 * time.Second, Total: time.Minute, Off: time.Second, Poll: 5 * time.Millisecond},
	}
	if change != nil {
		change(&o)
	}
	return Run(ctx, targets, o)
}

const (
	half = "sda: write, 50 % of 3.6 MB"
	full = "3.6 MB written, 0 bytes kept, in 4 s"
)

// A room whose machines end in all the ways that there are.
func TestRoom(t *testing.T) {
	working := says(report.Working, "server", half)
	failed := says(report.HandingOver, "disk", "")
	failed.Works = []report.Work{{Entry: "server", Kind: "flash", Status: "no disk fits"}}
	waiting := says(report.Waiting, "server", "no mirror has it")
	waiting.Code, waiting.Text = "unreachable", "no mirror has it"
	notStarting := says(report.Failed, "server", full)
	notStarting.Code, notStarting.Text = "nothing-installed", "no system"
	offwards := func(lost time.Duration) *machine {
		return &machine{plays: []play{{says(report.Rebooting, "offwards", full)}, {says(report.HandingOver, "disk", "")}}, lost: lost}
	}
	rows := []struct {
		what string
		m    *machine
		err  error
		says string
		did  string
	}{
		{"reboots by itself", &machine{plays: []play{{says(report.Working, "server", "begins"), working, says(report.Rebooting, "server", full)}}}, nil, full, "next pxe, on"},
		{"is on, and reset", &machine{state: power.IsOn, plays: []play{{working, says(report.HandingOver, "server", full)}}}, nil, full, "next pxe, reset"},
		{"has the image", &machine{plays: []play{{says(report.HandingOver, "server", "left alone: its mark says so")}}}, nil, "left alone", "next pxe, on"},
		{"waits to be reset", &machine{plays: []play{{working, says(report.Done, "waits", full)}}}, nil, full, "next pxe, on, next disk, reset"},
		{"goes off", offwards(50 * time.Millisecond), nil, full, "next pxe, on, next disk, on"},
		{"does not go off", offwards(3 * time.Second), context.DeadlineExceeded, "does not start: it is not off", "next pxe, on"},
		{"tries again", &machine{plays: []play{{waiting, working, says(report.Rebooting, "server", full)}}}, nil, full, "next pxe, on"},
		{"no disk", &machine{plays: []play{{failed}}}, ErrNotWritten, "no disk fits", "next pxe, on"},
		{"another entry", &machine{plays: []play{{says(report.Waiting, "", ""), says(report.HandingOver, "disk", "")}}}, ErrNotWritten, `it starts "disk", which writes no disk`, "next pxe, on"},
		{"does not start", &machine{plays: []play{{notStarting}}}, ErrNotStarted, "does not start (nothing-installed: no system)", "next pxe, on"},
		{"never reports", &machine{}, ErrSilent, "switched on", "next pxe, on"},
		{"goes silent", &machine{plays: []play{{working}}}, ErrSilent, "writing: " + half, "next pxe, on"},
		{"wrong password", &machine{err: power.ErrPassword}, power.ErrPassword, "boot-next pxe", "next pxe"},
		{"no controller", &machine{err: power.ErrNone}, power.ErrNone, "", ""},
	}
	var machines []*machine
	for _, row := range rows {
		machines = append(machines, row.m)
	}
	l := newLab(t, machines...)
	l.post(machines[10], 900, says(report.HandingOver, "server", full)) // of yesterday, and nothing since
	room, err := l.run(t.Context(), nil)
	if !errors.Is(err, ErrRoom) || !strings.Contains(err.Error(), "8 of 14 failed") {
		t.Errorf("%v", err)
	}
	for i, row := range rows {
		m := room[i]
		good := row.err == nil
		if (m.Stage == Done) != good || (m.Stage == Failed) == good || !errors.Is(m.Err, row.err) || !strings.Contains(m.Text, row.says) {
			t.Errorf("%s: %s: %s (%v)", row.what, m.Stage, m.Text, m.Err)
		}
		row.m.mu.Lock()
		if got := strings.Join(row.m.did, ", "); got != row.did {
			t.Errorf("%s: its controller was told %q, want %q", row.what, got, row.did)
		}
		row.m.mu.Unlock()
	}
	last := l.told[len(l.told)-1]
	if len(last) != len(rows) || slices.ContainsFunc(last, func(m Machine) bool { return !m.ended() }) {
		t.Errorf("the last that was told is not the end: %+v", last)
	}
	saw := func(stage Stage, text string) bool {
		return slices.ContainsFunc(l.told, func(room []Machine) bool {
			return slices.ContainsFunc(room, func(m Machine) bool { return m.Stage == stage && strings.Contains(m.Text, text) })
		})
	}
	if !saw(Writing, half) || !saw(Booting, "switched on") || !saw(Writing, "waiting to try again: no mirror has it") {
		t.Error("not all that happens is told")
	}
}

// Wake-on-LAN can neither tell nor choose; with no device it is enough.
func TestWithoutAnswers(t *testing.T) {
	m := &machine{err: power.ErrUnsupported, plays: []play{{says(report.Rebooting, "server", full)}}}
	l := newLab(t, m)
	room, err := l.run(t.Context(), func(o *Options) { o.Device = "" })
	if diff := cmp.Diff([]string{"on"}, m.did); err != nil || diff != "" || room[0].Stage != Done {
		t.Errorf("%v, %+v\n%s", err, room, diff)
	}
}

// A cast runs beside the room, ends with it, and fails nobody.
func TestCast(t *testing.T) {
	l := newLab(t, &machine{plays: []play{{says(report.Rebooting, "server", full)}}})
	ended := make(chan error, 1)
	_, err := l.run(t.Context(), func(o *Options) {
		o.Casts = []func(context.Context) error{
			func(ctx context.Context) error { <-ctx.Done(); ended <- ctx.Err(); return ctx.Err() },
			func(context.Context) error { return errors.New("no card") },
		}
	})
	if err != nil || !errors.Is(<-ended, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// An interrupt, and the end of the time, name everybody who is not done.
func TestEnds(t *testing.T) {
	for name, want := range map[string]error{"interrupt": context.Canceled, "time": ErrRoom} {
		l := newLab(t, &machine{plays: []play{{says(report.Rebooting, "server", full)}}}, &machine{})
		ctx, cancel := context.WithCancel(t.Context())
		room, err := l.run(ctx, func(o *Options) {
			if name == "time" {
				o.Limits.Total = 500 * time.Millisecond
			} else {
				time.AfterFunc(500*time.Millisecond, cancel)
			}
		})
		cancel()
		if !errors.Is(err, want) || len(room) != 2 || room[0].Stage != Done || room[1].Stage != Failed || room[1].Err == nil {
			t.Errorf("%s: %v, %+v", name, err, room)
		}
	}
	l := newLab(t, &machine{})
	if _, err := l.run(t.Context(), func(o *Options) { o.Reports = "/nonexistent" }); err == nil {
		t.Error("a folder that is not there")
	}
}
