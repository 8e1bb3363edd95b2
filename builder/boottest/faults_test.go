//go:build boot

package boottest

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/farboot/farboot/builder/vm"
	"github.com/farboot/farboot/payload/fetch/evil"
)

// soakPlan is what a boot of the soak is about to meet.
type soakPlan struct {
	number  int
	config  vm.Config
	machine string // in words
	faults  []string
	lies    [2][]evil.Fault // of the sites
	dead    bool            // the sites are for good
	panics  bool            // the first entry does
	events  []soakEvent
}

// String lists the faults.
func (p soakPlan) String() string {
	return strings.Join(p.faults, "; ")
}

// soakEvent happens once the console has shown a phrase.
type soakEvent struct {
	after string
	do    func(ctx context.Context, m *vm.VM)
	cut   bool // it pulls the plug
}

// draw draws the machine and the faults of a boot from the seed and its number:
// one to three faults, each of another kind.
func (l *soakLab) draw(seed uint64, number int) soakPlan {
	r := rand.New(rand.NewPCG(seed, uint64(number)))
	p := soakPlan{number: number}
	l.drawMachine(&p, r)
	// In this order: a second card comes before what is done to the first.
	kinds := []func(*soakPlan, *rand.Rand){deadCard, badEntry, cable, lateDHCP, powerCut, hammered, hiccup, badSite, badSite, deadSites}
	drawn := r.Perm(len(kinds))[:1+r.IntN(3)]
	slices.Sort(drawn)
	for _, i := range drawn {
		kinds[i](&p, r)
	}
	return p
}

