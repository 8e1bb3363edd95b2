package boot

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/farboot/farboot/payload/agent/control"
	"github.com/farboot/farboot/payload/agent/live"
	"github.com/farboot/farboot/payload/manifest"
	"github.com/farboot/farboot/payload/object"
	"github.com/farboot/farboot/payload/settings"
)

// living is a live system of the lab.
type living struct {
	lost    chan error
	stopped int
}

func (x *living) Lost() <-chan error { return x.lost }
func (x *living) Stop() error        { x.stopped++; return nil }

// livingLab is a medium that asks no site, with a live system.
func livingLab(t *testing.T, x manifest.Live) (*simLab, *living) {
	t.Helper()
	l := newSimLab(t)
	l.settings.Toolbox = &settings.Toolbox{Ref: object.OfBytes(image), Place: settings.PlaceMemory}
	l.settings.Fallback = []manifest.Entry{{Title: "Xen", Live: &x}}
	l.carry(t, image)
	system := &living{lost: make(chan error, 1)}
	l.works.living = func(live.Config) (Living, error) { return system, nil }
	l.works.people = func(ctx context.Context, h control.Handlers, asks func(control.Next)) error {
		asks(control.Next{Do: control.DoReboot})
		return nil
	}
	return l, system
}

// TestLive: no site is asked; the card that has the network becomes the bridge's;
// people get in by what the entry says, and by what it lets the command line say;
// and somebody restarts the machine, once the system has been stopped.
func TestLive(t *testing.T) {
	l, system := livingLab(t, manifest.Live{
		Bridge: "xenbr0", SSH: &manifest.LiveSSH{Keys: []string{key}, Port: 2222}, Words: []string{"hostname", "network"},
		Machines: []manifest.Guest{{Name: "web1", Kernel: object.OfBytes(kernel), Memory: 64}},
	})
	l.cmdline = "quiet farboot.live.hostname=xen1 farboot.live.network=192.0.2.7/24,192.0.2.1"
	var config live.Config
	l.works.living = func(c live.Config) (Living, error) { config = c; return system, nil }
	if err := l.run(t); err != nil || l.rebooted != 1 || system.stopped != 1 || l.works.closed != 1 {
		t.Errorf("%v, rebooted %d times, stopped %d, toolboxes closed %d", err, l.rebooted, system.stopped, l.works.closed)
	}
	if e := config.Entry; e.Hostname != "xen1" || len(e.Machines) != 1 || environ(config.Env, "FARBOOT_ENTRY") != "fallback 1" {
		t.Errorf("started with %+v", config)
	}
	if got := l.works.logins[0]; got.Port != 2222 || len(got.Keys) != 1 || got.Password != "" {
		t.Errorf("logins %+v", got)
	}
	if n := len(l.networks); n != 2 || fmt.Sprint(l.networks[0][0].Addresses) != "[192.0.2.7/24]" || l.networks[1][0].Bridge != "xenbr0" || l.networks[1][0].Card.MAC == "" {
		t.Errorf("networks %+v", l.networks)
	}
	saw(t, l.lab, "choose: this medium asks no site", "live: xenbr0 becomes the bridge", "fallback 1: Xen: ssh -p 2222 root@10.0.2.15, host key SHA256:abc")
}

// TestLiveLost: where the hypervisor cannot be ruled any more the machine restarts;
// where there is none, or a word is not allowed, the entry fails as any other.
func TestLiveLost(t *testing.T) {
	l, system := livingLab(t, manifest.Live{})
	system.lost <- fmt.Errorf("%w: xenstored has ended", live.ErrXen)
	if err := l.run(t); err != nil || l.rebooted != 1 || system.stopped != 1 {
		t.Errorf("%v, rebooted %d times, stopped %d", err, l.rebooted, system.stopped)
	}
	saw(t, l.lab, "fallback 1: [xen-services]")

	l, _ = livingLab(t, manifest.Live{})
	l.works.living = func(live.Config) (Living, error) { return nil, fmt.Errorf("%w: on hardware", live.ErrHypervisor) }
	_ = l.run(t)
	saw(t, l.lab, "fallback 1: [no-hypervisor]")

	l, _ = livingLab(t, manifest.Live{SSH: &manifest.LiveSSH{Keys: []string{key}}})
	l.cmdline = "farboot.live.ssh=off"
	_ = l.run(t)
	saw(t, l.lab, "fallback 1: [bad-word]")
	if l.works.opened > 0 || l.rebooted > 0 {
		t.Errorf("%d toolboxes, rebooted %d times", l.works.opened, l.rebooted)
	}

	l, _ = livingLab(t, manifest.Live{Bridge: "xenbr0"})
	l.next = func() error { return errors.New("no cable") }
	_ = l.run(t)
	saw(t, l.lab, "fallback 1: [no-network]")
}
