package boot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/farboot/farboot/payload/agent/control"
	"github.com/farboot/farboot/payload/agent/login"
	"github.com/farboot/farboot/payload/agent/sshd"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/report"
	"github.com/farboot/farboot/payload/settings"
)

// key is one that may log in.
const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGrmlTlFRPQ4Y9BRZhUtWrrvQGfzUfPY2SJhQvTMb0DJ admin@desk"

// rescued makes the machine's list a rescue, "login", and then the installer.
func rescued(t *testing.T, x manifest.Rescue) *simLab {
	t.Helper()
	l := newSimLab(t)
	toolbox := object.OfBytes(image)
	x.Keys, x.Toolbox = []string{key}, &toolbox
	l.manifest.Entries["login"] = manifest.Entry{Title: "Rescue", Rescue: &x}
	l.manifest.Default = []string{"login", "installer"}
	l.settings.Report = []string{settings.ReportSite}
	return l
}

// Somebody logs in and goes on with an entry of the manifest. The owner is told
// under which key the machine answers before anybody is there.
func TestRescue(t *testing.T) {
	l := rescued(t, manifest.Rescue{Port: 2222})
	l.publishTools(t)
	l.works.people = func(_ context.Context, h control.Handlers, asks func(control.Next)) error {
		last := l.reports[len(l.reports)-1]
		want := "ssh -p 2222 root@10.0.2.15, host key SHA256:abc"
		if last.Outcome != report.Working || last.Works[0].Status != want || last.Works[0].Kind != "rescue" {
			t.Errorf("reported %s: %+v", last.Outcome, last.Works)
		}
		l.works.logins[0].Log("ssh: somebody logged in")
		if err := h.Entry("installer"); err != nil {
			t.Error(err)
		}
		asks(control.Next{Do: control.DoBoot, Entry: "installer"})
		return nil
	}
	handedOver(t, l.lab, l.run(t))
	login := l.works.logins[0]
	if login.Port != 2222 || login.Keys[0] != key || environ(login.Env, "FARBOOT_ENTRY") != "login" || !strings.Contains(login.Greeting, "Rescue") || login.Limits != sshd.DefaultLimits() {
		t.Errorf("logins %+v", login)
	}
	w := l.reports[len(l.reports)-1].Works[0]
	if w.Status != "ended by booting installer" || len(w.Output) != 1 || l.works.closed != 1 {
		t.Errorf("reported %+v, closed %d times", w, l.works.closed)
	}
	saw(t, l.lab, "login: Rescue: ssh -p 2222 root@10.0.2.15, host key SHA256:abc", "ssh: somebody logged in", `login: asks for "installer"`)
}

// The consoles are opened by a password, beside SSH, or alone: then nobody asks for a
// network.
func TestRescueAtConsole(t *testing.T) {
	const hash = "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1"
	l := rescued(t, manifest.Rescue{Password: hash, Then: manifest.ThenReboot})
	l.publishTools(t)
	l.works.people = func(context.Context, control.Handlers, func(control.Next)) error {
		return fmt.Errorf("%w for 60 s", login.ErrIdle)
	}
	if err := l.run(t); err != nil || l.rebooted != 1 {
		t.Errorf("%v, rebooted %d times", err, l.rebooted)
	}
	if got := l.works.logins[0]; got.Password != hash || len(got.Keys) != 1 {
		t.Errorf("logins %+v", got)
	}
	saw(t, l.lab, "login: Rescue: ssh -p 22 root@10.0.2.15, host key SHA256:abc; login at the consoles by a password")

	l = newSimLab(t)
	l.publish(t, 12)
	l.limits.Fallback = 1
	l.settings.Toolbox = &settings.Toolbox{Ref: object.OfBytes(image), Place: settings.PlaceMemory}
	l.settings.Fallback = []manifest.Entry{{Title: "Rescue", Rescue: &manifest.Rescue{Keys: []string{key}, Password: hash, Then: manifest.ThenReboot, Seconds: 60}}}
	l.carry(t, image)
	l.next = func() error { return errors.New("no cable") }
	l.works.people = func(context.Context, control.Handlers, func(control.Next)) error { return login.ErrIdle }
	if err := l.run(t); err != nil || l.rebooted != 1 {
		t.Errorf("%v, rebooted %d times", err, l.rebooted)
	}
	if got := l.works.logins[0]; got.Password != hash || len(got.Keys) != 0 {
		t.Errorf("without a network: logins %+v", got)
	}
	saw(t, l.lab, "fallback 1: Rescue: login at the consoles by a password")
}