// oneOf draws one of a list.
func oneOf[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// drawMachine draws a machine: how it starts, its memory, card and clock.
func (l *soakLab) drawMachine(p *soakPlan, r *rand.Rand) {
	memory := oneOf(r, 320, 512, 1024, 2048)
	card := oneOf(r, "virtio-net-pci", "e1000", "e1000e", "rtl8139", "vmxnet3", "pcnet", "i82559er", "tulip")
	clock := oneOf(r, "1970-01-02", "1980-01-01", "2005-06-07", "2037-12-31", "", "", "")
	c := &p.config
	*c = vm.Config{Memory: memory, Reboots: true, NICs: []vm.NIC{{Model: card, MAC: soakMAC + plainMachine}}}
	if clock != "" {
		c.Args = append(c.Args, "-rtc", "base="+clock+"T00:00:00")
	}
	way := oneOf(r, "no firmware", "no firmware", "no firmware", "BIOS stick", "BIOS stick", "UEFI stick")
	switch way {
	case "no firmware": // which costs the most, and TestMatrix has them all
		c.Kernel, c.Initrd = filepath.Join(l.medium, "vmlinuz"), filepath.Join(l.medium, "initrd.img")
		c.Cmdline = "console=ttyS0,115200 quiet panic=30 no_timer_check"
	case "BIOS stick":
		c.Image, c.Bus, c.Writable = l.stick, vm.USB, true
	case "UEFI stick":
		c.Image, c.Bus, c.Writable, c.Firmware = l.stick, vm.USB, true, vm.UEFI
	}
	p.machine = strings.TrimSpace(fmt.Sprintf("%s, %d MB, %s, %s", way, memory, card, clock))
	p.machine = strings.TrimSuffix(p.machine, ",")
}

// add adds a fault to those that are told.
func (p *soakPlan) add(format string, args ...any) {
	p.faults = append(p.faults, fmt.Sprintf(format, args...))
}

// badSite lets one site misbehave for good. It is always the same one of a boot,
// so that the other one is there.
func badSite(p *soakPlan, r *rand.Rand) {
	bad := p.number % 2
	at := r.IntN(1 << 20) // where in an object, in bytes
	var name string
	var faults []evil.Fault
	switch r.IntN(14) {
	case 0:
		name, faults = fmt.Sprintf("ends connections at byte %d", at), []evil.Fault{evil.Cut(at)}
	case 1:
		name, faults = fmt.Sprintf("falls silent at byte %d", at), []evil.Fault{evil.Stall(at)}
	case 2:
		rate := 50_000 + r.IntN(400_000)
		name, faults = fmt.Sprintf("sends %d kB/s", rate/1000), []evil.Fault{evil.Slow(rate)}
	case 3:
		name, faults = fmt.Sprintf("flips bit %d", at), []evil.Fault{evil.Flip(at)}
	case 4:
		code := oneOf(r, 403, 404, 429, 500, 502, 503)
		name, faults = fmt.Sprintf("says %d", code), []evil.Fault{evil.Status(code)}
	case 5:
		name, faults = "is a portal", []evil.Fault{evil.HTML()}
	case 6:
		name, faults = "redirects to nowhere", []evil.Fault{evil.Redirect("http://10.0.2.77/")}
	case 7:
		name, faults = "never ends", []evil.Fault{evil.Endless()}
	case 8:
		name, faults = "lies about lengths", []evil.Fault{evil.LyingLength(int64(at))}
	case 9:
		name, faults = "ignores ranges and cuts", []evil.Fault{evil.After(4, evil.Cut(at)), evil.IgnoreRange()}
	case 10:
		name, faults = "changes ETags and cuts", []evil.Fault{evil.After(4, evil.Cut(at)), evil.ChangeETag()}
	case 11:
		name, faults = "floods headers", []evil.Fault{evil.HeaderFlood()}
	case 12:
		name, faults = "forges the manifest", []evil.Fault{evil.On("/manifest.json", evil.Flip(3000))}
	case 13:
		name, faults = "is silent", []evil.Fault{evil.Silent()}
	}
	p.lies[bad] = append(p.lies[bad], faults...)
	p.add("site %d %s", bad+1, name)
}

// hiccup lets the other site misbehave for some requests.
func hiccup(p *soakPlan, r *rand.Rand) {
	other, n := 1-p.number%2, 1+r.IntN(5)
	var fault evil.Fault
	var name string
	switch r.IntN(4) {
	case 0:
		name, fault = "ends the connection", evil.Cut(100)
	case 1:
		name, fault = "says 503", evil.Status(503)
	case 2:
		name, fault = "answers 3 s late", evil.Late(3*time.Second)
	case 3:
		name, fault = "says 429, come back in 5 s", func(next evil.Source) evil.Source {
			return evil.Header("Retry-After", "5")(evil.Status(429)(next))
		}
	}
	p.lies[other] = append(p.lies[other], evil.First(n, fault))
	p.add("site %d %s, %d times", other+1, name, n)
}

// deadSites has no site at all: the medium's own entry is all there is.
func deadSites(p *soakPlan, _ *rand.Rand) {
	p.dead = true
	p.add("no site")
	for i := range p.lies {
		p.lies[i] = []evil.Fault{evil.Cut(0)}
	}
}

// stages are phrases of a boot, in their order.
func stages() []string {
	return []string{"farboot: medium", "trust: statement", "network: ", "manifest: ", "choose: ", "obtain: ", "handing over"}
}

// cable pulls the cable for some seconds.
func cable(p *soakPlan, r *rand.Rand) {
	after, out := oneOf(r, stages()[:6]...), time.Duration(1+r.IntN(20))*time.Second
	p.add("cable out for %.0f s after %q", out.Seconds(), strings.TrimSpace(after))
	nic := fmt.Sprintf("nic%d", len(p.config.NICs)-1)
	p.events = append(p.events, soakEvent{after: after, do: func(ctx context.Context, m *vm.VM) {
		pull(ctx, m, nic, out)
	}})
}

// pull takes the cable out for a while. Where the machine goes meanwhile, there
// is nothing to plug in again.
func pull(ctx context.Context, m *vm.VM, id string, out time.Duration) {
	for _, up := range []bool{false, true} {
		m.Execute(ctx, "set_link", map[string]any{"name": id, "up": up}, nil) //nolint:errcheck // the machine may have gone
		if !up && !sleep(ctx, out) {
			return
		}
	}
}

// lateDHCP lets nobody answer for some seconds, while there is carrier.
func lateDHCP(p *soakPlan, r *rand.Rand) {
	late := time.Duration(3+r.IntN(30)) * time.Second
	p.add("DHCP after %.0f s", late.Seconds())
	last := len(p.config.NICs) - 1
	p.config.NICs[last].Net = "hubport,hubid=1"
	p.config.Args = append(p.config.Args, "-netdev", "user,id=far", "-netdev", "hubport,hubid=1,netdev=far,id=port")
	p.events = append(p.events, soakEvent{after: "", do: func(ctx context.Context, m *vm.VM) {
		pull(ctx, m, "far", late)
	}})
}

// deadCard puts a card without a network before the machine's own.
func deadCard(p *soakPlan, r *rand.Rand) {
	card := vm.NIC{Model: oneOf(r, "virtio-net-pci", "e1000e", "rtl8139"), MAC: "52:54:00:50:01:01", Net: "hubport,hubid=9"}
	p.add("%s without a network", card.Model)
	p.config.NICs = slices.Insert(p.config.NICs, 0, card)
}

// badEntry gives the machine a list whose first entry does not run. One that
// panics is only given up by a machine that remembers.
func badEntry(p *soakPlan, r *rand.Rand) {
	machine, fault := garbageMachine, "garbage for a kernel"
	switch r.IntN(3) {
	case 1:
		machine, fault = missingMachine, "a kernel that is lost"
	case 2:
		if p.config.Writable {
			machine, fault, p.panics = panicsMachine, "a kernel that panics", true
		}
	}
	p.add("first entry is %s", fault)
	p.config.NICs[len(p.config.NICs)-1].MAC = soakMAC + machine
}

// powerCut pulls the plug at some time, and plugs it in again.
func powerCut(p *soakPlan, r *rand.Rand) {
	after, wait := oneOf(r, stages()...), time.Duration(r.IntN(1500))*time.Millisecond
	p.add("power cut %.1f s after %q", wait.Seconds(), strings.TrimSpace(after))
	p.events = append(p.events, soakEvent{after: after, cut: true, do: func(ctx context.Context, m *vm.VM) {
		if sleep(ctx, wait) {
			m.Stop()
		}
	}})
}

// hammered types at the serial console all the time.
func hammered(p *soakPlan, r *rand.Rand) {
	p.add("keys hammered")
	keys := bytes.Repeat([]byte("\r\n\x03\x1a\x1c\x04\x1b[Aec\rid\r"), 3)
	p.events = append(p.events, soakEvent{after: "farboot: medium", do: func(ctx context.Context, m *vm.VM) {
		for m.Type(string(keys)) == nil && sleep(ctx, time.Second) {
		}
	}})
}
