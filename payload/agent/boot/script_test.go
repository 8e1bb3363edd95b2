package boot

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/control"
	"github.com/farboot/farboot/payload/agent/script"
	"github.com/farboot/farboot/payload/agent/sshd"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/settings"
	"github.com/farboot/farboot/payload/state"
	"github.com/google/go-cmp/cmp"
)

// A script runs with what the manifest says, and what comes after it boots. The
// report tells how it ended.
func TestScript(t *testing.T) {
	l := scripted(t, manifest.Script{Args: []string{"--disk", "a b"}, Env: manifest.Env{"MODE": "entry", "KEEP": "1"}, Seconds: 90})
	l.manifest.Machines = []manifest.Machine{{
		Match: manifest.Match{Serial: "ABC"}, Boot: []string{"repair", "installer"}, Env: manifest.Env{"MODE": "machine"},
	}}
	l.settings.Report, l.places = []string{settings.ReportSite}, []string{"a stick"}
	s := l.publishTools(t)
	l.works.run = func(script.Config, control.Handlers) (int, *control.Next) {
		if l.memory.Floor.Version != 12 {
			t.Error("it runs before its manifest is remembered")
		}
		return 0, nil
	}
	l.load = func() error {
		if l.works.closed != 1 {
			t.Error("the next kernel is loaded while the toolbox is open")
		}
		return nil
	}
	handedOver(t, l.lab, l.run(t))
	c := l.works.configs[0]
	if l.works.programs[0] != string(program) || l.works.images[0] != string(image) || !slices.Equal(c.Args, []string{"--disk", "a b"}) || c.Limit != 90*time.Second {
		t.Errorf("ran %q with %+v", l.works.programs, c)
	}
	for name, want := range map[string]string{
		"FARBOOT_SITE": s.URL + "/", "FARBOOT_ENTRY": "repair", "FARBOOT_MACHINE": "serial-414243", "FARBOOT_SERIAL": "ABC", "FARBOOT_MEDIUM": "test",
		"FARBOOT_MACS": "52:54:00:12:34:56", "FARBOOT_UUID": "", "FARBOOT_STATEMENT": "1", "FARBOOT_MANIFEST_VERSION": "12", "MODE": "machine", "KEEP": "1",
	} {
		if got := environ(c.Env, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if l.reports[0].Outcome != report.Working {
		t.Errorf("the first report says %q", l.reports[0].Outcome)
	}
	last := l.reports[len(l.reports)-1]
	want := []report.Work{{Entry: "repair", Kind: "script", Status: "exit status 0 after 0.0 s", Output: []string{"the end"}}}
	if diff := cmp.Diff(want, last.Works); diff != "" || last.Outcome != report.HandingOver {
		t.Errorf("%s: %s", last.Outcome, diff)
	}
}

// A script that fails is followed by the next entry, whatever it had asked for.
func TestScriptFails(t *testing.T) {
	l := scripted(t, manifest.Script{Then: manifest.ThenOff})
	l.publishTools(t)
	l.works.run = func(script.Config, control.Handlers) (int, *control.Next) { return 3, &control.Next{Do: control.DoOff} }
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "repair: [script-failed] the script failed: exit status 3")
	if l.poweredOff != 0 || l.works.closed != 1 {
		t.Errorf("switched off %d times, toolbox closed %d times", l.poweredOff, l.works.closed)
	}
}

// An altered script, one in an altered toolbox, and one of an older manifest never
// run; no more does one that the trust statement revokes.
func TestScriptNeverRuns(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*simLab, *site)
		want string
	}{
		"altered": {func(_ *simLab, s *site) { s.put(object.OfBytes(program).Path(), flip(program)) }, "repair: [corrupt] script: "},
		"toolbox": {func(_ *simLab, s *site) { s.put(object.OfBytes(image).Path(), flip(image)) }, "repair: [corrupt] toolbox: "},
		"gone":    {func(_ *simLab, s *site) { delete(s.files, object.OfBytes(program).Path()) }, "repair: [not-found] script: "},
		"rollback": {func(l *simLab, _ *site) {
			l.remember = func() error { l.memory.Floor = floor(13); return state.ErrLower }
		}, "repair: [rollback] "},
		"memory": {func(l *simLab, _ *site) { l.available = spareMemory + int64(len(program)) }, "repair: [no-memory] not enough memory: the toolbox takes "},
	} {
		t.Run(name, func(t *testing.T) {
			l := scripted(t, manifest.Script{})
			s := l.publishTools(t)
			l.places = []string{"a stick"}
			l.manifest.Default = []string{"repair"}
			c.set(l, s)
			if err := l.run(t); name != "rollback" && len(l.works.programs) > 0 {
				t.Errorf("it ran: %v", err)
			}
			if len(l.works.programs) > 0 || len(l.said(c.want)) == 0 {
				t.Errorf("ran %d times, log:\n%s", len(l.works.programs), strings.Join(l.lines, "\n"))
			}
			if l.works.opened != l.works.closed {
				t.Errorf("%d toolboxes were opened, %d closed", l.works.opened, l.works.closed)
			}
		})
	}
}