// A machine shows the host key that it keeps, where the entry says so and it can; the
// key itself is neither printed nor reported.
func TestRescueHostKey(t *testing.T) {
	for name, c := range map[string]struct {
		x            manifest.Rescue
		secret, want string
		line         string
	}{
		"kept":     {manifest.Rescue{HostKey: manifest.HostKeyMachine}, "32 bytes that nobody is to see..", "32 bytes that nobody is to see..", "rescue: host key: this machine's, kept on the stick of serial-414243"},
		"no place": {manifest.Rescue{HostKey: manifest.HostKeyMachine}, "", "", "rescue: host key: no stick; it is made anew for this boot"},
		"unasked":  {manifest.Rescue{HostKey: manifest.HostKeyBoot}, "32 bytes that nobody is to see..", "", "login: done"},
	} {
		t.Run(name, func(t *testing.T) {
			l := rescued(t, c.x)
			l.publishTools(t)
			if c.secret != "" {
				l.works.secret = []byte(c.secret)
			}
			l.works.people = func(context.Context, control.Handlers, func(control.Next)) error { return sshd.ErrIdle }
			_ = l.run(t)
			if got := string(l.works.logins[0].HostKey); got != c.want {
				t.Errorf("the host key is %q, want %q", got, c.want)
			}
			saw(t, l.lab, c.line)
			if said := fmt.Sprintf("%s %+v", l.lines, l.reports); strings.Contains(said, "nobody is to see") {
				t.Error("the key is in what is printed or reported")
			}
		})
	}
}

// A rescue that nobody comes to ends as its entry says, and one that cannot listen
// is followed by the next entry.
func TestRescueEnds(t *testing.T) {
	idle := fmt.Errorf("%w for 60 s", sshd.ErrIdle)
	for name, c := range map[string]struct {
		x                       manifest.Rescue
		err                     error
		asks                    *control.Next
		executed, rebooted, off int
		line                    string
	}{
		"idle":              {manifest.Rescue{Seconds: 60}, idle, nil, 1, 0, 0, "login: done"},
		"idle, then off":    {manifest.Rescue{Seconds: 60, Then: manifest.ThenOff}, idle, nil, 0, 0, 1, "handing over: login"},
		"idle, then reboot": {manifest.Rescue{Seconds: 60, Then: manifest.ThenReboot}, idle, nil, 0, 1, 0, "handing over: login"},
		"reboot":            {manifest.Rescue{}, nil, &control.Next{Do: control.DoReboot}, 0, 1, 0, "handing over: login"},
		"off":               {manifest.Rescue{}, nil, &control.Next{Do: control.DoOff}, 0, 0, 1, "handing over: login"},
		"boot-next":         {manifest.Rescue{Then: manifest.ThenOff}, nil, &control.Next{Do: control.DoNext}, 1, 0, 0, "login: done"},
		"no port":           {manifest.Rescue{Port: 1}, nil, nil, 1, 0, 0, "login: [failed] rescue: address already in use"},
		"a crash":           {manifest.Rescue{}, errors.New("boom"), nil, 1, 0, 0, "login: [crashed] the agent crashed (rescue): boom"},
	} {
		t.Run(name, func(t *testing.T) {
			l := rescued(t, c.x)
			l.publishTools(t)
			l.works.people = func(_ context.Context, _ control.Handlers, asks func(control.Next)) error {
				if name == "a crash" {
					panic(c.err)
				}
				if c.asks != nil {
					asks(*c.asks)
				}
				return c.err
			}
			_ = l.run(t) // a reboot returns
			if l.executed != c.executed || l.rebooted != c.rebooted || l.poweredOff != c.off || l.works.closed != l.works.opened {
				t.Errorf("started %d times, rebooted %d, switched off %d, closed %d of %d:\n%s", l.executed, l.rebooted, l.poweredOff,
					l.works.closed, l.works.opened, strings.Join(l.lines, "\n"))
			}
			saw(t, l.lab, c.line)
		})
	}
}

// A rescue that the medium carries takes a network up for itself, since the round
// before has ended; without one it says so.
func TestRescueOnMedium(t *testing.T) {
	l := newSimLab(t)
	l.publish(t, 12)
	l.limits.Fallback = 1
	l.settings.Toolbox = &settings.Toolbox{Ref: object.OfBytes(image), Place: settings.PlaceMemory}
	l.settings.Fallback = []manifest.Entry{{Title: "Rescue", Rescue: &manifest.Rescue{Keys: []string{key}, Then: manifest.ThenReboot, Seconds: 60}}}
	l.carry(t, image)
	l.next = func() error { return errors.New("no cable") }
	refused(t, l.lab, l.run(t), "fallback 1: [no-network] there is no network: nobody could log in")

	l.lines, l.sites, l.next, l.opened, l.closed = nil, []string{"http://192.0.2.1:1/"}, nil, 0, 0
	l.limits.Documents.Connect = 10 * time.Millisecond
	l.works.people = func(context.Context, control.Handlers, func(control.Next)) error {
		if l.opened != 2 || l.closed != 1 {
			t.Errorf("%d networks opened, %d closed while people are in", l.opened, l.closed)
		}
		return sshd.ErrIdle
	}
	if err := l.run(t); err != nil || l.rebooted != 1 || l.closed != 2 {
		t.Errorf("%v, rebooted %d times, closed %d networks:\n%s", err, l.rebooted, l.closed, strings.Join(l.lines, "\n"))
	}
}