// What a script asks for comes next, and otherwise what its entry says.
func TestScriptThen(t *testing.T) {
	for name, c := range map[string]struct {
		then                    string
		next                    *control.Next
		executed, rebooted, off int
		line                    string
	}{
		"nothing":        {executed: 1},
		"next":           {then: manifest.ThenNext, executed: 1},
		"reboot":         {then: manifest.ThenReboot, rebooted: 1},
		"off":            {then: manifest.ThenOff, off: 1},
		"wait":           {then: manifest.ThenWait, line: "repair: done, waiting for somebody"},
		"local":          {then: manifest.ThenLocal, executed: 1, line: "repair: [no-system] "},
		"asks: boot":     {then: manifest.ThenOff, next: &control.Next{Do: control.DoBoot, Entry: "installer"}, executed: 1},
		"asks: next":     {then: manifest.ThenOff, next: &control.Next{Do: control.DoNext}, executed: 1},
		"asks: reboot":   {next: &control.Next{Do: control.DoReboot}, rebooted: 1},
		"asks: off":      {next: &control.Next{Do: control.DoOff}, off: 1},
		"asks: itself":   {next: &control.Next{Do: control.DoBoot, Entry: "repair"}, executed: 1, line: `repair: [failed] asks for "repair"`},
		"asks: nonsense": {next: &control.Next{Do: control.DoBoot, Entry: "nonsense"}, executed: 1, line: "nonsense: [malformed] "},
	} {
		t.Run(name, func(t *testing.T) {
			l := scripted(t, manifest.Script{Then: c.then})
			l.publishTools(t)
			if c.then == manifest.ThenWait {
				l.stopOn = c.line
			}
			l.works.run = func(script.Config, control.Handlers) (int, *control.Next) { return 0, c.next }
			_ = l.run(t) // a reboot returns, and a wait is ended
			if l.executed != c.executed || l.rebooted != c.rebooted || l.poweredOff != c.off {
				t.Errorf("started %d times, rebooted %d, switched off %d:\n%s", l.executed, l.rebooted, l.poweredOff, strings.Join(l.lines, "\n"))
			}
			if c.line != "" {
				saw(t, l.lab, c.line)
			}
			if l.works.opened != l.works.closed {
				t.Errorf("%d toolboxes were opened, %d closed", l.works.opened, l.works.closed)
			}
		})
	}
}

// A list that is done is not done again in this boot, and neither are the medium's
// own entries tried: the machine goes on asking for news.
func TestDoneOnce(t *testing.T) {
	l := scripted(t, manifest.Script{})
	l.settings.Report = []string{settings.ReportSite}
	l.settings.Fallback = []manifest.Entry{{Title: "Off", Power: &manifest.Power{Action: manifest.Off}}}
	l.manifest.Default = []string{"repair"}
	l.limits.Fallback = 1
	s := l.publishTools(t)
	l.stopOn = "(round 4)"
	l.works.run = func(script.Config, control.Handlers) (int, *control.Next) {
		if len(l.works.programs) > 1 {
			t.Error("it ran again")
		}
		return 0, nil
	}
	if err := l.run(t); err == nil || l.poweredOff != 0 {
		t.Errorf("%v, switched off %d times", err, l.poweredOff)
	}
	if n := s.count(manifest.File); n != 3 {
		t.Errorf("the manifest was asked for %d times in 3 rounds", n)
	}
	if last := l.reports[len(l.reports)-1]; last.Outcome != report.Done || last.Code != "" {
		t.Errorf("reported %+v", last)
	}
}

// A script that asks for a rescue has done its work when that has ended, and the
// rescue is there again in the next round. One that asks for what fails asks again.
func TestDoneByAsking(t *testing.T) {
	for name, c := range map[string]struct {
		entry    string
		programs int
		logins   int
	}{"a rescue": {"login", 1, 1}, "what fails": {"broken", 3, 0}} {
		l := scripted(t, manifest.Script{})
		toolbox := object.OfBytes(image)
		l.manifest.Entries["login"] = manifest.Entry{Title: "Rescue", Rescue: &manifest.Rescue{Keys: []string{key}, Toolbox: &toolbox}}
		l.manifest.Entries["broken"] = linux([]byte("not on the site"))
		l.manifest.Entries["broken"] = manifest.Entry{Title: "Broken", Linux: l.manifest.Entries["broken"].Linux}
		l.manifest.Default = []string{"repair"}
		l.publishTools(t)
		l.stopOn = "(round 4)"
		l.works.run = func(script.Config, control.Handlers) (int, *control.Next) {
			return 0, &control.Next{Do: control.DoBoot, Entry: c.entry}
		}
		l.works.people = func(_ context.Context, _ control.Handlers, asks func(control.Next)) error {
			asks(control.Next{Do: control.DoNext})
			return nil
		}
		if err := l.run(t); err == nil || len(l.works.programs) != c.programs || len(l.works.logins) != c.logins {
			t.Errorf("%s: %v, ran %d times, %d rescues:\n%s", name, err, len(l.works.programs), len(l.works.logins), strings.Join(l.lines, "\n"))
		}
	}
	l := rescued(t, manifest.Rescue{})
	l.manifest.Default = []string{"login"}
	l.publishTools(t)
	l.stopOn = "(round 4)"
	l.works.people = func(context.Context, control.Handlers, func(control.Next)) error { return sshd.ErrIdle }
	if err := l.run(t); err == nil || len(l.works.logins) != 3 {
		t.Errorf("%v, %d rescues in 3 rounds", err, len(l.works.logins))
	}
}

// The medium's own toolbox is used where the entry names none; one that is damaged
// is fetched.
func TestToolboxOfMedium(t *testing.T) {
	for name, data := range map[string][]byte{"good": image, "damaged": flip(image), "gone": nil} {
		l := scripted(t, manifest.Script{})
		l.manifest.Entries["repair"].Script.Toolbox = nil
		l.settings.Toolbox = &settings.Toolbox{Ref: object.OfBytes(image), Place: settings.PlaceMemory}
		l.objects = t.TempDir()
		if data != nil {
			if err := os.WriteFile(filepath.Join(l.objects, object.OfBytes(image).SHA256.String()), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		s := l.publishTools(t)
		handedOver(t, l.lab, l.run(t))
		want := 1
		if name == "good" {
			want = 0
		}
		if n := s.count(object.OfBytes(image).Path()); n != want || l.works.images[0] != string(image) {
			t.Errorf("%s: asked %d times, want %d; opened %q", name, n, want, l.works.images)
		}
	}
	l := scripted(t, manifest.Script{})
	l.manifest.Entries["repair"].Script.Toolbox = nil
	l.settings.Toolbox = &settings.Toolbox{Ref: object.OfBytes(image), Place: settings.PlaceMedium}
	l.image = t.TempDir()
	name := filepath.Join(l.image, "farboot/objects", object.OfBytes(image).SHA256.String())
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, image, 0o600)); err != nil {
		t.Fatal(err)
	}
	s := l.publishTools(t)
	handedOver(t, l.lab, l.run(t))
	if n := s.count(object.OfBytes(image).Path()); n != 0 || l.works.images[0] != string(image) {
		t.Errorf("on the image: asked %d times, opened %q", n, l.works.images)
	}
	l = scripted(t, manifest.Script{})
	l.manifest.Entries["repair"].Script.Toolbox = nil
	l.publishTools(t)
	handedOver(t, l.lab, l.run(t))
	saw(t, l.lab, "repair: [no-toolbox] ")
}

// A program in the toolbox gets what the manifest names and nothing else, can say
// something, and hears whether an entry can be booted.
func TestHandlers(t *testing.T) {
	l := scripted(t, manifest.Script{})
	l.settings.Report = []string{settings.ReportSite}
	l.manifest.Files = map[string]object.Ref{"data": object.OfBytes(second)}
	l.publishTools(t)
	name := filepath.Join(t.TempDir(), "out")
	l.works.run = func(_ script.Config, h control.Handlers) (int, *control.Next) {
		get := func(what string) (string, error) {
			f, err := os.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			told := int64(0)
			err = h.Fetch(t.Context(), what, f, func(done, total int64) { told = done })
			data, _ := os.ReadFile(name)
			if err == nil && told != int64(len(data)) {
				t.Errorf("%s: told of %d bytes", what, told)
			}
			return string(data), err
		}
		if got, err := get("data"); err != nil || got != string(second) {
			t.Errorf("data: %q, %v", got, err)
		}
		if got, err := get(object.OfBytes(kernel).SHA256.String()); err != nil || got != string(kernel) {
			t.Errorf("the kernel by its hash: %d bytes, %v", len(got), err)
		}
		for _, bad := range []string{"other", object.OfBytes([]byte("other")).SHA256.String(), "../manifest.json", ""} {
			if got, err := get(bad); !errors.Is(err, manifest.ErrMalformed) || got != "" {
				t.Errorf("%q: %q, %v", bad, got, err)
			}
		}
		if err := errors.Join(h.Entry("installer"), h.Report("half way\nthere")); err != nil {
			t.Error(err)
		}
		if err := h.Entry("other"); err == nil {
			t.Error("an entry that is not there can be booted")
		}
		return 0, nil
	}
	handedOver(t, l.lab, l.run(t))
	if last := l.reports[len(l.reports)-1]; !slices.Equal(last.Works[0].Notes, []string{"half way", "there"}) {
		t.Errorf("notes %q", last.Works[0].Notes)
	}
}

// A script that the medium carries runs without any network.
func TestScriptOnMedium(t *testing.T) {
	l := newSimLab(t)
	l.publish(t, 12)
	l.next = func() error { return errors.New("no cable") }
	l.limits.Fallback, l.stopOn = 1, "never"
	l.settings.Toolbox = &settings.Toolbox{Ref: object.OfBytes(image), Place: settings.PlaceMemory}
	l.settings.Fallback = []manifest.Entry{{Title: "Repair", Script: &manifest.Script{Program: object.OfBytes(program), Then: manifest.ThenReboot}}}
	l.carry(t, image, program)
	if err := l.run(t); err != nil || len(l.works.programs) != 1 || l.rebooted != 1 {
		t.Errorf("%v: ran %d times, rebooted %d:\n%s", err, len(l.works.programs), l.rebooted, strings.Join(l.lines, "\n"))
	}
}
